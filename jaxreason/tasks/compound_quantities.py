r"""Quantities in several units: `2 \text{ hours } 30 \text{ minutes}`, `5 \text{ ft } 6 \text{ in}`, `30^\circ 15'`."""

import re
from fractions import Fraction
from itertools import pairwise

from jaxreason.tasks.answer_units import read_unit
from jaxreason.tasks.answer_words import TEXT

NUMBER = r"\d+(?:\.\d+)?"
COMPOUND = re.compile(
    rf"\s*(-?)\s*((?:{NUMBER}\s*[A-Za-z]+\b\.?\s*(?:,\s*)?(?:and\b\s*)?){{2,4}})\s*"
)
PART = re.compile(rf"({NUMBER})\s*([A-Za-z]+)")
MARKS = [  # The longer ones first.
    (rf"{TEXT}\{{([^{{}}]*)\}}", r" \1 "),
    (r"\^\s*\{?\s*\\circ\s*\}?", " degree "),
    (r"''|\"|\^\s*\{\s*(?:\\prime\s*){2}\}", " doubleprime "),
    (r"'|\^\s*\{?\s*\\prime\s*\}?", " prime "),
]
# What a prime and two primes stand for.
OF_ANGLES = {"prime": Fraction(1, 60), "doubleprime": Fraction(1, 3600)}
OF_LENGTHS = {"prime": "foot", "doubleprime": "inch"}


def single_quantities(answer: str) -> list[str]:
    """Returns a tidied answer in several units as one quantity, in the first and in the last unit; [] for others."""
    plain = answer
    for pattern, replacement in MARKS:
        plain = re.sub(pattern, replacement, plain)
    found = COMPOUND.fullmatch(plain)
    parts = PART.findall(found[2]) if found else []
    if plain == answer and all(len(name) < 2 for _, name in parts):
        return []  # 2 m 5 s may be a product of symbols.
    sizes = _sizes([name for _, name in parts])
    if not sizes or any(low >= high for high, low in pairwise(sizes)):
        return []
    total = sum(Fraction(number) * size for (number, _), size in zip(parts, sizes))
    total = -total if found[1] else total
    ends = [0] if _is_angle(parts[0][1]) else [0, -1]
    return [_written(total / sizes[end], parts[end][1]) for end in ends]


def _is_angle(name: str) -> bool:
    return name.lower().startswith("deg")


def _sizes(names: list[str]) -> list[Fraction]:
    """Returns the sizes of units of one kind; [] if a unit is unknown or of another kind."""
    if names and _is_angle(names[0]):
        minutes = {"minute": "prime", "min": "prime", "second": "doubleprime", "sec": "doubleprime"}
        rest = [minutes.get(name.lower().rstrip("s"), name) for name in names[1:]]
        known = all(name in OF_ANGLES for name in rest)
        return [Fraction(1), *(OF_ANGLES[name] for name in rest)] if known else []
    units = [read_unit(OF_LENGTHS.get(name, name)) for name in names]
    if None in units or len({unit[0] for unit in units}) != 1:
        return []
    return [unit[1] for unit in units]


def _written(value: Fraction, name: str) -> str:
    above, below = abs(value.numerator), value.denominator
    number = str(above) if below == 1 else rf"\frac{{{above}}}{{{below}}}"
    unit = r"^\circ" if _is_angle(name) else rf" \text{{ {OF_LENGTHS.get(name, name)}}}"
    return ("-" if value < 0 else "") + number + unit
