"""How large a value may become: those that are too large to be computed are never evaluated."""

import math
import re
from collections.abc import Mapping

LARGEST_BITS = 3e5  # A number with more binary digits is not written out.
MOST_TERMS = 10_000  # A sum or product of more terms must have a formula.
NUMBERS = {"E": 1.45, "pi": 1.66}  # log2
FAR = 10**6  # The factors of an infinite product are about 1 here.
WHOLE = r"(\d{1,30})(?:\s*\^\s*\{?\s*(\d{1,30})\s*\}?)?"
BINOMIAL = re.compile(
    rf"binom\s*\{{\s*{WHOLE}\s*\}}\s*\{{\s*{WHOLE}\s*\}}|{WHOLE}\s*\\choose\s*{WHOLE}"
)
LARGEST_CHOICE = 20_000
# The parser computes a common divisor and a determinant at once.
DIVISOR = re.compile(r"\\(?:gcd|lcm|det|operatorname)(?![A-Za-z])")
MOST_BARS = 16  # The parser takes ten seconds for thirty |x|.
MASSIVE = re.compile(r"\^\s*\{?\s*\d{5}|\^[^,=+]*\^|!")
Bits = Mapping[object, float]


def is_gigantic(value, bits: Bits | None = None) -> bool:
    """Returns whether a sympy object contains a number that is too large to be written out, or too many terms.

    Args:
      value: the object.
      bits: symbols with log2 of the magnitude that they have; 1 for others.
    """
    return size(value, bits or {}) > LARGEST_BITS


def computes_too_much(text: str) -> bool:
    """Returns whether a text has an operation that the parser itself computes, or bars, that take it seconds."""
    if text.count("|") > MOST_BARS:
        return True
    if DIVISOR.search(text) and MASSIVE.search(text):
        return True
    return any(_is_huge_choice(*map(_log10, *_halves(found))) for found in BINOMIAL.findall(text))


def _halves(found: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Returns the two numbers of a binomial coefficient as a list of bases and one of exponents."""
    parts = found[:4] if found[0] else found[4:]
    return [parts[0], parts[2]], [parts[1], parts[3]]


def _log10(base: str, exponent: str) -> float:
    return math.log10(int(base) or 1) * (int(exponent) if exponent else 1)


def _is_huge_choice(above: float, below: float) -> bool:
    """Returns whether a binomial coefficient is of many factors; both numbers are given as log10."""
    if above > 15 or below > 15:
        return below > math.log10(LARGEST_CHOICE)
    return min(10**below, abs(10**above - 10**below)) > LARGEST_CHOICE


def size(value, bits: Bits) -> float:
    """Returns an upper bound on log2 of the magnitudes in a sympy object; infinite if it is far too large."""
    from sympy import Add, Pow, binomial, cosh, exp, factorial, gamma, sinh
    from sympy.concrete.expr_with_limits import ExprWithLimits

    if isinstance(value, ExprWithLimits):
        return _of_terms(value, bits)
    if hasattr(value, "flat"):  # a matrix
        return max((size(part, bits) for part in value.flat()), default=0.0)
    sizes = [size(part, bits) for part in getattr(value, "args", ())]
    if not sizes:
        return _of_leaf(value, bits)
    if isinstance(value, Pow):
        return sizes[0] * _power(sizes[1])
    if isinstance(value, (exp, cosh, sinh)):
        return NUMBERS["E"] * _power(sizes[0])
    if isinstance(value, (factorial, gamma)):
        return sizes[0] * _power(sizes[0])
    if isinstance(value, Add):
        return max(sizes) + math.log2(len(sizes))
    return _power(sizes[0]) if isinstance(value, binomial) else sum(sizes)


def _power(exponent: float) -> float:
    return 2**exponent if exponent < 64 else math.inf


def _of_leaf(value, bits: Bits) -> float:
    """Returns the size of a number in bits; 1 for an unknown symbol."""
    if getattr(value, "is_Rational", False):
        largest = max(abs(value.p), value.q)
        return math.log2(largest) if largest < 2**53 else float(largest.bit_length())
    if getattr(value, "is_Float", False):
        return abs(math.log2(abs(float(value)) + 1)) + 1
    if getattr(value, "is_Symbol", False):
        return bits.get(value, 1.0)
    return NUMBERS.get(str(value), 1.0)


def _of_terms(value, bits: Bits) -> float:
    """Returns the size of a sum, an integral or a product; infinite for too many terms without a formula."""
    inside = dict(bits)
    for name, *ends in value.limits:
        inside[name] = max([1.0, *(size(end, bits) for end in ends if end.is_finite)])
    kind, most = type(value).__name__, _terms(value, bits)
    largest = size(value.function, inside)
    if kind not in ("Sum", "Product"):
        return largest
    if kind == "Product" and _diverges(value):
        return math.inf
    if most > MOST_TERMS and not (kind == "Sum" and _has_formula(value)):
        return math.inf
    return largest + math.log2(most) if kind == "Sum" else largest * most


def _terms(value, bits: Bits) -> float:
    """Returns the number of terms of a sum or product, those of sums in it included; 1 if it is not finite."""
    from sympy.concrete.expr_with_limits import ExprWithLimits

    most = 1.0
    for _, *ends in value.limits:
        if len(ends) == 2 and all(end.is_number and end.is_finite for end in ends):
            sizes = [size(end, bits) for end in ends]
            most *= abs(float(ends[1] - ends[0])) + 1 if max(sizes) < 64 else math.inf
    inner = [_terms(part, bits) for part in value.function.atoms(ExprWithLimits)]
    return most * max([1.0, *inner])


def _has_formula(value) -> bool:
    """Returns whether sympy sums the terms at once, however many there are: k^2, k 2^k, 1/k(k+1)."""
    from sympy import Add, Mul, Sum, Symbol, harmonic, polygamma

    names = [limit[0] for limit in value.limits]
    factors = [f for part in Add.make_args(value.function) for f in Mul.make_args(part)]
    if all(f.is_polynomial(*names) or (f.is_Pow and not f.base.has(*names)) for f in factors):
        return True
    if len(names) > 1 or not value.function.is_rational_function(*names):
        return False
    ends = (value.limits[0][1], Symbol("last", integer=True, positive=True))
    total = Sum(value.function, (names[0], *ends)).doit()
    return not total.has(Sum, harmonic, polygamma)


def _diverges(value) -> bool:
    """Returns whether the factors of an infinite product do not tend to 1."""
    from sympy import oo

    if value.limits[0][2] != oo:
        return False
    factor = value.function.subs(value.limits[0][0], FAR)
    return not factor.is_number or abs(complex(factor.evalf(15)) - 1) > 1e-3
