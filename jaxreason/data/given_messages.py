"""A column that contains a conversation: its messages in our form, and the parts that cannot be used."""

from typing import Any

from jaxreason.data.rows import RowError, SourceRow, is_missing

_ROLES = ("system", "user", "assistant", "tool")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
# Names of fields that may hold a message's thinking.
_REASONING = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "thinking_content",
    "thought",
    "thoughts",
    "think",
    "chain_of_thought",
    "cot",
)
_READ = {"role", "from", "content", "value", *_REASONING}
# Fields that say more than the message's text: without them the conversation would be a different one.
_SAYS_MORE = (
    "tool_calls",
    "function_call",
    "tool_use",
    "tools",
    "functions",
    "images",
    "image",
    "image_url",
    "audio",
    "audios",
    "video",
    "videos",
    "files",
    "attachments",
    "refusal",
    "weight",
    "train",
    "loss",
    "prefix",
)


def given_messages(row: SourceRow, column: str) -> tuple[dict[str, str], ...]:
    """Returns the messages `{role, content}` in a column; an assistant's may have `reasoning_content`.

    Raises:
      RowError: there is no message of the user, or a message whose unread fields would change its meaning.
    """
    value = row.columns.get(column)
    if not isinstance(value, list) or not value:
        raise RowError("missing field", f"{column!r} is no list of messages")
    messages = tuple(_message(item) for item in value)
    first_user(messages)
    return messages


def _message(item: Any) -> dict[str, str]:
    """Returns a message `{role, content}`, or one in the ShareGPT form `{from, value}`."""
    if not isinstance(item, dict):
        raise RowError("bad message", f"expected an object, got {type(item).__name__}")
    role = role_of(item)
    content, other = item.get("content"), item.get("value")
    content = other if is_missing(content) else content
    if role not in _ROLES:
        raise RowError(
            "bad message",
            f"expected a role ({', '.join(_ROLES)}), got {repr(role)[:80]}; the message has {sorted(item)}",
        )
    if not isinstance(content, str):
        shown = repr(content)[:80]
        raise RowError(
            "bad message", f"content of a message of {role!r}: expected text, got {shown}"
        )
    if not content.strip():
        raise RowError("empty", f"content of a message of {role!r}")
    if isinstance(other, str) and other not in ("", content):
        raise RowError("bad message", f"content and value of a message of {role!r} differ")
    if name := says_more(item):
        raise RowError("bad message", f"{name} of a message of {role!r} cannot be used")
    reasoning = thoughts_of(item, role)
    message = {"role": role, "content": content}
    return message | {"reasoning_content": reasoning} if reasoning else message


def role_of(item: dict[str, Any]) -> Any:
    """Returns `role`, or the role that ShareGPT's `from` means; `from` may have other names beside a role.

    Raises:
      RowError: `from` is no text, or the two differ.
    """
    sender = item.get("from")
    if not is_missing(sender) and not isinstance(sender, str):
        raise RowError("bad message", f"from: expected text, got {type(sender).__name__}")
    meant = _SHAREGPT_ROLES.get(sender) if isinstance(sender, str) else None
    role = meant if is_missing(item.get("role")) else item["role"]
    if meant not in (None, role):
        raise RowError("bad message", f"role {role!r} and from {sender!r} differ")
    return role


def says_more(item: dict[str, Any]) -> str | None:
    """Returns the first field of a message that says more than its text and its thinking; None if there is none."""
    return next((name for name in _SAYS_MORE if _says_something(name, item.get(name))), None)


def _says_something(name: str, value: Any) -> bool:
    """Returns whether a field says something: null, empty, a weight of 1 and the permission to train on it do not."""
    if name == "loss" and isinstance(value, float):
        return value == 0  # Another number was measured.
    if name in ("weight", "train", "loss"):
        return not is_missing(value) and value != 1
    return not is_missing(value) and value is not False and value not in ("", [], {})


def thought_fields(item: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a message that may hold its thinking and hold something; `thinking: true` is a switch."""
    found = {name: item.get(name) for name in _REASONING}
    return {
        name: value
        for name, value in found.items()
        if not is_missing(value) and not isinstance(value, bool) and value not in ("", [], {})
    }


def thoughts_of(item: dict[str, Any], role: str) -> str:
    """Returns the thinking of a message, from any of the names; "" for none.

    Raises:
      RowError: it is no text, there are two, or the role has none.
    """
    found = thought_fields(item)
    texts = list(found.values())
    if not texts:
        return ""
    names = ", ".join(found)
    if role != "assistant":
        raise RowError("bad message", f"{names}: a message of {role!r} has no thinking")
    if not all(isinstance(text, str) for text in texts):
        raise RowError("bad message", f"{names}: expected text")
    if any(text.strip() != texts[0].strip() for text in texts):
        raise RowError("bad message", f"{names} differ, and a message has one thinking")
    return texts[0] if texts[0].strip() else ""


def unread(row: SourceRow, column: str | None) -> tuple[str, ...]:
    """Returns the fields of a column's messages that have a content and are not read."""
    names = (
        f"{column}[].{name}"
        for item in ([] if column is None else row.columns[column])
        for name, value in item.items()
        if name not in _READ and name not in _SAYS_MORE and _says_something(name, value)
    )
    return tuple(dict.fromkeys(names))


def first_user(messages: tuple[dict[str, str], ...]) -> str:
    """Returns the user's first message."""
    for message in messages:
        if message["role"] == "user":
            return message["content"]
    raise RowError("bad message", "no message of the user")
