"""The messages of a chat request."""

from typing import Any

from jaxreason.serve.errors import ApiError
from jaxreason.serve.fields import Fields


def parse_messages(messages: list) -> list[dict[str, str]]:
    """The conversation as chat templates take it.

    Raises:
      ApiError: (400) there is none, or one has anything but text.
    """
    if not messages:
        raise ApiError(400, "messages: there are none", "messages")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: Any, path: str) -> dict[str, str]:
    try:
        fields = Fields(message)
        found = {"role": fields.take("role", str), "content": _text(fields.take_any("content"))}
        reasoning = fields.take("reasoning_content", str)
        if fields.take("type", str, "text") != "text":
            raise ApiError(400, "type: expected text")
        fields.finish()
    except ApiError as error:
        raise ApiError(400, f"{path}: {error}", "messages") from None
    if found["role"] is None:
        raise ApiError(400, f"{path}: it has no role", "messages")
    return found if reasoning is None else found | {"reasoning_content": reasoning}


def _text(content: Any) -> str:
    """A string, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ApiError(400, "content: expected text")
    return "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    fields = Fields(part)
    kind, text = fields.take("type", str), fields.take_any("text")
    if kind != "text" or not isinstance(text, str):
        raise ApiError(400, "content: this model reads text only")
    fields.finish()
    return text
