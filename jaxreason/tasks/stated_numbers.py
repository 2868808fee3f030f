r"""The number of a marked place, in \boxed{} or after `####`, which should hold one number and perhaps words.

The words may be a unit or a remark ("5 apples for 2 days"). Words that change the number ("5 dozen"), deny it or leave
it open ("5 or more") make the place worth nothing, since a reply must not earn a reward with two answers.
"""

import re

from jaxreason.tasks.number_words import NUMBER_WORD, spelled_number
from jaxreason.tasks.numbers_in_text import NUMBER, VULGAR, clean, plain_notation

# Decoration around the number of a marked place.
DRESS = re.compile(
    r"(?<=[A-Za-z}])\s*\^\s*\{?\d\}?|\^\s*\{?\\circ\}?|(?<=[A-Za-z])/(?=[A-Za-z])|[{}*$]"
    r"|\\(?:(?:text)?color\s*\{\w+\}|(?:begin|end)\s*\{[a-z]+\*?\}|text\w*|math(?:rm|bf|it|sf)|mbox|boldsymbol|bm|bf|underline|displaystyle|left|right"
    r"|boxed|approx|quad|[$%,;:! ()\[\]])"
)
WORD = rf"(?:an?\s+)?{NUMBER_WORD}(?:s|e?th|ths)?\b"
OPEN = (
    r"or\s+(?:so|more|less|fewer|higher|lower|greater|larger|smaller|above|below|over|under|better"
    r"|worse|beyond|thereabouts|maybe|perhaps|possibly|even|another|a\s+few|several|not)\b"
)
PARTS = r"(?:(?:ten|hundred|thousand|[mb]illion|fif|six|seven|eigh|nin)ths?|halves|thirds|fourths)"
HEDGE = (
    r"(?:(?:or|and|to|times|by|over|plus|minus|less|more\s+than|versus|vs|remainder)\b(?=.*\d)"
    rf"|(?:or|and|to|times|by|over|plus|minus|less|versus|vs|mod|choose)\s+(?:maybe\s+|perhaps\s+)?{WORD}"
    rf"|{OPEN}|(?:divided|multiplied|raised)\s+(?:by|to)\b|to\s+the\b|at\s+(?:most|least)\b"
    rf"|point\s+(?:\d|{WORD})|{PARTS}\b"
    r"|(?:hundreds?|thousands?|dozens?|squared|cubed|factorial|[mbtr]+illions?|lakhs?|crores?|bn)\b)"
)
OPEN_REMARK = rf"[^()]*\b(?:{OPEN}|or\s+(?:\d|{WORD}))"
REMARK = re.compile(
    rf"\s*%?[\s,.;]*(?!{HEDGE})[A-Za-z]{{2,}}"
    rf"|\s+\((?!{HEDGE})(?!{OPEN_REMARK})[^()]*[A-Za-z]{{2}}",
    re.IGNORECASE,
)
PERCENT_OF = re.compile(rf"(?i)\s*(?:%|per\s?cent)\s+of\s+(?:\$?\d|{WORD})")
# Words at a marked place that withdraw its number or add another one.
DENIAL = re.compile(
    r"(?i)\b(?:wrong|incorrect|false|invalid|mistaken?|error|not\s+(?:right|correct|it))\b"
)
# A later number corrects the first: "5. Wait, it is 6".
CORRECTED = re.compile(
    r"(?i)\b(?:wait|actually|correct(?:ed|ion)|sorry|oops|i\s+mean|make\s+that|should\s+be|no(?:,|\s+it\b)).{0,100}?\d"
)
REASON = r"(?:because|since|as|after|for)\b"
FURTHER = (
    r"(?:for|in|per|each|every|which|because|since|after|of|with|at|from|on|by|is|are|more|a)\b"
)
CONJUNCTION = r"(?:and|or|plus|minus|to|versus|vs|out\s+of)\b"
UNITS = rf"\s*%?\s*(?:(?!{FURTHER}|{CONJUNCTION})[A-Za-z]++\s*+){{0,3}}"
SECOND = re.compile(
    rf"(?i){UNITS}(?:,\s*(?:{CONJUNCTION}\s*)?|&\s*|{CONJUNCTION}\s*)"
    rf"(?:(?:(?!{REASON})[A-Za-z]+\s+)?\$?\d|(?:an?\s+|one\s+)?(?:half|third|quarter)\b)"
    rf"|{UNITS},?\s*(?:{CONJUNCTION}\s+(?:maybe\s+|perhaps\s+)?{WORD}|{OPEN})"
)
UNIT = re.compile(rf"(?!\s*{HEDGE})[^\d\\/+^:?(=\u00d7\u00f7-]*", re.IGNORECASE)
# Signs directly after or before a number that make it another number.
GROWN = re.compile(
    r"[abeiknqxyzKMBT\u03c0]\b|-?ish\b|\s[kB]\b|\s?[\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215e]"
)
SHRUNK = re.compile(
    r"(?:[\u00bc-\u00be\u2150-\u215e]"
    r"|\b(?:not|half\s+of|twice|double|triple|(?:more|less|fewer|greater|other)\s+than"
    r"|at\s+(?:least|most)|up\s+to))\s*$|(?<![-=])[<>\u2264\u2265]\s*$",
    re.IGNORECASE,
)
# A quantity in two units: 6 feet 2 inches.
COMPOUND = re.compile(
    r"(?i)\s*(?:feet|foot|ft|yards?|miles?|k?m|meters?|metres?|years?|weeks?|days?|hours?|hrs?|h|min\w*"
    r"|pounds?|lbs?|kg|dollars?|gallons?)\b[\s,]*(?:and\s+)?"
    rf"(?:(?!0+\b)\d+|{WORD}(?:[-\s]{WORD})?)\s*(?:inch(?:es)?|in|feet|ft|cm|months?"
    r"|weeks?|days?|hours?|hrs?|min\w*|sec\w*|s|ounces?|oz|g|grams?|cents?|quarts?|pints?)\b"
)
NEGATED = re.compile(r"(?i)(?:^|[\s(:])(?:minus|negative|[-\u2012-\u2014\u2212])\s*$")
SPACED = re.compile(r"(?<![\d.,] )(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d/]| \d)")  # 1 200
PER = re.compile(
    r"^\s*/\s*(?=(?:day|hour|hr|week|month|year|yr|minute|min|second|sec|person|mile|pound|lb)s?\b)(?!.*\d)"
)
END = re.compile(r"</s>|<\|\w+\|>")  # Of a reply, as some models write it.
LONGEST = 2000  # Characters of a place that are read.
BASE_TEN = re.compile(r"(?<=\d)_\s*\{?(?:10|\\text\s*\{\s*ten\s*\})\}?(?!\d)")


def stated_number(part: str) -> str | None:
    """Returns the number of a place that should contain only a number, perhaps with words; None without one.

    If the place contains something other than one number (`3/4`, `3, 4`, `5)(6)(7`), it is returned as it is, and then
    equals no number.
    """
    part = re.sub(r"[ \t\r\n]+", " ", part[:LONGEST])
    side = END.split(clean(part))[0].rpartition("=")[2]
    side = side.strip("_ ") if side.rstrip().endswith("_") else side
    side = BASE_TEN.sub("", SPACED.sub(lambda m: m[0].replace(" ", ""), side))
    match = NUMBER.search(side)
    if match is None:
        return part.strip() if re.search(VULGAR, side) else spelled_number(DRESS.sub("", side))
    before = DRESS.sub("", side[: match.start()])
    after = DRESS.sub("", PER.sub(" ", side[match.end() :]))
    sign = "-" if match[0][0].isdigit() and NEGATED.search(before) else ""
    alone = "\\" not in before and not before.endswith(("/", "^", "_"))
    alone = alone and not GROWN.match(side, match.end()) and not SHRUNK.search(before[-20:])
    alone = alone and is_remark(after)
    return sign + plain_notation(match[0]) if alone else part.strip()


def is_remark(after: str) -> bool:
    """Returns whether the text after a number is a unit or a remark, and leaves the number as it is."""
    changes = (SECOND, COMPOUND, PERCENT_OF)
    return bool(
        (UNIT.fullmatch(after) or REMARK.match(after))
        and not any(pattern.match(after) for pattern in changes)
        and not DENIAL.search(after)
        and not CORRECTED.search(after)
    )
