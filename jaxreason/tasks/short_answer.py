r"""Finds the short answer to a question in whatever a model wraps around it.

Replies to a question of a conversation come as `white`, `A: white`, `Q: ...` and `A: white`, a
sentence, a list of all questions with their answers, or reasoning with the answer at its end.
"""

import re

from jaxreason.tasks.reply_text import last_boxed, strip_role, strip_thinking

# Quotes, headings, bullets and numbers before the text of a line.
DECORATION = r"[\s>#*_`|+•–-]*+(?:\(?\d{1,3}[.)])?[\s*_`]*+"
QUESTION = re.compile(rf"{DECORATION}(?:Q|Question)(?:\s*\d+)?[*_\s]*:[\s*_]*(.*)", re.IGNORECASE)
# A heading or list entry that is a question; an answer may follow on the same line.
LISTED = re.compile(
    rf"\s*(?=[#*_+•–-]|\d){DECORATION}([^?\n]{{1,300}}\?)(?:[\"”]?(?:\*\*|__)[\s:]*|\s*$)"
    r"|\s*\d{1,3}[.)]\s+([^?\n]{1,300}\?)\s"
)
ANSWER = re.compile(
    rf"^{DECORATION}(?:A|Ans|(?:(?:my|the|short|final)\s+)*answer)(?:\s*\d+)?[*_\s]*:(?!\d)[\s*_]*",
    re.IGNORECASE,
)
INLINE = re.compile(r"\?[\s*_]*(?:A|Answer)[\s*_]*:")
ANNOUNCED = re.compile(
    r"\banswer(?:\s+to\s+(?:[\"“][^\"”\n]{1,200}[\"”]|[^.?!\n]{1,80}?))?\s+(?:is|was|would\s+be|should\s+be)(?:\s*:)?\s+([^\n]+)",
    re.IGNORECASE,
)
# What a chat model adds for its user, and lines without a word.
PARTING = re.compile(
    r"\W*(?:let\s+me\s+know|feel\s+free|i\s+hope\s+(?:this|that)|would\s+you\s+like|do\s+you\s+want"
    r"|if\s+you\s+(?:have|need|would|want|'d)|is\s+there\s+anything)\b"
    r"|\W*(?:explanation|reasoning|justification|note)[*_\s]*:|[\W_]*$",
    re.IGNORECASE,
)
BOLD = re.compile(r"\*\*([^*\n]*[^*\n:?\s])\*\*(?!\s*:)")
SENTENCE = re.compile(
    r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])(?<!\b[A-Z][a-z][a-z])[.!?][\"”')]*\s+(?=[\"“'(]?[A-Z])"
)
# "Yes, he did" answers yes; "no one" and "no longer" do not answer no.
POLAR = re.compile(
    r"(yes)\b|(no)(?:[,;:!–—]|\.(?!\s*\d)|\s+-|\s*$|\s+(?:he|she|it|they|i|we|you|there|this|that)\b)",
    re.IGNORECASE,
)
BULLET = re.compile(r"^\s*[*+•–-]\s+")
NUMBER = re.compile(r"^\(?\d{1,2}[.)]\s+(?=\S)")  # of a list entry
MARKS = " \t_\"'“”‘’•–-"
INTRODUCTION_WORDS = 8  # a first line of more, or with a colon at its end, is no answer


def asked_question(prompt: str) -> str:
    """The last question of a prompt that marks its questions with "Q:", or nothing."""
    marked = [match[1] for line in prompt.splitlines() if (match := QUESTION.match(line))]
    return marked[-1].strip() if marked else ""


def find_answer(text: str, asked: str = "") -> str | None:
    """The short answer of a reply without its thoughts, or None.

    The last box, if there is one; else, in what `<answer>` marks or in all of it: where the reply
    repeats the question or lists questions, what follows the one that was asked, else the last; of
    that the last line with a mark ("A: white"), the last "the answer is white", or the shorter of
    the first and the last line. A sentence that begins with yes or no is yes or no; of a line with
    one bold part, that part is taken; of several sentences the first.

    Args:
      text: the reply.
      asked: the question, as `asked_question` gives it.
    """
    text = strip_role(strip_thinking(text))
    text = text.rpartition("<answer>")[2].partition("</answer>")[0]  # all of it without these marks
    box = last_boxed(text)
    if box is not None:
        return tidy_line(re.sub(r"\\(?:text\w*|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", box))
    lines = [line for line in text.splitlines() if not PARTING.match(line)]
    return tidy_line(answer_line(answering(lines, asked)))


def answering(lines: list[str], asked: str) -> list[str]:
    """The lines that answer the question: of a list of questions, those below the right one."""
    found = [(place, asks) for place, line in enumerate(lines) if (asks := question_in(line))]
    if not found:
        return lines
    first = found[0][0]
    if first > 0 and is_answer(lines[0]):
        return lines[:first]  # what follows is a conversation that the model goes on with
    ends = [place for place, _ in found[1:]] + [len(lines)]
    blocks = []
    for (place, (question, rest)), end in zip(found, ends):
        block = [rest] * bool(rest.strip()) + lines[place + 1 : end]
        if block:
            blocks.append((question, block))
    same = [block for question, block in blocks if question.strip().lower() == asked.lower()]
    return same[-1] if same else blocks[-1][1] if blocks else []


def question_in(line: str) -> tuple[str, str] | None:
    """(the question, what stands behind it) of a line that asks one, else None."""
    if match := QUESTION.match(line):
        answer = INLINE.search(match[1])
        return (
            (match[1][: answer.start() + 1], match[1][answer.end() :]) if answer else (match[1], "")
        )
    if match := LISTED.match(line):
        return match[1] or match[2], line[match.end() :]
    return None


def is_answer(line: str) -> bool:
    """Whether a first line answers, and does not only introduce what follows."""
    introduces = line.rstrip(" *_").endswith(":") or line.lstrip().startswith("#")
    short = len(line.split()) <= INTRODUCTION_WORDS
    return bool(ANSWER.match(line)) or (short and not introduces)


def answer_line(lines: list[str]) -> str:
    """The line that gives the answer: marked, announced, or the shorter of the first and last."""
    marked = [place for place, line in enumerate(lines) if ANSWER.match(line)]
    if marked:
        behind = ANSWER.sub("", lines[marked[-1]], count=1).strip()
        return behind or listed(lines[marked[-1] + 1 :])
    announced = ANNOUNCED.findall("\n".join(lines))
    if announced:
        return announced[-1]
    text = [line for line in lines if not line.lstrip().startswith("#")] or lines
    if text and text[0].rstrip(" *_").endswith(":") and all(map(BULLET.match, text[1:])):
        return listed(text[1:]) or text[0]
    return min(text[-1:] + text[:1], key=lambda line: len(line.split()), default="")


def listed(lines: list[str]) -> str:
    """The first line, or the list that it begins."""
    end = next((i for i, line in enumerate(lines) if not BULLET.match(line)), len(lines))
    return ", ".join(BULLET.sub("", line) for line in lines[: max(end, 1)])


def tidy_line(line: str) -> str | None:
    """The answer in its line: without marks, yes or no alone, the one bold part, one sentence."""
    bold = BOLD.findall(line)
    bare = re.sub(r"[*`]", "", ANSWER.sub("", line, count=1)).strip(MARKS)
    bare = NUMBER.sub("", bare, count=1)
    if match := POLAR.match(bare):
        return match[1] or match[2]
    if len(bold) == 1:
        return bold[0].strip()
    return SENTENCE.split(bare, maxsplit=1)[0].strip() or None
