r"""HaluEval: does a text contain something made up? A model judges with Yes or No; gold is yes or no.

One grader serves the three kinds (questions, dialogues, summaries). A reply that describes its verdict without either
word ("it is supported") has no answer.
"""

import re
from collections.abc import Iterable

from jaxreason.data.examples import Example
from jaxreason.tasks import yes_no
from jaxreason.tasks.reply_text import last_boxed, strip_role, strip_thinking

_WRAP = (
    r"[\s:*_`'\"“”‘’#($>=\[\u2013\u2014\u2192\u21d2\u2705\u2714\u274c\ufe0f-]*+"
    r"(?:\\\(|\\text\w*\{|\\boxed\{)*+[\s(*]*+"
)
_WORD = r"(?i:(yes|no))(?!\w|['’-]\w)"
_ABOUT = r"(?i:\s+(?:for|of|on|about|here)\b[^.?!:\n]{0,60}?)?"
_IS = r"(?i:\s+(?:is|would\s+be|should\s+be|must\s+be|remains))?(?:\s*\([^()\n]{0,30}\))?"
_SURELY = r"(?i:(?:clearly|definitely|therefore|probably|most\s+likely|likely|an?)\b[\s*\"'“]*+)?"
JUDGED = re.compile(
    r"(?i:\b(?:judge?ments?|verdict|(?:final|my)\s+(?:answer|decision|judge?ment)))"
    rf"[#*_]*+{_ABOUT}{_IS}{_WRAP}{_SURELY}{_WORD}"
)
# "The answer" may mean the one that is judged, so this counts less than the words for a verdict.
ANSWERED = re.compile(rf"(?i:(?<!correct\s)(?<!right\s)\banswer)[*_]*+{_IS}{_WRAP}{_SURELY}{_WORD}")
_CLOSE = r"[\s.!*_`'\"“”‘’)}\]$]*$"
# The whole last line, or the text after its colon or in its last parentheses ("Hallucination: No").
ALONE = re.compile(rf"(?:^|[:=>(\u2192\u21d2]){_WRAP}{_WORD}{_CLOSE}")
# The whole last sentence of the last line, unless it answers a question of the reply itself.
LAST_SENTENCE = re.compile(rf"[.!][\"'”’*)]*\s{_WRAP}{_WORD}{_CLOSE}")
# A verdict that is taken back: "Wait, no."
CORRECTED = re.compile(
    r"(?i:\b(?:wait|actually|correction|sorry|on\s+second\s+thoughts?|on\s+reflection)\b)[,.;!]*"
    rf"(?i:\s+it(?:'s|’s|\s+is))?{_WRAP}{_WORD}(?=[\s*_\"'”’)]*(?:[.!;]|$))"
)
LEADING = re.compile(rf"(?:[\s*#]*[A-Za-z]{{1,12}}[*_]*\s?:)?{_WRAP}{_WORD}")
CLOSING = re.compile(
    r"(?i:\b(?:so|thus|hence|therefore|overall|conclusion|i(?:'d|’d|\s+would)\s+say"
    r"|i\s+(?:think|believe|conclude)"
    rf"|it(?:'s|’s|\s+is)\s+an?|judge\s+(?:it|this)\s+as)\b){_WRAP},?\s*{_WORD}"
)
LAST = 80  # Characters of the last line that are read.
# Both words next to each other ("Yes or No") decide nothing.
BOTH = re.compile(
    r"[\s*_`'\"“”)]*(?:/|,|\||\bor\b|\band\b|\bnor\b)[\s*_`'\"“”(]*(?:yes|no)(?![\w'’-])",
    re.IGNORECASE,
)
# "No mistake is in it": here "no" is an adjective, unless words follow that continue a verdict.
ADJECTIVE = re.compile(
    r"\s+(?!because|since|as\b|it\b|the\b|there\b|this\b|that\b|hallucinat|fabricat|made\b)[a-z]"
)
# A base model continues with the next example of its prompt.
NEXT_EXAMPLE = re.compile(
    r"^[ \t]*#(?:Knowledge|Question|Answer|Dialogue History|Response|Document|Summary)#",
    re.MULTILINE,
)


def find_judgement(text: str) -> bool | None:
    """Returns whether a reply says yes, without its thoughts; None if it decides for neither.

    The first of these that exists counts: the last box; the last word after "judgement", "verdict" or "final answer",
    unless it is taken back ("Wait, no."); a last line or last sentence that is yes or no, or ends in ": yes"; what
    takes a verdict back, or concludes after that; the first word of the reply; the first word of its last sentence; the
    last "answer is yes"; the last "so, yes".
    """
    text = strip_role(strip_thinking(text))
    following = NEXT_EXAMPLE.search(text)
    text = (following and text[: following.start()].strip()) or text
    lines = text.strip().splitlines() or [""]
    finds = (
        match_at_start(LEADING, last_boxed(text) or ""),
        judged(text),
        ALONE.finditer(lines[-1][-LAST:]),
        LAST_SENTENCE.finditer(lines[-1][-LAST:]),
        corrections(text),
        match_at_start(LEADING, lines[0]),
        match_at_start(LEADING, re.split(r"[.!?]\s+", lines[-1].strip())[-1]),
        ANSWERED.finditer(text),
        CLOSING.finditer(text),
    )
    for matches in finds:
        settled = [verdict for match in matches if (verdict := judgement(match)) is not None]
        if settled:
            return settled[-1]
    return None


def judged(text: str) -> list[re.Match]:
    """Returns the words after "judgement" and its like, and a correction that directly follows the last of them."""
    found = list(JUDGED.finditer(text))
    after = found and re.compile(r"[^.!?\n]{0,80}[.!?]*\s*").match(text, found[-1].end())
    taken_back = after and CORRECTED.match(text, after.end())
    return [*found, taken_back] if taken_back else found


def corrections(text: str) -> list[re.Match]:
    """Returns what takes a verdict back, and the conclusions after it, in their order.

    Without a verdict before it, "Wait, no." is a remark on something else.
    """
    first = CORRECTED.search(text)
    verdicts = [m for p in (ANSWERED, CLOSING) for m in p.finditer(text)]
    verdicts += match_at_start(LEADING, text.lstrip().split("\n", 1)[0])
    if first is None or not any(m.start() < first.start() for m in verdicts if settles(m)):
        return []
    found = [m for m in [*verdicts, *CORRECTED.finditer(text)] if m.start() >= first.start()]
    return sorted(found, key=lambda match: match.start())


def settles(match: re.Match) -> bool:
    """Returns whether the found word is a verdict."""
    return judgement(match) is not None


def match_at_start(pattern: re.Pattern, line: str) -> Iterable[re.Match]:
    """Yields the match at the beginning of a line, if there is one."""
    match = pattern.match(line)
    return [match] if match else []


def judgement(match: re.Match) -> bool | None:
    """Returns whether the found word is yes; None if the other word is next to it, or if "no" is not a verdict."""
    word, text = match[1].lower(), match.string
    beside = BOTH.match(text, match.end())
    adjective = word == "no" and ADJECTIVE.match(text, match.end())
    return None if beside or adjective else word == "yes"


def name(said: bool | None) -> str | None:
    """Returns "yes", "no" or None."""
    return None if said is None else "yes" if said else "no"


def extract(example: Example, text: str) -> str | None:
    """Returns the judgement, "yes" or "no"."""
    return name(find_judgement(text))


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `yes` and `answered`.

    Raises:
      UserError: the gold answer is neither yes nor no.
    """
    return yes_no.score(example, find_judgement(text))


def first_line_judgement(text: str) -> bool | None:
    """Returns the judgement as the study reads it: the one of "Yes" and "No" that is in the first line, if only one is.

    Effects: thoughts are not removed, so a model that opens with `<think>` scores 0 regardless of its answers
    (reasoning models in the study's table have 0 to 14). "NO" and "yes" do not count; "Now", "None", "Not" and "Norway"
    count as No; and "Yes, No. 7 is wrong" is neither.
    """
    line = text.strip().split("\n")[0]
    yes, no = "Yes" in line, "No" in line
    return None if yes == no else yes


def extract_paper(example: Example, text: str) -> str | None:
    """Returns the judgement in the first line, "yes" or "no"."""
    return name(first_line_judgement(text))


def score_paper(example: Example, text: str) -> dict[str, float]:
    """Returns the metrics of `score`, but reads the first line only."""
    return yes_no.score(example, first_line_judgement(text))
