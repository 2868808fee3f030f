r"""Answers that are one number: GSM8K (after `####`, in \boxed{}, or the last one), sums (the last one).

`gsm8k` and `last_number` also accept a fraction of integers that has the value, 36/2 for 18; `gsm8k_strict` and
`last_number_strict` (for rewards) accept only a number that is written out.
"""

import re
from decimal import Decimal
from fractions import Fraction
from functools import partial

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.equivalence import bare_value, numeral
from jaxreason.tasks.latex_answers import tidy_latex, without_unit
from jaxreason.tasks.reply_text import last_boxed, score_both_ways, strip_thinking

MOST_CHARACTERS = 200  # Of a fraction.
VALUE = r"/|\\[dt]?frac|10\s*\^|illion|thousand|[\u00bc-\u00be\u2150-\u215e]"
SCALED = r"(.+?)\s*\\(?:cdot|times)\s*10\s*\^\s*\{?(\d{1,2})\}?"
# A minus belongs to the number unless something precedes it from which it could subtract; a `$` that opens a formula is
# not such a thing. Exponents (m^2) and digits inside a longer number are not numbers of their own.
MINUS = r"(?:(?:(?<![\w)\]}$])|(?<=[\s({\[:=*]\$)|(?<=^\$))[-\u2012-\u2014\u2212])?"
NUMBER = re.compile(
    r"(?=[-\u2012-\u2014\u2212$.\d])"  # Saves time where there is no number.
    rf"{MINUS}\$?(?<![\d^])(?<!\d\.)(?<!\^\{{)(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?"
    rf"|(?=[-\u2012-\u2014\u2212.]){MINUS}(?<![\d.^])\.\d+"
)
# Decoration around the number of a marked place.
DRESS = re.compile(
    r"(?<=[A-Za-z}])\s*\^\s*\{?\d\}?|\^\s*\{?\\circ\}?|(?<=[A-Za-z])/(?=[A-Za-z])|[{}*$]"
    r"|\\(?:text\w*|mathrm|mbox|left|right|boxed|approx|quad|[$%,;:! ()\[\]])"
)
HEDGE = (
    r"(?:(?:or|and|to|times|by|over|plus|minus|less|more\s+than|versus|vs)\b(?=.*\d)"
    r"|(?:times|plus|minus|less)\s+(?:one|two|three|four|five|six|seven|eight|nine|ten|half|an?)\b"
    r"|(?:hundred|thousand|dozen|squared|cubed|[mbtr]+illion)\b)"
)
REMARK = re.compile(rf"\s*%?[\s,.;]*(?!{HEDGE})[A-Za-z]{{2,}}|\s+\((?!{HEDGE})[^()]*[A-Za-z]{{2}}")
# Words at a marked place that withdraw its number or add another one.
DENIAL = re.compile(
    r"(?i)\b(?:wrong|incorrect|false|invalid|mistaken?|error|not\s+(?:right|correct|it))\b"
)
FURTHER = (
    r"(?:for|in|per|each|every|which|because|since|after|of|with|at|from|on|by|is|are|more|a)\b"
)
SECOND = re.compile(
    rf"(?i)\s*%?\s*(?:(?!{FURTHER})[A-Za-z]+\s*){{0,3}}(?:,|&|\b(?:and|or|plus|minus|to|versus|vs)\b)\s*"
    r"(?:(?:[A-Za-z]+\s+)?\$?\d|(?:an?\s+|one\s+)?(?:half|third|quarter)\b)"
)
UNIT = re.compile(rf"(?!\s*{HEDGE})[^\d\\/+^:?(=\u00d7\u00f7-]*")
# Signs directly after or before a number that make it another number.
GROWN = re.compile(r"[kKMxyn]\b|\s?[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215e]")
SHRUNK = re.compile(
    r"(?:[\u00bc-\u00be\u2150-\u215e]"
    r"|\b(?:not|half\s+of|twice|double|triple|(?:more|less|fewer|greater|other)\s+than"
    r"|at\s+(?:least|most)|up\s+to))\s*$|(?<![-=])[<>\u2264\u2265]\s*$",
    re.IGNORECASE,
)
# A quantity in two units: 6 feet 2 inches.
COMPOUND = re.compile(
    r"(?i)\s*(?:feet|foot|ft|yards?|miles?|k?m|meters?|metres?|years?|weeks?|days?|hours?|hrs?|h|min\w*"
    r"|pounds?|lbs?|kg|dollars?|gallons?)\b[\s,]*(?:and\s+)?(?!0+\b)\d+\s*(?:inch(?:es)?|in|feet|ft|cm|months?"
    r"|weeks?|days?|hours?|hrs?|min\w*|sec\w*|s|ounces?|oz|g|grams?|cents?|quarts?|pints?)\b"
)
NEGATED = re.compile(r"(?i)(?:^|[\s(:])(?:minus|negative|[-\u2012-\u2014\u2212])\s*$")
SPOKEN_MINUS = re.compile(r"(?i)(?<=\bis )(?:minus|negative)\s+(?=\$?\d)")
SPACED = re.compile(r"(?<![\d.,] )(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d/]| \d)")  # 1 200
JOINED = re.compile(r"\d\s?(?:[/:?]|\)\()\s?$")


def clean(text: str) -> str:
    """Returns a text without LaTeX's spellings of a separator, a thin space or a dollar sign."""
    text = re.sub(r"(?:\\(?:text|mathrm)\s*)?\{-\}", "-", SPOKEN_MINUS.sub("-", text))
    return text.replace("{,}", ",").replace(r"\!", "").replace(r"\$", "$").replace(r"\,", "")


def plain_notation(number: str) -> str:
    """Returns a number in plain notation: `-$1,234.50` becomes "-1234.50"."""
    return re.sub(r"[\u2012-\u2014\u2212]", "-", re.sub(r"[$,]", "", number))


def last_number(text: str) -> str | None:
    """Returns the last number of a text, or None; `3/4` and `9:30` are returned as they are, not as 4 and 30."""
    text = clean(text)
    last = previous = None
    for match in NUMBER.finditer(text):
        previous, last = last, match
    if last is None:
        return None
    if previous and JOINED.search(text, max(0, last.start() - 4), last.start()):
        return text[previous.start() : last.end()]
    return plain_notation(last[0])


def stated_number(part: str) -> str | None:
    """Returns the number of a place that should contain only a number, perhaps with words; None without one.

    If the place contains something other than one number (`3/4`, `3, 4`, `5)(6)(7`), it is returned as it is, and then
    equals no number.
    """
    side = SPACED.sub(lambda m: m[0].replace(" ", ""), clean(part).rpartition("=")[2])
    match = NUMBER.search(side)
    if match is None:
        return None
    before = DRESS.sub("", side[: match.start()])
    after = DRESS.sub("", side[match.end() :])
    sign = "-" if match[0][0].isdigit() and NEGATED.search(before) else ""
    alone = "\\" not in before and not before.endswith(("/", "^", "_"))
    alone = alone and not GROWN.match(side, match.end()) and not SHRUNK.search(before[-20:])
    alone = alone and (UNIT.fullmatch(after) or REMARK.match(after))
    alone = alone and not SECOND.match(after) and not DENIAL.search(after)
    alone = alone and not COMPOUND.match(after)
    return sign + plain_notation(match[0]) if alone else part.strip()


def gsm8k_number(text: str) -> str | None:
    """Returns the number in the line after the last `####`, else the one in the last box, else the last one.

    Of an equation, the side after the last `=` counts.
    """
    _, marked, tail = text.rpartition("####")
    line = next((line for line in tail.splitlines() if line.strip()), "") if marked else ""
    return stated_number(line) or stated_number(last_boxed(text) or "") or last_number(text)


def grade(example: Example, answer: str, strict: bool = False) -> float:
    """Returns 1.0 for the value of the gold answer (of a worked solution: the part after `####`), else 0.0.

    Raises:
      UserError: for a gold answer without a number.
    """
    gold = last_number(example.answer.rpartition("####")[2])
    if gold is None:
        raise UserError(
            f"example {example.id!r}: the gold answer {example.answer!r} has no number."
        )
    if is_plain_number(answer):
        return float(Decimal(gold) == Decimal(answer))
    value = None if strict else fraction_of(answer)
    return float(value is not None and numeral(gold) == value)


def is_plain_number(answer: str) -> bool:
    """Returns whether an extracted answer is one plain number."""
    return re.fullmatch(r"-?\d*\.?\d+", answer) is not None


def fraction_of(answer: str) -> Fraction | None:
    r"""Returns the value of `36/2`, `\frac{36}{2}`, `4 1/2` or `7 million`, perhaps with a unit; or None."""
    if len(answer) > MOST_CHARACTERS or not re.search(VALUE, answer):
        return None
    text = bare_value(without_unit(tidy_latex(answer.rpartition("=")[2])))
    scaled = re.fullmatch(SCALED, text)
    value = numeral(scaled[1] if scaled else text)
    return value * 10 ** int(scaled[2]) if scaled and value is not None else value


def extract(example: Example, text: str) -> str | None:
    """Returns the last number of the reply without its thoughts."""
    return last_number(strip_thinking(text))


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `accuracy_unstripped` and `answered`."""
    return score_both_ways(example, text, last_number, grade)


def score_strict(example: Example, text: str) -> dict[str, float]:
    """Returns the metrics of `score`, but only a number that is written out counts."""
    return score_both_ways(example, text, last_number, partial(grade, strict=True))


def extract_gsm8k(example: Example, text: str) -> str | None:
    """Returns GSM8K's answer in the reply without its thoughts."""
    return gsm8k_number(strip_thinking(text))


def score_gsm8k(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `accuracy_unstripped` and `answered`."""
    return score_both_ways(example, text, gsm8k_number, grade)


def score_gsm8k_strict(example: Example, text: str) -> dict[str, float]:
    """Returns the metrics of `score_gsm8k`, but only a number that is written out counts."""
    return score_both_ways(example, text, gsm8k_number, partial(grade, strict=True))
