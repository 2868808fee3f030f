"""Checks that the chat template has written replies as they were: complete, and with thoughts as thoughts."""

from collections.abc import Sequence

from jaxreason.data.chat_template import BREAK
from jaxreason.data.thoughts import CLOSE as _CLOSE
from jaxreason.data.thoughts import OPEN as _OPEN
from jaxreason.data.thoughts import text_of
from jaxreason.errors import UserError


def check_reply(
    reply: dict[str, str], prompt: str, rendered: str, thinking: bool | None, name: str
) -> None:
    """Refuses a reply that would be learned differently from how it was written.

    Args:
      reply: `content`, and `reasoning_content` if it has any.
      prompt: the template's text before it.
      rendered: the template's text for it.
      thinking: the template's switch.
      name: of the model, for messages.

    Raises:
      UserError: the content is blank, the reasoning or a part of the content is lost, content is taken for a thought,
        or thinking is requested and an empty think block would be learned.
    """
    if not text_of(reply):
        raise UserError("the reply has no text; expected some after its thoughts.")
    reasoning = "" if thinking is False else _squeezed(reply.get("reasoning_content"))
    if reasoning not in _squeezed(rendered):
        raise UserError(
            f"{name}: the chat template does not show reasoning_content, so the thinking "
            "would be lost; put it into the content, or set thinking to False."
        )
    before = _squeezed(prompt[-100:])
    content = _squeezed(reply["content"])
    _check_content(content, reasoning, before, _squeezed(rendered))
    _check_one_block(content, _squeezed(rendered), name)
    learned = _squeezed(rendered).removeprefix(_OPEN)
    if thinking and not reasoning and learned.startswith(_CLOSE):
        raise UserError(
            "thinking=True, but the reply has no reasoning, so that an empty think block would be "
            "learned; give it reasoning_content, or set thinking to False."
        )


def _check_one_block(content: str, rendered: str, name: str) -> None:
    """Refuses a block of thoughts in the text if the template puts an empty one of its own before it."""
    empty, written = _OPEN + _CLOSE, content.startswith(_OPEN)
    if written and rendered.startswith(empty) and not content.startswith(empty):
        raise UserError(
            f"{name}: the chat template would put an empty thought before the one in the reply's text; put thoughts "
            "into reasoning_content."
        )


def _check_content(content: str, reasoning: str, prompt: str, rendered: str) -> None:
    if prompt.endswith(_OPEN):  # The block is already open.
        content = content.removeprefix(_OPEN)
    if content not in rendered:
        raise UserError(
            f"the chat template would leave out a part of the reply: {_around(content)!r}; put "
            "thoughts into reasoning_content."
        )
    before, _, _ = rendered.partition(content)  # Without a generation prompt: the turn's header.
    taken = not reasoning and _CLOSE in content and _OPEN in before
    own = rendered.startswith(_OPEN + _CLOSE)  # An empty block of the template's own.
    if taken and (content.startswith(_CLOSE) or not own):
        raise UserError(
            f"the reply has {_CLOSE!r} in its text, and the chat template takes what stands before it for a thought: "
            f"{_around(content)!r}; put thoughts into reasoning_content."
        )


def cuts_reply(reply: dict[str, str], rendered: str, rest: str) -> bool:
    """Returns whether a part of the reply itself is in `rest`, the end of the template's text for it.

    Args:
      reply: it has passed `check_reply`.
      rendered: the template's text for it.
      rest: the end of that text, as the tokenizer decodes it.
    """
    whole, content = _squeezed(rendered), _squeezed(reply["content"])
    # The template's own beginning of a thought is before `rendered` if it belongs to the prompt.
    content = content if content in whole else content.removeprefix(_OPEN)
    thought = _squeezed(reply.get("reasoning_content") or "")
    begin = whole.find(thought) + len(thought) if thought in whole else 0
    end = whole.find(content, begin) + len(content)
    return len(whole) - len(_squeezed(rest)) < end


def check_history(messages: Sequence[dict[str, str]], rendered: str) -> None:
    """Refuses earlier replies that lose more than a thought at their beginning.

    Raises:
      UserError: with the message's number.
    """
    replies = [(i, m["content"]) for i, m in enumerate(messages) if m["role"] == "assistant"]
    text = _squeezed(rendered) if any(_CLOSE in content for _, content in replies) else ""
    for place, content in replies:
        before, _, after = _squeezed(content).partition(_CLOSE)
        if _CLOSE not in content or before + _CLOSE + after in text:
            continue
        if _CLOSE in after or _OPEN in before.removeprefix(_OPEN) or after not in text:
            raise UserError(
                f"messages[{place}]: the chat template would leave out a part of the reply, which has {_CLOSE!r} in "
                "its text; put thoughts into reasoning_content."
            )


def _squeezed(text: str | None) -> str:
    """Returns a text without white space, which templates change, and without breaks."""
    return "".join((text or "").replace(BREAK, "").split())


def _around(content: str) -> str:
    at = max(0, content.find(_CLOSE))
    return content[max(0, at - 30) : at + 40]
