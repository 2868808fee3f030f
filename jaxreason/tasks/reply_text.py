"""Selects the part of a reply that counts: without its thoughts (primary), or the whole reply, as in the paper."""

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from jaxreason.data.examples import Example

THINK_START, THINK_END = "<think>", "</think>"

ROLE = re.compile(r"\s*(?:You are a helpful assistant\.\s*)?(?:assistant\s*:)?\s*", re.IGNORECASE)
LONGEST_PLACEHOLDER = 100  # Characters.
PLACEHOLDER = re.compile(
    r"(?i)(?:(?:insert|put|write|enter|place|type|give)\s+)?"
    r"(?:(?:your|the|my|final|correct|numeric(?:al)?|exact|actual|simplified)\s+)*"
    r"(?:answers?|result|solution|number|value|expression)(?:\s+(?:goes\s+)?(?:here|in\s+the\s+box))?"
    r"|(?:\.|\u2026|\?|\\[lc]?dots[a-z]?"
    r"|\\(?:square|Box|blacksquare|checkmark|qed)(?![A-Za-z])|\\(?:q?quad|enspace|[,;:! ])|\s)*"
)

MOST_APART = 80  # Characters between two boxes of one list.
BOX = re.compile(r"\\(?:boxed|f(?:rame)?box)\s*\{")
# What may stand between two boxes of one list, and before a box that is denied.
_SIGNS = r"(?:[\s$*]|\\[()\[\],;: ]|\\q?quad(?![A-Za-z]))*"
JOINED_BOXES = re.compile(
    rf"{_SIGNS}(?:[,;]{_SIGNS})?(?:(?:and|or|\\text\s*\{{\s*(?:and|or)\s*\}}|[,;]){_SIGNS})"
    rf"(?:[A-Za-z](?:_\{{?\w\}}?)?\s*=\s*)?|{_SIGNS}[,;]{_SIGNS}"
)
DENIED_BOX = re.compile(r"\b(?:not|isn't|rather\s+than|instead\s+of)[\s$*\\(\[]*\Z")

Extract = Callable[[str], str | None]
Grade = Callable[[Example, str], float]


def strip_thinking(text: str) -> str:
    """Returns the reply after its thoughts.

    Thoughts that were opened and not closed ran out of tokens: nothing was answered, so the result is empty. The
    opening mark may be missing, since some chat templates put it into the prompt.
    """
    _, closed, tail = text.rpartition(THINK_END)
    answer = tail if closed else text
    return answer.partition(THINK_START)[0] if THINK_START in answer else answer


def reopened(text: str, task: str) -> str:
    """Returns a reply whose prompt ends with the opening mark of a thought, as the grader of `task` reads it.

    The mark is put back, or a thought that ran out of tokens would be taken for the answer. Graders of the paper's way
    read what was sampled, as its code does.
    """
    return text if task.endswith("_paper") else f"{THINK_START}\n{text}"


def cut_at(text: str, stops: Sequence[str]) -> str:
    """Returns the text before the first of the stop strings, or the whole text without one; "" is not a stop string.

    It is for completions from elsewhere that were sampled without the stop strings of an evaluation.
    """
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(places, default=len(text))]


def strip_role(text: str) -> str:
    """Returns the reply without a leading "Assistant:", which some models write outside of the chat format."""
    return ROLE.sub("", text, count=1)


def score_both_ways(
    example: Example, text: str, extract: Extract, grade: Grade
) -> dict[str, float]:
    """Returns `accuracy` and `answered` without the thoughts, and `accuracy_unstripped` of the whole text.

    Args:
      example: the question, with its gold answer.
      text: the reply.
      extract: finds the answer in a text, or None.
      grade: returns 1.0 for a right answer; only called if there is an answer.
    """
    answer = strip_thinking(text)
    stripped = extract(answer)
    whole = stripped if answer == text else extract(text)
    right = grade(example, stripped) if stripped is not None else 0.0
    same = whole == stripped
    right_whole = right if same else grade(example, whole) if whole is not None else 0.0
    return {
        "accuracy": right,
        "accuracy_unstripped": right_whole,
        "answered": float(stripped is not None),
    }


def last_boxed(text: str, quoted: Collection[str] = ()) -> str | None:
    r"""Returns the content of the last complete `\boxed{...}` or `\fbox{...}` that is not empty, or None.

    A box that quotes the prompt's placeholder (`\boxed{your answer}`, `\boxed{...}`, or a text of `quoted`) counts as
    empty. Braces are balanced; `\{` and `\}` do not count. Time is linear in the text.
    """
    boxes = complete_boxes(text, quoted)
    return boxes[-1].content if boxes else _bare_box(text)


def boxed_answer(text: str, quoted: Collection[str] = ()) -> str | None:
    r"""Returns the last box as `last_boxed` does, but several boxes that only "and", "or" or a comma joins as one list.

    `x=\boxed{1}` or `x=\boxed{2}` is `1, 2`. A box directly after "not" does not count.
    """
    found = complete_boxes(text, quoted)
    if not found:
        return _bare_box(text)
    boxes = [box for box in found if not DENIED_BOX.search(text, max(0, box.start - 20), box.start)]
    if not boxes:
        return None
    members = [boxes[-1].content]
    for box, after in zip(boxes[-2::-1], boxes[::-1]):
        apart = after.start - box.end
        if not 0 < apart <= MOST_APART or not JOINED_BOXES.fullmatch(text, box.end, after.start):
            break
        members.insert(0, box.content)
    return ", ".join(members)


class Box(NamedTuple):
    """A box in a text: where its command begins, where it ends, and what it holds."""

    start: int
    end: int
    content: str


def complete_boxes(text: str, quoted: Collection[str] = ()) -> list[Box]:
    """Returns the boxes that are closed, hold an answer, and hold no such box, in order."""
    opening = {m.end() - 1: m.start() for m in BOX.finditer(text)}
    opened: list[int] = []
    found: list[Box] = []
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL) if opening else ():
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            brace = opened.pop()
            if brace not in opening or (found and found[-1].start > brace):
                continue
            inside = text[brace + 1 : match.start()].strip()
            if inside and not is_placeholder(inside) and inside not in quoted:
                found.append(Box(opening[brace], match.end(), inside))
    return found


def _bare_box(text: str) -> str | None:
    r"""Returns the content of the last box without braces, `\boxed 5` or `\boxed\frac12`; or None."""
    bare = re.findall(
        r"\\boxed(?:\s+|(?=\d))([^\s${}\\]+)|\\boxed\s*(\\[dt]?frac(?:\s*\d\d(?!\d)|\{\d+\}\{\d+\}))",
        text,
    )
    return (bare[-1][0].rstrip(".,") or bare[-1][1]) if bare else None


def is_placeholder(text: str) -> bool:
    r"""Returns whether a text only marks the place of an answer: `your\_answer`, `\text{answer}`, `\ldots`, `?`."""
    if len(text) > LONGEST_PLACEHOLDER or text.strip() == "\\":  # From a space, `\ `.
        return len(text) <= LONGEST_PLACEHOLDER
    text = re.sub(r"\\(?:[hv]?phantom|hspace\*?)\s*\{[^{}]*\}", " ", text)
    text = re.sub(r"\\(?:text\w*|mathrm|mathbf|mbox)(?![A-Za-z])|\\(?=_)", "", text)
    return (
        PLACEHOLDER.fullmatch(re.sub(r"[\s_~{}<>\[\]$]+|-(?=[A-Za-z])", " ", text).strip())
        is not None
    )


def quoted_boxes(example: Example) -> frozenset[str]:
    r"""Returns the boxes of a prompt that contain no number: a reply with the same box quotes it."""
    asked = " ".join(m["content"] for m in example.messages if m["role"] != "assistant")
    found = re.findall(r"\\boxed\s*\{([^{}]{1,80})\}", asked)
    return frozenset(box.strip() for box in found if not re.search(r"\d", box))
