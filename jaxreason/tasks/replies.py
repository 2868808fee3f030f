"""What of a reply counts: without its thoughts (primary), or as it stands, as the paper did it."""

import re
from collections.abc import Callable

from jaxreason.data.examples import Example

THINK_START, THINK_END = "<think>", "</think>"

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
    stripped = extract(strip_thinking(text))
    whole = extract(text)
    right = grade(example, stripped) if stripped is not None else 0.0
    same = whole == stripped
    right_whole = right if same else grade(example, whole) if whole is not None else 0.0
    return {
        "accuracy": right,
        "accuracy_unstripped": right_whole,
        "answered": float(stripped is not None),
    }


def last_boxed(text: str) -> str | None:
    r"""What the last complete `\boxed{...}` or `\fbox{...}` holds, braces balanced; or None."""
    for start in reversed([match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)]):
        end = closing_brace(text, start)
        if end is not None:
            return text[start:end].strip()
    spaced = re.findall(r"\\boxed\s+([^\s${}\\]+)", text)
    return spaced[-1].rstrip(".,") if spaced else None


def closing_brace(text: str, start: int) -> int | None:
    r"""Where the brace opened just before `start` closes, or None; `\{` and `\}` do not count."""
    depth, position = 1, start
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
        position += 1
    return None
