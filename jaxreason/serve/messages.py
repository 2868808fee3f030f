"""The messages of a chat request."""

from typing import Any

from jaxreason.serve.errors import ApiError
from jaxreason.serve.fields import Fields

# Which message it is, or which call it answers; no template writes them.
NAMED = ("id", "tool_call_id")
REASONING = ("reasoning_content", "reasoning", "thinking")


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
        role = fields.take("role", str)
        # Clients send back what they were given: a reply may have no content, or a null one.
        content = fields.take_any("content")
        found = {"role": role, "content": "" if _is_empty(role, content) else _text(content)}
        found |= _named(fields, "name") | _reasoning(fields, role)
        for name in NAMED:
            fields.take(name, str)
        if fields.take("type", str, "text") not in ("text", "message"):
            raise ApiError(400, "type: expected text")
        fields.finish()
    except ApiError as error:
        raise ApiError(400, f"{path}: {error}", "messages") from None
    if role is None:
        raise ApiError(400, f"{path}: it has no role", "messages")
    return found


def _is_empty(role: str | None, content: Any) -> bool:
    return role == "assistant" and content is None


def _named(fields: Fields, name: str) -> dict[str, str]:
    value = fields.take(name, str)
    return {} if value is None else {name: value}


def _reasoning(fields: Fields, role: str | None) -> dict[str, str]:
    """A reply's thinking, under the names that servers give it."""
    given = {name: fields.take(name, str) for name in REASONING}
    texts = {text for text in given.values() if text}
    if not texts:
        return {}
    names = ", ".join(name for name, text in given.items() if text)
    if role != "assistant":
        raise ApiError(400, f"{names}: only the assistant's messages have it")
    if len(texts) > 1:
        raise ApiError(400, f"{names}: they differ, and a message has one thinking")
    return {"reasoning_content": texts.pop()}


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
