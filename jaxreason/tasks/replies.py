"""What of a reply counts: without its thoughts (primary), or as it stands, as the paper did it."""

import re
from collections.abc import Callable, Sequence

from jaxreason.data.examples import Example

THINK_START, THINK_END = "<think>", "</think>"

ROLE = re.compile(r"\s*(?:You are a helpful assistant\.\s*)?(?:assistant\s*:)?\s*", re.IGNORECASE)

Extract = Callable[[str], str | None]
Grade = Callable[[Example, str], float]


def strip_thinking(text: str) -> str:
    """The reply after its thoughts.

    A thought that was opened and not closed ran out of tokens: nothing was answered, so the result
    is empty. The opening mark may be missing, since some chat templates put it into the prompt.
    """
    _, closed, tail = text.rpartition(THINK_END)
    answer = tail if closed else text
    return answer.partition(THINK_START)[0] if THINK_START in answer else answer


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings; whole if there is none; "" is no stop.

    For completions from elsewhere that were sampled without the stops of an evaluation.
    """
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return text[: min(places, default=len(text))]


def strip_role(text: str) -> str:
    """The reply without an "Assistant:" before it, which some models write out of a chat's marks."""
    return ROLE.sub("", text, count=1)


def score_both_ways(
    example: Example, text: str, extract: Extract, grade: Grade
) -> dict[str, float]:
    """`accuracy` and `answered` without the thoughts, `accuracy_unstripped` of the whole text.

    Args:
      example: the question, with its gold answer.
      text: the reply.
      extract: finds the answer in a text, or None.
      grade: 1.0 for a right answer; only called when there is an answer.
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


def last_boxed(text: str) -> str | None:
    r"""What the last complete `\boxed{...}` or `\fbox{...}` with something in it holds; or None.

    Braces are balanced; `\{` and `\}` do not count. Time is linear in the text.
    """
    boxes = {match.end() - 1 for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)}
    opened: list[int] = []
    start, content = -1, None
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL) if boxes else ():
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            brace = opened.pop()
            inside = text[brace + 1 : match.start()] if brace in boxes and brace > start else ""
            if inside.strip():
                start, content = brace, inside.strip()
    if content is not None:
        return content
    spaced = re.findall(r"\\boxed\s+([^\s${}\\]+)", text)
    return spaced[-1].rstrip(".,") if spaced else None
