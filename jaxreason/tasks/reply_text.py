"""Selects the part of a reply that counts: without its thoughts (primary), or the whole reply, as in the paper."""

import re
from collections.abc import Callable, Collection, Sequence

from jaxreason.data.examples import Example

THINK_START, THINK_END = "<think>", "</think>"

ROLE = re.compile(r"\s*(?:You are a helpful assistant\.\s*)?(?:assistant\s*:)?\s*", re.IGNORECASE)
LONGEST_PLACEHOLDER = 100  # Characters.
PLACEHOLDER = re.compile(
    r"(?i)(?:(?:insert|put|write|enter|place|type|give)\s+)?"
    r"(?:(?:your|the|my|final|correct|numeric(?:al)?|exact|actual|simplified)\s+)*"
    r"(?:answers?|result|solution|number|value|expression)(?:\s+(?:goes\s+)?(?:here|in\s+the\s+box))?"
    r"|(?:\.|\u2026|\?|\\[lc]?dots[a-z]?|\\square|\\Box|\\(?:q?quad|enspace|[,;:! ])|\s)*"
)

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
    boxes = {match.end() - 1 for match in re.finditer(r"\\(?:boxed|f(?:rame)?box)\s*\{", text)}
    opened: list[int] = []
    start, content = -1, None
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL) if boxes else ():
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            brace = opened.pop()
            inside = text[brace + 1 : match.start()] if brace in boxes and brace > start else ""
            if inside.strip() and not is_placeholder(inside) and inside.strip() not in quoted:
                start, content = brace, inside.strip()
    if content is not None:
        return content
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
