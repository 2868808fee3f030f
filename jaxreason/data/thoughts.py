"""Thoughts of a reply: in `reasoning_content`, or at the beginning of its text between `<think>` and `</think>`."""

from jaxreason.errors import UserError

OPEN, CLOSE = "<think>", "</think>"


def check_thoughts(reply: dict[str, str]) -> None:
    """Refuses a reply in which thoughts and answer cannot be told apart.

    Raises:
      UserError: a thought in the text is not closed or has a second tag of its kind after it, the reasoning opens or
        closes itself, or a thought ends in both places.
    """
    reasoning = reply.get("reasoning_content") or ""
    if CLOSE in reasoning or reasoning.lstrip().startswith(OPEN):
        raise UserError(
            f"reasoning_content begins with {OPEN!r} or has {CLOSE!r} in it, so a thought would be opened or closed "
            "twice; expected the thought alone, without tags."
        )
    if _check_block(reply["content"].lstrip()) and reasoning.strip():
        raise UserError(
            f"the reply has thoughts in reasoning_content and, after {OPEN!r}, in its text too; give them once."
        )
    if reasoning.strip() and CLOSE in reply["content"]:
        raise UserError(
            f"the reply has thoughts in reasoning_content and {CLOSE!r} in its text, so a thought would be closed "
            "twice; give the text as it is said."
        )


def _check_block(content: str) -> bool:
    """Returns whether the text begins with a block of thoughts, which must be the only one and be closed."""
    if not content.startswith(OPEN):
        return False
    if CLOSE not in content:
        raise UserError(f"the reply opens a thought with {OPEN!r} and never closes it.")
    if content.count(CLOSE) > 1 or content.count(OPEN) > 1:
        raise UserError(
            f"the reply begins with a thought and has {OPEN!r} or {CLOSE!r} once more, so it is not clear where the "
            "thought ends; put thoughts into reasoning_content."
        )
    return True


def has_thoughts(reply: dict[str, str]) -> bool:
    """Returns whether `without_thoughts` would leave out anything except an empty block."""
    if (reply.get("reasoning_content") or "").strip():
        return True
    content = reply["content"].lstrip()
    return content.startswith(OPEN) and bool(_cut(content)[0].strip())


def text_of(reply: dict[str, str]) -> str:
    """Returns what a reply says, without a block of thoughts at its beginning; it has passed `check_thoughts`."""
    content = reply["content"].strip()
    return _cut(content)[1].strip() if content.startswith(OPEN) else content


def without_thoughts(reply: dict[str, str]) -> dict[str, str]:
    """Returns the reply without reasoning, and without a block of thoughts before its text.

    Raises:
      UserError: it is not clear where in the text a thought begins or ends, or nothing is left.
    """
    said = {name: value for name, value in reply.items() if name != "reasoning_content"}
    content = reply["content"].lstrip()
    if _check_block(content):
        said["content"] = _cut(content)[1].lstrip()
    if CLOSE in said["content"]:
        raise UserError(
            f"the reply has {CLOSE!r} in its text and no {OPEN!r} at its beginning, so it is not clear what of it is "
            "thought; put thoughts into reasoning_content."
        )
    if not said["content"].strip():
        raise UserError("the reply is nothing but thoughts, and thinking is False.")
    return said


def _cut(content: str) -> tuple[str, str]:
    """Returns the thought, and the text after it, of a text that begins with `<think>`."""
    thought, _, said = content.removeprefix(OPEN).partition(CLOSE)
    return thought, said
