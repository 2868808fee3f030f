r"""Numbers in digits within a text: 1,234.50, 1'234, 1 234, 1e3; and the last one of a text."""

import re
from decimal import Decimal

VULGAR = r"[\u00bc-\u00be\u2150-\u215e]"  # One half and other fractions of one character.
# A minus belongs to the number unless something precedes it from which it could subtract; a `$` that opens a formula is
# not such a thing. Exponents (m^2) and digits inside a longer number are not numbers of their own.
MINUS = r"(?:(?:(?<![\w)\]}$])|(?<=[\s({\[:=*$`'_]\$)|(?<=^\$))[-\u2012-\u2014\u2212])?"
NUMBER = re.compile(
    r"(?=[-\u2012-\u2014\u2212$.\d])"  # Saves time where there is no number.
    rf"{MINUS}\$?(?<![\d^])(?<!\d\.)(?<!\^\{{)(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?"
    rf"|(?=[-\u2012-\u2014\u2212.]){MINUS}(?<![\d.^])\.\d+"
)
# A word, or behind a currency a letter, that makes a number larger.
SIZE_WORDS, SIZE_LETTERS = "hundred|thousand|million|billion|trillion", "[kKMB]"
SIZE = re.compile(rf"[*\s]{{0,3}}({SIZE_WORDS})\b")
SIZE_LETTER = re.compile(rf"\s?({SIZE_LETTERS})\b")
SPOKEN_MINUS = re.compile(r"(?i)(?:(?<=\bis )|(?<=[:=] )|\A)(?:minus|negative)\s+(?=\$?\d)")
JOINED = re.compile(r"\d[^\S\n]?(?:[/:?]|\)\()[^\S\n]?$")
MIXED = re.compile(r"(?<![\w./,])\d{1,3} $")  # The whole part of 7 1/2.
# 1'000 and 1 000 with a space that does not break lines.
GROUPED = re.compile(
    r"(?<![\d.,'\u2019\u00a0\u2009\u202f])\d{1,3}(?:['\u2019\u00a0\u2009\u202f]\d{3})+(?!['\u2019]?\d)"
)
# With a common space, 2 100 may be two numbers. Nothing else is meant by a group that begins with a zero, or by a
# number that ends the text after "is", "=" or a currency.
SPACED_GROUPS = re.compile(
    r"(?<![\d.,] )(?<![\d.,])\d{1,3}(?=(?: \d{3}){0,9}? 0\d\d)(?: \d{3}){1,10}+(?![\d/]| \d)"
    r"|(?:(?<=\bis )|(?<=[=:] )|(?<=[=$\u20ac\u00a3*]))[-\u2212]?\d{1,3}(?: \d{3})+(?=[\s.!*$)]*$)"
)
SCIENTIFIC = re.compile(r"(?<![\w.^])(\d{1,20}(?:\.\d{1,20})?)[eE]([-+]?\d{1,2})(?!\w|\.\d)")


def clean(text: str) -> str:
    """Returns a text without LaTeX's spellings of a separator, a thin space or a dollar sign; 1e3 becomes 1000."""
    text = re.sub(r"(?:\\(?:text|mathrm)\s*)?\{-\}", "-", SPOKEN_MINUS.sub("-", text))
    text = re.sub(r"(?<=\d)(?:\\ |~)(?=\d{3})", " ", text)
    text = re.sub(r"(?<=\d)\uff0c(?=\d{3}(?!\d))", ",", text)
    text = text.replace("{,}", ",").replace(r"\!", "").replace(r"\$", "$").replace(r"\,", "")
    text = GROUPED.sub(lambda m: re.sub(r"\D", "", m[0]), text)
    return SCIENTIFIC.sub(lambda m: format(Decimal(m[0]).normalize(), "f"), text)


def plain_notation(number: str) -> str:
    """Returns a number in plain notation: `-$1,234.50` becomes "-1234.50"."""
    return re.sub(r"[\u2012-\u2014\u2212]", "-", re.sub(r"[$,]", "", number))


def last_number(text: str) -> str | None:
    """Returns the last number of a text, or None.

    `3/4`, `7 1/2`, `7½`, `9:30`, `7 million` and `$7k` are returned as they are, and not as 4, 2, 7, 30, 7 and 7.
    """
    text = SPACED_GROUPS.sub(lambda m: m[0].replace(" ", ""), clean(text))
    last = previous = None
    for match in NUMBER.finditer(text):
        previous, last = last, match
    vulgar = max((m.start() for m in re.finditer(VULGAR, text)), default=-1)
    if vulgar >= (last.end() if last else 0):
        return _with_fraction(text, last, vulgar)
    if last is None:
        return None
    if previous and JOINED.search(text, max(0, last.start() - 4), last.start()):
        whole = MIXED.search(text, max(0, previous.start() - 5), previous.start())
        return text[whole.start() if whole else previous.start() : last.end()]
    return _with_size(text, last)


def _with_size(text: str, number: re.Match) -> str:
    """Returns a number in plain notation, with the word or the letter behind it that makes it larger."""
    plain = plain_notation(number[0])
    if word := SIZE.match(text, number.end()):
        return f"{plain} {word[1]}"
    letter = SIZE_LETTER.match(text, number.end()) if "$" in number[0] else None
    return f"${plain}{letter[1]}" if letter else plain


def _with_fraction(text: str, number: re.Match | None, place: int) -> str:
    """Returns the fraction of one character at a place, with the whole number directly before it."""
    joined = number is not None and not text[number.end() : place].strip(" ")
    return text[number.start() if number and joined else place : place + 1]
