r"""Finds the short answer to a question in the text that a model writes around it.

Replies to a question of a conversation come as `white`, `A: white`, `Q: ...` and `A: white`, a sentence, a list of all
questions with their answers, or reasoning with the answer at its end.
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
_QUOTED = r"(?:[\"“][^\"”\n]{1,200}[\"”]|\*{1,2}[^*\n]{1,200}\*{1,2})"
ANNOUNCED = re.compile(
    rf"\banswer(?:\s+to\s+(?:(?:(?:the|this|your)\s+(?:\w{{1,20}}\s+)?question[\s,:]{{1,3}})?{_QUOTED},?|[^.?!\n]{{1,80}}?))?"
    r"\s+(?:is|was|would\s+be|should\s+be)(?:\s*:)?\s+([^\n]+)",
    re.IGNORECASE,
)
# Closing remarks of a chat model to its user, and lines without a word.
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
NUMBER = re.compile(r"^\(?\d{1,2}[.)]\s+(?=\S)")  # Of a list entry.
MARKS = " \t_\"'“”‘’•–-"
# A first line with more words, or with a colon at its end, only introduces the answer.
INTRODUCTION_WORDS = 8


def asked_question(prompt: str) -> str:
    """Returns the last question of a prompt that marks its questions with "Q:", or ""."""
    marked = [match[1] for line in prompt.splitlines() if (match := QUESTION.match(line))]
    return marked[-1].strip() if marked else ""


def find_answer(text: str, asked: str = "") -> str | None:
    """Returns the short answer of a reply without its thoughts, or None.

    1. If there is a box, the last box.
    2. Otherwise the part in `<answer>` marks, or the whole reply without them. If the reply repeats the question or
       lists questions, only the text after the question that was asked counts, or after the last one.
    3. Of this, the last line with a mark ("A: white"), else the last "the answer is white", else the shorter of the
       first and the last line.

    A sentence that begins with yes or no becomes yes or no. Of a line with one bold part, this part is taken; of
    several sentences, the first.

    Args:
      text: the reply.
      asked: the question, as `asked_question` gives it.
    """
    text = strip_role(strip_thinking(text))
    # The whole text without these marks.
    text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    box = last_boxed(text)
    if box is not None:
        return tidy_line(re.sub(r"\\(?:text\w*|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", box))
    lines = [without_question(line, asked) for line in text.splitlines() if not PARTING.match(line)]
    return tidy_line(answer_line(answering(lines, asked)))


def without_question(line: str, asked: str) -> str:
    """Returns a line without the asked question at its beginning, if an answer follows on the line."""
    begins = line.lstrip(' "“')
    if not asked.endswith("?") or not begins.lower().startswith(asked.lower()):
        return line
    rest = begins[len(asked) :].lstrip(f"{MARKS}:")
    return rest or line


def answering(lines: list[str], asked: str) -> list[str]:
    """Returns the lines that answer the question: in a list of questions, the lines below the right one."""
    found = [(place, asks) for place, line in enumerate(lines) if (asks := question_in(line))]
    if not found:
        return lines
    first = found[0][0]
    if first > 0 and is_answer(lines[0]):
        return lines[:first]  # The rest is a conversation that the model continues.
    ends = [place for place, _ in found[1:]] + [len(lines)]
    blocks = []
    for (place, (question, rest)), end in zip(found, ends):
        block = [rest] * bool(rest.strip()) + lines[place + 1 : end]
        if block:
            blocks.append((question, block))
    same = [block for question, block in blocks if question.strip().lower() == asked.lower()]
    return same[-1] if same else blocks[-1][1] if blocks else []


def question_in(line: str) -> tuple[str, str] | None:
    """Returns (the question, the text after it) of a line that asks a question, else None."""
    if match := QUESTION.match(line):
        answer = INLINE.search(match[1])
        return (
            (match[1][: answer.start() + 1], match[1][answer.end() :]) if answer else (match[1], "")
        )
    if match := LISTED.match(line):
        return match[1] or match[2], line[match.end() :]
    return None


def is_answer(line: str) -> bool:
    """Returns whether a first line answers, instead of only introducing what follows."""
    introduces = line.rstrip(" *_").endswith(":") or line.lstrip().startswith("#")
    short = len(line.split()) <= INTRODUCTION_WORDS
    return bool(ANSWER.match(line)) or (short and not introduces)


def answer_line(lines: list[str]) -> str:
    """Returns the line that gives the answer: marked, announced, or the shorter of the first and last."""
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
    """Returns the first line, or the whole list that it begins."""
    end = next((i for i, line in enumerate(lines) if not BULLET.match(line)), len(lines))
    return ", ".join(BULLET.sub("", line) for line in lines[: max(end, 1)])


def tidy_line(line: str) -> str | None:
    """Returns the answer in its line: without marks; yes or no alone; the only bold part; the first sentence."""
    bold = BOLD.findall(line)
    bare = re.sub(r"[*`]", "", ANSWER.sub("", line, count=1)).strip(MARKS)
    bare = NUMBER.sub("", bare, count=1)
    if match := POLAR.match(bare):
        return match[1] or match[2]
    if len(bold) == 1:
        return bold[0].strip()
    return SENTENCE.split(bare, maxsplit=1)[0].strip() or None
