"""Finds sentences of a question that only prescribe the answer's form, by patterns over `question_words.flat`.

Many questions share such words: "can be written as m/n, where m and n are relatively prime positive integers. Find m +
n." Each pattern covers a whole sentence or clause; what is given and what is asked stays.
"""

import re

_REST_OF_SENTENCE = r"(?:[^.?!]|\.(?=\d))*"
_GIVE = (
    r"(?:express|give|write|enter|report|state|leave|provide|present|put|submit|round|list|type"
    r"|simplify)"
)
_ANSWERS = r"(?:your|the|all|any|both|each|its)?(?: \w+)? ?(?:final )?(?:possible )?(?:answers?|solutions?)"
# A pattern only applies where a sentence or clause asks for the form; "what value of x will give the minimum value"
# does not.
_ASKING = r"(?:^|(?<=[.?!:;,)] )|(?<=[.?!:;,)])|\bplease |\band |\bthen )"
_FORMS = (
    r"(?:common fraction|mixed number|simplest (?:radical |fractional )?form|lowest terms"
    r"|interval notation|decimal)"
)
# "can be written in the form m/n, where m and n are relatively prime positive integers. Find m + n"
_KINDS = (
    r"(?:relatively prime|coprime|positive|nonnegative|non negative|real|rational|natural|integers?"
    r"|numbers?|primes?|constants?)"
)
_CAN_BE_WRITTEN = (
    r"(?:\b(?:can|may|could) be (?:uniquely )?(?:written|expressed)(?: uniquely)? (?:as|in)\b)?"
    r"(?: ?(?:in |of )?the (?:simplest |reduced )?form\b)?(?: (?:frac )?[a-z] ?/ ?[a-z]\b)?,? ?"
)
_NAMES_ARE = (
    r"\b(?:where|with|such that|for) (?:(?:[a-z]|and|both)\b[ ,]*)+(?:are|is|being)"
    rf" (?:\w+ )*?{_KINDS}\b(?: (?:{_KINDS}|to each other|greater than \d))*"
)
_CONDITION = (
    r"(?:[ ,]*(?:and|with|such that|so that|where) [^.?!]{0,50}(?:divisible by|square of"
    r"|square free|squarefree|common (?:factors?|divisors?)|relatively prime|coprime"
    r"|as small as possible)[^.?!,]{0,60})"
)
_FIND_THE_SUM = (
    r"(?:[.,; ]*\b(?:find|compute|determine|evaluate|what is|calculate)\b(?: the)?"
    r"(?: sum| value of)?(?: of)? *\d*[a-z]\b(?: *\+ *\d* *[a-z]\b)+)"
)
_INSTRUCTIONS = [
    re.compile(pattern)
    for pattern in (
        rf"{_ASKING}{_GIVE} {_ANSWERS}\b{_REST_OF_SENTENCE}",
        r"\b(?:and |then )?(?:please )?(?:let us |lets )?(?:reason|think) (?:about it )?"
        r"step by step\b[^.?!]*",
        r"\b(?:put|write|give|place|enclose) [^.?!]{0,40}\bboxed\b[^.?!]*",
        r"\bif (?:there (?:is|are)|you find|multiple|no)\b[^.?!]{0,60}"
        r"\b(?:answers?|solutions?|values?)\b[^.?!]*",
        r"\benter the letters?\b[^.?!]*",
        r"\b(?:rounded|round) (?:off )?to (?:the nearest|\w+ decimal)\b[^.?!]*",
        rf"\b(?:as|in) (?:a |an |the )?{_FORMS}\b",
        r"\bseparated by commas\b",
        rf"{_CAN_BE_WRITTEN}{_NAMES_ARE}{_CONDITION}*{_FIND_THE_SUM}?",
    )
]
# How a question begins to ask; "Find", "Compute" and "What is" mean the same.
REQUEST = re.compile(
    r"^(?:please |problem \d* ?|question \d* ?)*"
    r"(?:find|compute|calculate|evaluate|determine|simplify|solve|what is|what are|whats)\b"
    r"(?: for)?(?: the)?(?: value of| values of| numerical value of)?\b"
)


def without_instructions(flat_text: str) -> str:
    """Returns a flat text without its sentences and clauses about the form of the answer."""
    for pattern in _INSTRUCTIONS:
        flat_text = pattern.sub(" ", flat_text)
    return flat_text
