"""What a reply is: its thoughts and its text, and whether it is right, wrong or neither."""

from dataclasses import dataclass, replace
from typing import Any

from jaxreason.data.thoughts import CLOSE, OPEN

RIGHT, WRONG, NO_ANSWER = "right", "wrong", "no_answer"
UNFINISHED, MALFORMED, NOT_GRADABLE = "unfinished", "malformed", "not_gradable"
OUTCOMES = (RIGHT, WRONG, NO_ANSWER, UNFINISHED, MALFORMED, NOT_GRADABLE)
KNOWN = (RIGHT, WRONG, NO_ANSWER, UNFINISHED)  # outcomes that say whether the teacher can do it
FINISHED = "stop"


@dataclass(frozen=True)
class Parts:
    """A reply without the marks of its think block; `whole` is false where it is none that can be learned as it was."""

    thoughts: str
    text: str
    whole: bool


@dataclass(frozen=True)
class Judged:
    """A reply with what came of it.

    Attributes:
      sample: its number.
      parts: thoughts and text.
      outcome: of OUTCOMES.
      finish_reason: as the teacher gave it.
      num_tokens: as the teacher counted them, or None.
    """

    sample: int
    parts: Parts
    outcome: str
    finish_reason: str
    num_tokens: int | None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the column `replies`."""
        return {
            "content": self.parts.text,
            "reasoning_content": self.parts.thoughts or None,
            "correct": int(self.outcome == RIGHT),
            "finish_reason": self.finish_reason,
            "tokens": self.num_tokens,
        }


def split_reply(content: str, reasoning: str | None) -> Parts:
    """Thoughts come as a field of their own, or before the first `</think>` of the content.

    The opening mark may be missing, since some chat templates put it into the prompt. A thought that was not closed is
    all thought. A mark that is left over makes the reply one that no template can write as it was.
    """
    if reasoning and reasoning.strip():
        thoughts, text = reasoning, content
    else:
        before, closed, after = content.partition(CLOSE)
        if closed:
            thoughts, text = before.strip().removeprefix(OPEN), after
        else:
            text, _, thoughts = content.partition(OPEN)
    marked = any(mark in part for mark in (OPEN, CLOSE) for part in (thoughts, text))
    return Parts(thoughts.strip(), text.strip(), not marked)


def needs_verdict(reply: dict[str, Any]) -> bool:
    """Whether a grader is asked about a reply: one that was cut off, failed or is no reply is not right anyway."""
    parts = split_reply(reply["content"], reply["reasoning_content"])
    return reply["finish_reason"] == FINISHED and parts.whole and bool(parts.text)


def judge(
    reply: dict[str, Any], verdict: dict[str, Any] | None, thinking: bool | None = None
) -> Judged:
    """A reply's line with its verdict's, if `needs_verdict`.

    With `thinking` false, one that has thoughts all the same is not what was asked for.
    """
    parts = split_reply(reply["content"], reply["reasoning_content"])
    if thinking is False and parts.thoughts:
        parts = replace(parts, whole=False)
    outcome = _outcome(reply, parts, verdict)
    return Judged(reply["sample"], parts, outcome, reply["finish_reason"], reply["num_tokens"])


def _outcome(reply: dict[str, Any], parts: Parts, verdict: dict[str, Any] | None) -> str:
    if reply["finish_reason"].startswith("error"):
        return NOT_GRADABLE
    if reply["finish_reason"] != FINISHED:
        return UNFINISHED
    if not parts.whole:
        return MALFORMED
    if not parts.text:
        return NO_ANSWER
    if verdict is None or verdict["error"] is not None or verdict["correct"] is None:
        return NOT_GRADABLE
    if verdict["correct"] >= 1.0:
        return RIGHT
    return NO_ANSWER if verdict["extracted"] is None else WRONG
