r"""Numbers that are read without sympy: integers, decimals, fractions of integers, mixed numbers."""

import re
from fractions import Fraction

MOST_CHARACTERS = 300
DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
NUMERAL = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<whole>\d*)\s*\\frac\s*\{{(?P<above>\d+)\}}\s*\{{(?P<below>\d+)\}}"
    rf"|(?P<first>\d+)\s*/\s*(?P<second>\d+)|(?P<decimal>{DECIMAL}))"
)


def numeral(text: str) -> Fraction | None:
    r"""The value of a plain integer, decimal, fraction of integers or mixed number; or None.

    The time that most answers take is that of this function: sympy never sees them.
    """
    found = NUMERAL.fullmatch(text.strip())
    if found is None or len(text) > MOST_CHARACTERS:
        return None
    if found["decimal"]:
        value = Fraction(found["decimal"].replace(",", ""))
    else:
        below = int(found["below"] or found["second"])
        if below == 0:
            return None
        value = int(found["whole"] or 0) + Fraction(int(found["above"] or found["first"]), below)
    return -value if found["sign"] == "-" else value
