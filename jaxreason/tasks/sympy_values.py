r"""Decides whether two sympy values are equal: exactly, without a tolerance that small numbers would pass.

math-verify rounds to six decimal places, so it takes 2^{-97} and 2^{-98} for the same. Here rational numbers are
compared exactly, other numbers by 40 digits, expressions with symbols by such numbers at many points, and the rest
(relations, unions) by math-verify.
"""

import math
import random
import re

from jaxreason.tasks.value_sizes import is_gigantic

DIGITS = 40
AGREE = 1e-25  # Relative difference of two values that were computed with 40 digits.
POINTS = 12
LEAST_POINTS = 4  # Points at which both values must be real.
ROUNDED = 6  # Digits that an approximation must have.


def same_value(gold, answer) -> bool:
    """Returns whether both are equal as mathematics. Raises what sympy raises."""
    if _is_undefined(gold) or _is_undefined(answer):
        return False
    if is_gigantic(gold) or is_gigantic(answer):
        return gold == answer
    return _same(_exact(gold), _exact(answer))


def _is_undefined(value) -> bool:
    """Returns whether a value is undefined, a number divided by zero, or says nothing: 2 + 2 = 4, n = n."""
    from sympy import nan, zoo
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import BooleanAtom

    if isinstance(value, (bool, BooleanAtom)):
        return True
    if isinstance(value, Relational) and (not value.free_symbols or value.lhs == value.rhs):
        return True
    return hasattr(value, "has") and value.has(nan, zoo)


def _same(gold, answer) -> bool:
    from sympy import Basic, Expr, FiniteSet, Interval, MatrixBase, Tuple, Union

    if isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase):
        return gold.shape == answer.shape and _pairwise(gold.flat(), answer.flat())
    if isinstance(gold, Tuple) and isinstance(answer, Tuple):
        return _pairwise(gold.args, answer.args)
    if isinstance(gold, FiniteSet) and isinstance(answer, FiniteSet):
        return _same_members(list(gold.args), list(answer.args))
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        ends = (gold.left_open, gold.right_open) == (answer.left_open, answer.right_open)
        return ends and _pairwise((gold.start, gold.end), (answer.start, answer.end))
    if isinstance(gold, Expr) and isinstance(answer, Expr) and isinstance(gold, Basic):
        return same_expression(gold, answer)
    if any(isinstance(value, (Interval, Union)) for value in (gold, answer)) and (
        isinstance(gold, Expr) or isinstance(answer, Expr)
    ):
        return False  # A number is not a set of several members.
    return _library(gold, answer)


def _pairwise(wanted, found) -> bool:
    wanted, found = list(wanted), list(found)
    return len(wanted) == len(found) and all(map(_same, wanted, found))


def _same_members(wanted: list, found: list) -> bool:
    if len(wanted) != len(found):
        return False
    for gold in wanted:
        partner = next((item for item in found if _same(gold, item)), None)
        if partner is None:
            return False
        found.remove(partner)
    return True


def same_expression(gold, answer) -> bool:
    """Compares two scalars, with or without symbols."""
    if gold == answer:
        return True
    gold, answer = _with_imaginary_unit(gold, answer)
    if not gold.free_symbols and not answer.free_symbols:
        return same_number(gold, answer)
    verdict = None
    if not (_has_bound(gold) or _has_bound(answer) or _is_word(gold) or _is_word(answer)):
        verdict = same_at_points(gold, answer)
    return _library(gold, answer) if verdict is None else verdict


def _is_word(value) -> bool:
    return value.is_Symbol and len(value.name) > 1


def _with_imaginary_unit(gold, answer):
    """Reads i as the imaginary unit, if the gold value has no other symbol, or has none, as the answer."""
    from sympy import I

    names = {str(symbol) for symbol in gold.free_symbols or answer.free_symbols}
    if names != {"i"}:
        return gold, answer
    return tuple(v.subs({s: I for s in v.free_symbols if str(s) == "i"}) for v in (gold, answer))


def same_number(gold, answer) -> bool:
    """Compares two constants."""
    gold, answer = gold.doit(), answer.doit()
    if gold == answer:
        return True
    if gold.is_Rational and answer.is_Rational:
        return False
    values = [_evaluated(value) for value in (gold, answer)]
    if None in values:
        return _library(gold, answer)
    largest = max(abs(value) for value in values)
    return largest == 0 or abs(values[0] - values[1]) <= AGREE * largest


def same_at_points(gold, answer) -> bool | None:
    """Returns whether two expressions agree wherever both are real; None if there are too few such points.

    Half of the points have negative coordinates, so |x| differs from x. A point at which a value or a part of it is not
    real (sqrt(x) of a negative x) is skipped, and so is one at which a value is too large to be computed.
    """
    draw = random.Random(0)
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    powers = _has_symbolic_power(gold) or _has_symbolic_power(answer)
    real = 0
    for number in range(POINTS):
        widest = 2 if powers else 4 if number % 3 else 60
        point = {
            s: draw.choice((-1, 1)) ** (number % 2) * _coordinate(draw, widest) for s in symbols
        }
        if any(_leaves_the_reals(value, point, powers) for value in (gold, answer)):
            continue
        values = [_at(value, point, powers) for value in (gold, answer)]
        if None in values or any(abs(value.imag) > AGREE * abs(value) for value in values):
            continue
        real += 1
        if abs(values[0] - values[1]) > AGREE * max(abs(value) for value in values):
            return False
    return True if real >= LEAST_POINTS else None


def _has_symbolic_power(value) -> bool:
    """Returns whether an exponent or a factorial has a symbol, so that exact fractions would grow beyond bounds."""
    from sympy import Pow, factorial

    return any(power.args[-1].free_symbols for power in value.atoms(Pow, factorial))


def _at(value, point: dict, powers: bool):
    """Returns the value of an expression at a point, or None; `powers`: computed without exact fractions."""
    exact = {name: float(max(abs(x.p), x.q).bit_length()) for name, x in point.items()}
    rough = {name: math.log2(abs(x) + 1) for name, x in point.items()}
    if is_gigantic(value, rough if powers else exact):
        return None
    return _evaluated(value, point) if powers else _evaluated(value.subs(point))


def _leaves_the_reals(value, point: dict, powers: bool) -> bool:
    """Returns whether a root or a logarithm in an expression has a negative argument at a point."""
    from sympy import Pow, log

    inside = [part.args[0] for part in value.atoms(log)]
    inside += [p.args[0] for p in value.atoms(Pow) if not p.args[1].is_Integer]
    inside = [part for part in inside if part.free_symbols]
    if not powers:
        return any(part.subs(point).is_negative for part in inside)
    found = [_at(part, point, powers) for part in inside]
    return any(number is None or number.real < 0 for number in found)


def _coordinate(draw: random.Random, widest: int):
    from sympy import Rational

    return Rational(draw.randrange(1, 1000 * widest), 997)


def _evaluated(value, point: dict | None = None):
    """Returns a value, at a point, as a complex number with 40 digits (mpmath's), or None if it has no value."""
    try:
        number = value.evalf(DIGITS, subs=point)
        if not number.is_number or not number.is_finite:
            return None
        real, imaginary = number.as_real_imag()
        return _complex(real, imaginary)
    except (TypeError, ValueError, AttributeError, ArithmeticError, NotImplementedError):
        return None


def _complex(real, imaginary):
    from mpmath import mpc, workdps

    with workdps(DIGITS):
        return mpc(real._to_mpmath(140), imaginary._to_mpmath(140))


def _has_bound(value) -> bool:
    """Returns whether an expression contains a sum, an integral or the like, which binds its symbol."""
    from sympy import Derivative, Limit
    from sympy.concrete.expr_with_limits import ExprWithLimits

    return value.has(ExprWithLimits, Derivative, Limit)


def _exact(value):
    """Replaces decimals by fractions: 0.1 is a tenth; and dy/dx, which sympy takes for 0, by a symbol."""
    from sympy import Derivative, Float, Rational, Symbol

    if not hasattr(value, "atoms"):
        return value
    new = {f: Rational(str(f)) for f in value.atoms(Float)}
    for part in value.atoms(Derivative):
        if part.expr.free_symbols and not part.expr.has(*part.variables):
            new[part] = Symbol(str(part), real=True)
    return value.xreplace(new) if new else value


def _library(gold, answer) -> bool:
    import math_verify

    return math_verify.verify([gold], [answer], timeout_seconds=None, raise_on_error=True)


def is_rounded(value, decimal: str) -> bool:
    """Returns whether a decimal of at least six digits is the value rounded to that many places."""
    from sympy import Rational

    digits = re.sub(r"^-?0*\.?0*", "", decimal)
    places = len(decimal.partition(".")[2])
    if not places or sum(character.isdigit() for character in digits) < ROUNDED or places > 30:
        return False
    number = None if is_gigantic(value) else _evaluated(value.doit())
    if number is None or number.imag != 0:
        return False
    off = abs(number.real - _evaluated(Rational(decimal)).real) * 10**places
    return off <= 0.5
