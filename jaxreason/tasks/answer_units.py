r"""Units of an answer, `5.4 \text{ cents}` and `\$5.4`: which they are and how they compare.

A unit that is not known here ("apples") is a word that may be left out. Two known units of one kind are converted; two
units of different kinds (square metres and metres) are never equal.
"""

import re
from fractions import Fraction

from jaxreason.tasks.answer_words import TEXT

# (kind, power) pairs, sorted, and the size of the unit.
Unit = tuple[tuple[tuple[str, int], ...], Fraction]

WORDS = rf"{TEXT}\{{([^{{}}]*)\}}"
# Kind -> names -> size. A name of one letter is a unit in \text{} only.
SIZES: dict[str, dict[str, str]] = {
    "dollar": {"dollar usd buck \u7f8e\u5143": "1", "cent \u00a2": "1/100"},
    "euro": {"euro \u20ac": "1"},
    "yuan": {"yuan rmb \u5143": "1"},
    # These words are money or a weight; both are allowed.
    "pound": {"pound lb \u00a3 gbp": "1", "ounce oz": "1/16", "pence": "1/100"},
    "yen": {"yen \u00a5": "1"},
    "rupee": {"rupee \u20b9": "1"},
    "length": {
        "mm millimeter millimetre": "1/1000",
        "cm centimeter centimetre": "1/100",
        "dm decimeter decimetre": "1/10",
        "m meter metre": "1",
        "km kilometer kilometre": "1000",
        "inch inches in": "127/5000",
        "\u5398\u7c73": "1/100",
        "\u7c73": "1",
        "\u5343\u7c73 \u516c\u91cc": "1000",
        "foot feet ft": "381/1250",
        "yard yd": "1143/1250",
        "mile mi": "201168/125",
        "nm nanometer nanometre": "1/1000000000",
        "\u00b5m micrometer micrometre micron": "1/1000000",
    },
    "time": {
        "ns nanosecond": "1/1000000000",
        "\u00b5s microsecond": "1/1000000",
        "ms millisecond": "1/1000",
        "s sec second \u79d2": "1",
        "min minute \u5206\u949f": "60",
        "h hr hour \u5c0f\u65f6": "3600",
        "day \u5929": "86400",
        "week": "604800",
    },
    "mass": {
        "\u00b5g microgram": "1/1000000",
        "mg milligram": "1/1000",
        "g gram \u514b": "1",
        "kg kilogram \u5343\u514b \u516c\u65a4": "1000",
    },
    "ton": {"ton tonne": "1"},  # Metric, short or long.
    "volume": {"ml milliliter millilitre": "1/1000", "l liter litre": "1"},
    "us volume": {
        "gallon": "16",
        "quart": "4",
        "pint": "2",
        "cup": "1",
        "tablespoon tbsp": "1/16",
        "teaspoon tsp": "1/48",
    },
    "calendar": {"month": "1", "year yr": "12", "decade": "120", "century centurie": "1200"},
    "angle": {"degree deg \u00b0 \u5ea6": "1"},
    "radian": {"radian rad": "1"},
    "land": {"acre": "1"},
    "hectare": {"hectare": "1"},
    "power": {"watt": "1", "kw kilowatt": "1000", "megawatt": "1000000", "milliwatt": "1/1000"},
    "voltage": {"volt": "1", "kv kilovolt": "1000"},
    "current": {"amp ampere": "1", "ma milliamp milliampere": "1/1000"},
    "force": {"newton": "1", "kn kilonewton": "1000"},
    "energy": {"joule": "1", "kj kilojoule": "1000", "kwh kilowatt-hour": "3600000"},
    "calorie": {"cal calorie": "1", "kcal kilocalorie": "1000"},
    "amount": {"mol": "1"},
    "temperature": {"kelvin": "1"},
    "pressure": {"pascal": "1", "kpa kilopascal": "1000", "atm atmosphere": "101325"},
    "frequency": {
        "hz hertz": "1",
        "khz kilohertz": "1000",
        "mhz megahertz": "1000000",
        "ghz gigahertz": "1000000000",
    },
    "resistance": {"ohm": "1", "kohm kiloohm kilohm": "1000", "mohm megaohm": "1000000"},
    # A kilobyte has 1000 or 1024 bytes.
    "byte": {"byte": "1"},
    "kilobyte": {"kb kilobyte": "1"},
    "megabyte": {"mb megabyte": "1"},
    "gigabyte": {"gb gigabyte": "1"},
    "terabyte": {"tb terabyte": "1"},
}
_NAMES = " ".join(names for group in SIZES.values() for names in group)
_LONG = "|".join(re.findall(r"(?<!\S)[a-z]{3,}(?!\S)", _NAMES))
_PLAIN = rf"(?:{_LONG}|unit|cm|mm|km|kg|ft|yd|lb|oz|hr|in)(?:es|s)?"
MICRO = r"(?:\\mu(?![A-Za-z])|[\u00b5\u03bc])"
# Units with Greek letters, behind a number: 5 k\Omega, 5 \mu\text{m}.
UNIT_REWRITES = [
    (
        rf"(?<=[\d}}])\s*(?:{TEXT}\{{\s*)?([kM]?)\s*\}}?\s*\\Omega\s*\}}?\s*$",
        r"\\text{ \1ohm}",
    ),
    # Units without a command behind a number: 12\pi cm, \frac{1}{2} hours.
    (
        r"^((?:[^A-Za-z\\]|\\(?:[dt]?frac|sqrt|pi|cdot|times)(?![A-Za-z]))+\s)\s*"
        rf"((?:(?:square|sq\.?|cubic|cu\.?)\s+)?{_PLAIN}(?:\s+per\s+(?:{_LONG}))?|k?mp?h)"
        r"((?:\s*\^\s*\{?[23]\}?)?)\s*\.?$",
        r"\1\\text{ \2}\3",
    ),
    (
        rf"(?<=[\d}}])\s*(?:{TEXT}\{{\s*\}}\s*)?(?:{MICRO}\s*{TEXT}\{{\s*|{TEXT}\{{\s*{MICRO}\s*)([msg])\s*\}}"
        r"|(?<=\d)\s*[\u00b5\u03bc]([msg])(?![A-Za-z])",
        "\\\\text{ \u00b5\\1\\2}",
    ),
]
CURRENCIES = {r"\$": "dollar", r"\euro": "euro", r"\pounds": "gbp"}
# Names whose capitals count: 5 mW is not 5 MW.
CAPITALS = {"W": "watt", "V": "volt", "A": "amp", "N": "newton", "J": "joule", "Pa": "pascal"}
CAPITALS |= {"K": "kelvin", "MW": "megawatt", "mW": "milliwatt", "M": "", "mHz": ""}
FILLERS = (
    "(?i:units?|squared?|cubed?|cubic|total|each|more|less|fewer|altogether|only|exactly|about|away|left|long|tall|wide"
    "|high|deep|old|apart|per|in|of|the|all|respectively|clockwise|counterclockwise|north|south|east|west|th|st|nd|rd)"
)  # Words that name neither a unit nor a thing.
POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
UNITS = {
    name: (kind, Fraction(size))
    for kind, names in SIZES.items()
    for group, size in names.items()
    for name in group.split()
}


def unit_of(answer: str) -> Unit | None:
    r"""Returns the known unit of a tidied answer: `\$` before it, or the text behind it; None if there is none."""
    before = re.match(r"-?\s*(\\\$|[\u20ac\u00a3\u00a5\u20b9]|\\(?:euro|pounds)\b)", answer)
    if before:
        return read_unit(CURRENCIES.get(before[1], before[1]))
    plain = _words_behind(answer)
    return None if plain is None else read_unit(plain)


def _words_behind(answer: str) -> str | None:
    r"""Returns the words behind a number, without `\text{}`. A letter outside of it is a symbol and no unit."""
    answer = re.sub(
        r"\\(?!text|mbox|math|circ|euro|pounds)[A-Za-z]+", "0", answer
    )  # \pi is no word
    found = re.search(
        rf"[\w)}}]\s*((?:{WORDS}|\\circ\b|[A-Za-z\u00a2\u20ac\u00a3\u00a5\u20b9. ]|\^\s*\{{?-?\d\}}?|\^|/)+)$",
        answer,
    )
    if found is None:
        return None
    plain = re.sub(WORDS, r" \1 ", found[1])
    is_symbol = plain == found[1] and not re.search(r"[A-Za-z]{2}|[^\x00-\x7f]", plain)
    return None if is_symbol else plain


def units_clash(gold: str, answer: str) -> bool:
    """Returns whether only one of two answers has a known unit, and the words of the other say nothing of one."""
    units = unit_of(gold), unit_of(answer)
    if (units[0] is None) == (units[1] is None):
        return False
    words = (_words_behind(gold if units[0] is None else answer) or "").replace(
        r"\circ", " degree "
    )
    words = re.split(r"(?i)\bper\b", words)[0]
    named = [word for word in re.findall("[A-Za-z]{2,}", words) if not re.fullmatch(FILLERS, word)]
    named = [word for word in named if word.lower() not in POWERS]
    return bool(named) and not any(_known(word) for word in named)


def read_unit(text: str) -> Unit | None:
    """Reads `km/h`, `square cm`, `miles per hour`, `inches^2`; returns None if a part of it is unknown."""
    text = re.sub(r"\^\s*\{?\\circ\}?", " degree ", text)
    text = re.sub(r"(?i)\bmph\b", "mile/hour", re.sub(r"(?i)\bkm?ph\b", "km/hour", text))
    text = re.sub(r"\\(?:text|mbox|mathrm)\s*|[{}$\\]", "", text)
    above, *below = re.split(r"/|\b[Pp]er\b", text)
    powers: dict[str, int] = {}
    size = Fraction(1)
    for part, sign in [(above, 1), *((part, -1) for part in below)]:
        for name, power in _factors(part):
            known = _known(name)
            if known is None:
                return None
            kind, one = known
            powers[kind] = powers.get(kind, 0) + sign * power
            size *= one ** (sign * power)
    if litres := powers.pop("volume", 0):
        powers["length"] = powers.get("length", 0) + 3 * litres
        size /= 1000**litres  # A litre is a thousandth of a cubic metre.
    return (tuple(sorted(powers.items())), size) if powers else None


def _known(name: str) -> tuple[str, Fraction] | None:
    """Returns the kind and the size of a unit, in the singular or the plural."""
    low = CAPITALS.get(name, name.lower())
    names = low, re.sub("s$", "", low), re.sub("es$", "", low)
    return next((UNITS[n] for n in names if n in UNITS), None)


def _factors(text: str) -> list[tuple[str, int]]:
    """Returns names with their powers: `square cm` and `cm^2` are both (cm, 2)."""
    factors, power = [], 1
    for name, exponent in re.findall(r"([^\s\d^.]+)\.?\s*(?:\^\s*(-?\d))?", text):
        if name.lower() in POWERS:
            power = POWERS[name.lower()]
            continue
        factors.append((name, int(exponent) if exponent else power))
        power = 1
    return factors


def without_currency(answer: str) -> str:
    r"""Returns an answer without `\$`, `€`, `\pounds` and similar signs."""
    return re.sub(r"[\u20ac\u00a3\u00a5\u20b9\u00a2]|\\(?:euro|pounds)\b|\\\$", "", answer).strip()
