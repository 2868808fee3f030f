"""Splits a text into sentences by rules, in any script, for the robust checks of IFEval.

`.`, `?` or `!` before white space ends a sentence, unless it abbreviates; so do the full stops of other scripts. A list
item ends where the next one begins or where a blank line follows. Other line breaks end nothing, so a heading, or the
introduction of a list, belongs to the sentence after it. A piece without a letter or digit is not a sentence.
"""

import re

from jaxreason.tasks.nltk_splits import KNOWN

# Abbreviations that never end a sentence.
BEFORE_A_NAME = frozenset(
    """
    mr mrs ms messrs dr prof rev gen rep reps gov capt lt col sgt maj adm hon pres mt fr vs e.g i.e cf viz
    """.split()  # noqa: SIM905
)
# Abbreviations if a number follows; otherwise words.
BEFORE_A_NUMBER = frozenset(
    """
    no nos vol fig figs pp ch sec art eq ed eds approx ca jan feb mar apr jun jul aug sep sept
    oct nov dec mon tue wed thu fri sat sun
    """.split()  # noqa: SIM905
)
# They end a sentence if a capital follows.
OFTEN_LAST = frozenset(
    "a.m p.m a.d b.c etc inc ltd corp co bros jr sr ph.d m.d b.a m.a b.sc m.sc al est".split()  # noqa: SIM905
)
# They end a sentence if a word follows that has a capital only at the beginning of a sentence.
OFTEN_INSIDE = frozenset("st ave blvd rd dept univ ft oz lb lbs hr hrs min".split())  # noqa: SIM905
AFTER_A_TIME = re.compile(
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august"
    r"|september|october|november|december|[ecmp][sd]t|[ecmp]t|utc|gmt|bst|cet",
    re.IGNORECASE,
)
_CLOSE = r"[\"'”’»)\]*_」』）]*+"
_PICTURES = "[\u2600-\u27bf\U0001f000-\U0001faff]"
_FULL_STOPS = "。！？｡।॥؟۔։።፧။៕"
_BULLET = r"[ \t]*(?:[-*+•◦▪]|\d{1,3}[.)])[ \t]+\S"
_ITEM = rf"(?P<item>\n)(?={_BULLET}|[ \t]*\n)"
_END = re.compile(
    rf"(?<![.?!])[.?!]++{_CLOSE}(?=\s|$|{_PICTURES})|[{_FULL_STOPS}]++{_CLOSE}|{_ITEM}"
)
_MARKER = re.compile(r"[ \t#*]*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})")
_NEXT = re.compile(r"[\s\"'“‘«(\[*_]*+(\S[^\s,.;:!?\"'”’)*_]*)")


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text."""
    found, start = [], 0
    for match in _END.finditer(text):
        if goes_on(text, match):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in [*found, text[start:].strip()] if re.search(r"\w", sentence)]


def goes_on(text: str, match: re.Match[str]) -> bool:
    """Returns whether the mark, or the line break after a list item, is inside a sentence."""
    if match["item"]:
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        return re.match(_BULLET, line) is None
    following = _NEXT.match(text, match.end())
    after = following[1] if following else ""
    mark = match[0]
    if not after or mark[0] in _FULL_STOPS:
        return False
    if mark[0] in "?!" or mark.startswith(".."):
        # Examples: '"Really?" he asked.'; "Wait... what?"
        return after[0].islower() and (mark[0] == "." or mark[-1] in "\"'”’»」』")
    return abbreviates(word_before(text, match.start()), after) or is_marker(text, match.start())


def word_before(text: str, place: int) -> str:
    """Returns the letters, digits and full stops directly before a place, at most 40."""
    return re.search(r"[\w.]*$", text[max(0, place - 40) : place])[0]


def is_marker(text: str, place: int) -> bool:
    """Returns whether a full stop belongs to the number or letter of a list item or a heading."""
    line = text[max(0, place - 12) : place].rpartition("\n")
    whole = bool(line[1]) or place < 12
    return whole and text[place + 1 : place + 2] in (" ", "\t") and bool(_MARKER.fullmatch(line[2]))


def abbreviates(word: str, after: str) -> bool:
    """Returns whether a full stop between two words abbreviates the first and does not end a sentence."""
    bare, capital = word.lower(), after[0].isupper()
    if bare in BEFORE_A_NAME:
        return True
    if bare in BEFORE_A_NUMBER:
        return after[0].isdigit()
    if bare in OFTEN_LAST:
        return not capital or (bare in ("a.m", "p.m") and AFTER_A_TIME.fullmatch(after) is not None)
    if bare == "i":
        return not capital
    if bare in OFTEN_INSIDE or re.fullmatch(r"[^\W\d_]|(?:[^\W\d_]\.)+[^\W\d_]", bare):
        return not (capital and (after == "I" or (len(after) > 1 and after.lower() in KNOWN)))
    return False
