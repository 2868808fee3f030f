r"""GSM8K's answer in a reply: after `####`, in the last box, or the last number.

Chat models also write `####` for headings ("#### Step 2: Overtime pay"), and base models go on with a question of their
own. Neither is an answer.
"""

import re
from dataclasses import dataclass

from jaxreason.tasks.announced_answers import replacing_answer
from jaxreason.tasks.numbers_in_text import last_number, plain_notation
from jaxreason.tasks.reply_text import boxed_answer
from jaxreason.tasks.stated_numbers import DRESS, stated_number

MARK = re.compile(r"#{4,}+")
MOST_LOOKED_AT = 30  # Marks that are read, counted from the end.
LONGEST = 300  # Characters of a marked line that are read.
# Labels that begin a heading. "Step 2" is always one; "3. Total pay" only if text with numbers follows.
STEP = re.compile(
    r"(?i)\s*(?:step|(?:sub-?)?case|part|phase|stage)\s*#?\d+\b[\s:.)\u2013\u2014-]*|\s*[a-z]+\s+\d+\s*:"
)
LISTED = re.compile(
    r"\s*(?:\d{1,2}[.):]|\(?[A-Za-z]\)|[A-Ha-h]\.)\s+(?=[(\"]*[A-Za-z\d])(?!.*[.!]\s*$)"
)
STATES = r"(?:\b(?:is|are|was|were|equals?|gives?|makes?|yields?|gets?|has|have|totals?)\b|[=:>])"
# "Calculating the cost of 5 apples", "Pay for 40 hours": the number is what the heading is about.
TOPIC = re.compile(
    rf"(?i)\s*(?:(?:when|if|let|assum\w+|consider\w*|starting|(?:re)?calculat\w+|comput\w+|find(?:ing)?"
    rf"|determin\w+|solv\w+|simplif\w+|verif\w+|check\w*|convert\w*|add(?:ing)?|subtract\w*|multipl\w+"
    rf"|divid\w+)\b(?!.*\b(?:gives?|makes?|yields?|gets?)\b)"
    rf"|(?!.*{STATES}.*\d)[A-Za-z][^\d]*\b(?:for|in|after|per|at|from|on|during|with)\s+\$?\d)"
)
ANSWER_HEADING = re.compile(r"(?i)\s*(?:the\s+)?(?:final\s+)?answer\s*:?\s*")
STEP_LINE = re.compile(r"(?im)^[ \t#*]*+step[ \t]+\d+\b")
# Where a base model goes on with the next question, or with the words of the user.
NEXT_QUESTION = re.compile(
    r"(?im)^[ \t#*]*+(?:question|problem|q|user|human)\s*\d{0,3}[ \t*]*:[^\n]{15}"
)
REPLIES = re.compile(r"(?im)^[ \t#*]*+(?:answer|solution|a|response|assistant)\s*\d{0,3}[ \t*]*:")
ANSWERED = re.compile(
    r"(?i)(?<!#)#{4,}+\s*+[^\n]{0,40}?\d|\\boxed\s*\{|\banswer\s+is[\s:*]{0,9}\$?-?\d"
    r"|(?m:^)[ \t*]{0,9}(?:a|answer)[ \t*]{0,9}:[^\n]{0,99}?\d"
)
NUMERAL = r"-?\$?(?:\d[\d,]*(?:\.\d+)?)"
# The end of the last sentence: "the answer is 18 dollars for 2 days." and "18, not 19."
ANNOUNCED = re.compile(
    rf"(?i)\banswer\s+is\s*:?\s*\**({NUMERAL})\**(?![\d.,/]*\d)(?:\s+[a-z]+){{0,2}}?"
    r"\s+(?:for|in|per|each|every|over|within|during|after)\s+(?:(?:the|all|these|those|a)\s+)?\d+\s+[a-z]+[\s.!*]*\Z"
)
INSTEAD = re.compile(
    rf"(?i)({NUMERAL}[*$%)]*(?:(?:\s+[a-z]+[*]*)?(?:,\s+(?:and\s+)?|\s*\()not|,?\s+(?:rather\s+than|instead\s+of)))\s+"
    rf"{NUMERAL}(?:\s+[a-z]+)?[\s.!*)$]*\Z"
)
LAST = 300  # Characters at the end of a reply in which these two are looked for.
# A number alone, and the headings below it that leave it the answer.
ALONE = re.compile(
    rf"(?i)(?:the\s|final\s|answer|total|is\s|[:=*$\u20ac\u00a3]|\s)*{NUMERAL}[*$\u20ac%]*(?:\s+[a-z]+){{0,3}}[\s.!*]*"
)
EXPLAINS = re.compile(
    r"(?i)\s*(?:explan|check|verif|reason|note|justif|solution|breakdown|detail|work|why|how|steps?\b)[^\d]*"
)
# A line below the heading "Final answer": a number that is not the first of a calculation.
ANSWER_LINE = re.compile(
    rf"[\s*$\u20ac\u00a3]*{NUMERAL}[\s*$\u20ac%]*(?:[A-Za-z]+[\s*]*){{0,3}}(?:[.(]|$)"
)
# A line that gives the answer, and what may follow without changing it.
REASONS = (
    r",?[ ]*(?:because|since|as|which\s+(?:is|are|equals|means|comes))\b(?!\s+(?:well|many|much)\b)"
)
GIVEN = re.compile(
    r"(?im)^[ \t#*_]*+(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+)?answer[ *_]{0,9}(?:[:\n]|is\b)"
    rf"[\s*_]{{0,9}}\$?({NUMERAL})[*$%_]{{0,9}}+(?:[ ]+(?!(?:as|and|or|plus|minus|than)\b)[a-z]+){{0,3}}?"
    rf"[.*_ ]{{0,99}}?(?=$|\(|{REASONS})"
)
BELOW = re.compile(
    rf"(?i)(?:\s*\n\s*\((?!\s*or\b)|\s*\((?!\s*or\b)[^\n]*+\D*+\Z|\s*{REASONS}[^\n]*\Z"
    r"|[*_#(\s-]*(?:explanation|note|reason\w*|check|verification|let\s+me\s+know|(?:please\s+)?feel\s+free"
    r"|(?:i\s+)?hope\s+(?:this|that|it))\b)"
)
# A remark in the last line.
NOTE = re.compile(
    r"(?i)\n\s*(?:-{3,}\s*)?[*_#>(\s]*(?P<kind>note|remark|check|verification)\b[^\n]*\Z"
)
CHANGES = re.compile(
    r"(?i)\b(?:wait|actually|so|therefore|thus|hence|correct\w*|answer|mistake|wrong|no|not|but|should)\b"
)


@dataclass(frozen=True)
class Marked:
    """A `####` of a reply: the text of its line (or of the next one, if it is alone), and all text after this."""

    line: str
    rest: str


def gsm8k_number(text: str) -> str | None:
    """Returns the number after the last `####` that is no heading, else the one in the last box, else the last one.

    A box behind the mark goes before the mark. Of an equation, the side after the last `=` counts.
    """
    text = before_next_question(text)
    given = marked_number(text) or number_in_box(text)
    replacing = replacing_answer(text) if given else None
    return stated_number(replacing) if replacing else given or number_at_end(text)


def before_next_question(text: str) -> str:
    """Returns the reply without the questions that follow its answer."""
    match = NEXT_QUESTION.search(text)
    answered = ANSWERED.search(text)
    if match is None or answered is None or answered.start() > match.start():
        return text
    rest = text[match.end() :]
    goes_on = REPLIES.search(rest) or not ANSWERED.search(rest)
    return text[: match.start()] if goes_on else text


def marked_number(text: str) -> str | None:
    """Returns the number after the last `####` that is no heading, or in a box behind it; None without one."""
    below = None  # The mark that follows.
    for match in reversed(list(MARK.finditer(text))[-MOST_LOOKED_AT:]):
        tail = text[match.end() :]
        marked = _marked(tail)
        number = _number_of(marked)
        stays = below is None or (EXPLAINS.fullmatch(below.line) and ALONE.fullmatch(marked.line))
        if number is not None and stays:
            return number_in_box(tail) or number
        below = marked
    return None


def number_in_box(text: str) -> str | None:
    """Returns the number of the last box; None without one."""
    box = boxed_answer(text)
    if box is None:
        return None
    return box if re.search(r"\d\s*!(?!\w)", box.replace(r"\!", "")) else stated_number(box)


def _marked(tail: str) -> Marked:
    """Returns the first line of the text after a mark that is not blank, and the text after it."""
    line, _, rest = tail.lstrip().partition("\n")
    return Marked(line[:LONGEST].rstrip(), rest)


def _number_of(marked: Marked) -> str | None:
    """Returns the number of a marked line; None if the line has none, or is a heading of what follows."""
    line = marked.line.strip("*_ ")
    follows = re.search(r"\d", marked.rest) is not None
    if ANSWER_HEADING.fullmatch(line):
        below = marked.rest.lstrip().partition("\n")[0][:LONGEST]
        return stated_number(below) if ANSWER_LINE.match(below) else None
    if label := STEP.match(line):
        return None if follows else stated_number(line[label.end() :])
    return None if follows and is_heading(line) else stated_number(marked.line)


def is_heading(line: str) -> bool:
    """Returns whether a marked line only introduces the text below it, which has numbers."""
    plain = DRESS.sub("", line).strip()
    ends_open = plain.endswith(":") and re.search("[A-Za-z]", plain)
    without = not re.search(r"\d", plain)  # "Two cases"
    return bool(LISTED.match(plain) or ends_open or without or TOPIC.match(plain))


def number_at_end(text: str) -> str | None:
    """Returns the number that the last sentence announces, else the last number of a text."""
    text = STEP_LINE.sub("", text).rstrip()
    announced = ANNOUNCED.search(text, max(0, len(text) - LAST))
    if announced:
        return plain_notation(announced[1])
    given = last_given(text)
    if given is not None:
        return given
    text = without_note(text)
    end = max(0, len(text) - LAST)
    return last_number(text[:end] + INSTEAD.sub(r"\1", text[end:]))


def without_note(text: str) -> str:
    """Returns a text without a note in its last line, or a check that repeats the number before it."""
    note = NOTE.search(text, max(0, len(text) - LAST))
    number = last_number(text[: note.start()]) if note else None
    if note is None or number is None or CHANGES.search(note[0]):
        return text
    is_note = note["kind"].lower() in ("note", "remark")
    repeats = number in re.findall(r"[\d.]*\d", note[0].replace(",", ""))
    return text[: note.start()] if is_note or repeats else text


def last_given(text: str) -> str | None:
    """Returns the number of the last line "Answer: 18" if only an explanation follows; else None."""
    lines = list(GIVEN.finditer(text))
    if not lines:
        return None
    below = text[lines[-1].end() :]
    settled = BELOW.match(below) and not CHANGES.search(below)
    return plain_notation(lines[-1][1]) if settled else None
