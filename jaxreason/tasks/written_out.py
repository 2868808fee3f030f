r"""The strict mode: whether an answer is a value that is written out, and not one that is still to be computed.

`\sum_{k=1}^{100} k` equals 5050, but a verifier that accepts it rewards a model for copying the question. So an
operation on numbers that could be carried out (2+2, 36/2, \sqrt{16}, 10!, 2^{10}, \frac{1/2}{3}, \sqrt{3}+\sqrt{3}) is
refused, and so is a root, a function, a sum or an integral, unless the gold answer has one of that kind itself.

Allowed are: integers; decimals, also repeating ones and scientific notation; fractions of integers, *reduced or not*,
unless they divide evenly; mixed numbers; per cent; multiples and fractions of roots and of \pi if the gold answer has
these; tuples, sets, intervals and matrices of such; and expressions with symbols, in any arrangement (expanded or
factored).
"""

import re

from jaxreason.tasks.answer_sets import RELATION
from jaxreason.tasks.latex_answers import read_value

# Commands that the parser carries out at once, so that only the text shows them.
COMMAND = re.compile(
    r"\\(binom|dbinom|tbinom|choose|gcd|lcm|max|min|det|operatorname|bmod|mod|pmod|deg|div|sum|prod"
    r"|int|iint|lim|lfloor|lceil|sup|inf)(?![A-Za-z])|(\||\\[lr]?vert)"
)
FRACTION = re.compile(
    r"\\frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(-?\d+)\s*\}|(?<![\w.}])(-?\d+)\s*/\s*(\d+)(?![\w.])"
)
NESTED = re.compile(r"\\frac\s*\{[^{}]*(?:/|\d\.\d|\\frac\s*\{\s*-?\d+\s*\}\s*\{\s*-?\d+\s*\})")
DECIMAL_BELOW = re.compile(
    r"\\frac\s*\{\s*-?[\d.]+\s*\}\s*\{\s*[\d.]*\.[\d.]*\s*\}|\d/\d*\.\d|\.\d+/\d"
)
DERIVATIVE = re.compile(
    r"\\frac\s*\{\s*(?:d|\\partial)(?![a-z]{2})[^{}]{0,9}\}\s*\{\s*(?:d|\\partial)\s*[a-z]"
)
PRODUCT = re.compile(
    r"\d\s*(?:\\cdot|\\times|\*|\\div)\s*[(\d]|\)\s*\(\s*-?[\d.]+\s*\)|-\s*\(?\s*-"
)
SCIENTIFIC = re.compile(
    r"(-?[1-9](?:\.\d+)?)\s*(?:\\times|\\cdot)\s*10\s*\^\s*(?:\{(-?\d+)\}|(\d))"
)


def is_written_out(gold: str, answer: str) -> bool:
    """Returns whether every operation that the answer leaves to do is of a kind that the gold answer has too."""
    return not operations(answer) - operations(gold)


def operations(answer: str) -> set[str]:
    """Returns the kinds of operations that a tidied answer leaves to do; empty if it is written out."""
    text = SCIENTIFIC.sub("7", re.sub(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)", "", answer))
    found = {match[1] or "abs" for match in COMMAND.finditer(text)}
    if any(
        int(m[2] or m[4]) and int(m[1] or m[3]) % int(m[2] or m[4]) == 0 for m in fractions(text)
    ):
        found.add("division")
    if DERIVATIVE.search(text):
        found.add("derivative")
    if PRODUCT.search(text):
        found.add("product")
    if NESTED.search(text) or DECIMAL_BELOW.search(text):
        found.add("fraction of fractions")
    for part in re.split(rf"{RELATION.pattern}|\\cup|\\text\s*\{{\s*(?:or|and)\s*\}}", text):
        value = read_value(part.strip()) if part and part.strip() else None
        if value is not None:
            found |= _of_value(value)
    return found


def fractions(text: str) -> list[re.Match]:
    """Returns the fractions of two integers in a text."""
    return [m for m in FRACTION.finditer(text) if len(m[0]) < 4000]


def _of_value(value) -> set[str]:
    """Returns the kinds of operations that a sympy object, as it was written, leaves to do."""
    from sympy import Add, Mul, Pow
    from sympy.core.function import AppliedUndef, Function

    if hasattr(value, "flat"):  # a matrix
        return set().union(*(_of_value(part) for part in value.flat()))
    found = set().union(*(_of_value(part) for part in getattr(value, "args", ())), set())
    if isinstance(value, Add):
        found |= _of_terms(_flattened(value, Add))
    elif isinstance(value, Mul):
        found |= _of_factors(_flattened(value, Mul))
    elif isinstance(value, Pow):
        found |= _of_power(*value.args)
    elif isinstance(value, Function) and not isinstance(value, AppliedUndef):
        found.add(type(value).__name__)
    return found


def _flattened(value, kind) -> list:
    """Returns the terms of a sum of sums, or the factors of a product of products."""
    parts: list = []
    for part in value.args:
        parts += _flattened(part, kind) if isinstance(part, kind) else [part]
    return parts


def _of_terms(terms: list) -> set[str]:
    """Returns the operations left in a sum: like terms, or a sum of constants (1 + \\sqrt{2})."""
    alike = [term.as_coeff_Mul()[1] for term in terms]
    found = {"like terms"} if len(set(alike)) < len(alike) else set()
    return found | ({"sum of constants"} if not any(t.free_symbols for t in terms) else set())


def _of_factors(factors: list) -> set[str]:
    """Returns the operations left in a product: two numbers on one side of the line, a common divisor, two roots."""
    from sympy import Pow

    above = [f for f in factors if (f.is_Rational and abs(f) != 1) or f.is_Float]
    below = [f.args[0] for f in factors if isinstance(f, Pow) and f.args[1] == -1]
    below = [f for f in below if f.is_Rational or f.is_Float]
    roots = [
        f
        for f in factors
        if isinstance(f, Pow) and f.args[0].is_number and not f.args[1].is_Integer
    ]
    found = {"product"} if len(above) > 1 or len(below) > 1 else set()
    whole = above and below and above[0].is_Integer and below[0].is_Integer and below[0] != 0
    if whole and above[0] % below[0] == 0:
        found.add("division")
    constants = [f for f in factors if f.is_number and not f.is_Rational]
    if len(roots) > 1 or len(set(constants)) < len(constants):
        found.add("product")
    return found


def _of_power(base, exponent) -> set[str]:
    """Returns the operations left in a power: one of numbers, a root of a constant, or one with an even result."""
    unknown = {str(symbol) for symbol in base.free_symbols | exponent.free_symbols} - {"i"}
    if unknown or exponent == -1:
        return set()
    if exponent.is_Integer:
        return {"power"}
    if base.is_Rational and exponent.is_Rational and (base**exponent).is_Rational:
        return {"even root"}
    return {"root"}
