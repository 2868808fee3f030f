"""A tokenizer's chat template: conversations to text. It never loses a message or lets a message open another turn."""

import copy
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from jaxreason.data.template_process import render_all
from jaxreason.errors import UserError

Messages = Sequence[dict[str, str]]

_PROBE = "probe0reply"
_WORD = re.compile(r"probe[0-9]+word")
# Number of kinds of conversations that are remembered as rendered without loss.
_MOST_SHAPES = 4096
_THINK_TAG = re.compile(r"</?think(ing)?>")

# Inserted into a mark that is only text, from the message up to the tokens. Nobody can guess it, and templates that
# strip or split text leave it unchanged.
BREAK = f"break{secrets.token_hex(12)}"


class ChatTemplate:
    """Renders conversations.

    Args:
      loaded: transformers' tokenizer.
      name: of the model, for messages.
    """

    def __init__(self, loaded: Any, name: str):
        self._name, self._source = name, _source_of(loaded, name)
        self._special = {key: _plain(value) for key, value in loaded.special_tokens_map.items()}
        self._marks: re.Pattern | None = None
        self._whole: set[tuple] = set()
        self.turn_end = ""
        if self._source is not None:
            self._learn_marks(loaded.added_tokens_decoder.values())

    def called(self, name: str) -> "ChatTemplate":
        """Returns this template under another name."""
        other = copy.copy(self)
        other._name = name
        return other

    def _learn_marks(self, tokens: Iterable[Any]) -> None:
        """Finds the marks: the special tokens, and those of the other added tokens that the template itself writes."""
        probe = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
        whole, prompt = self._render([(probe, None, False), (probe[:1], None, True)])
        self.turn_end = whole.rpartition(_PROBE)[2].lstrip()
        marks = {t.content for t in tokens if t.special or t.content in whole + prompt}
        marks = [m for m in marks if len(m) > 1 and not _THINK_TAG.fullmatch(m)]
        if marks:
            longest_first = sorted(marks, key=lambda mark: (-len(mark), mark))
            pattern = "|".join(map(re.escape, longest_first))
            self._marks = re.compile(f"(?=(?:{pattern}))(.)", re.DOTALL)

    def render(self, messages: Messages, thinking: bool | None, prompt: bool) -> str:
        """Returns the conversation as text; with `prompt` it ends with the start of the assistant's next turn.

        Marks in the messages' own text count as marks: use `render_broken` for untrusted messages.

        Raises:
          UserError: there is no template, it refuses the conversation, or it leaves a message out.
        """
        return self.render_broken([(messages, thinking, prompt)])[0].replace(BREAK, "")

    def render_broken(self, calls: Sequence[tuple[Messages, bool | None, bool]]) -> list[str]:
        """Renders several conversations, with `BREAK` inserted into marks in the messages' own text."""
        new = [call for call in calls if _shape(*call) not in self._whole]
        broken = [(self._break(messages), *how) for messages, *how in calls]
        texts = self._render([*broken, *((_probes(call[0]), *call[1:]) for call in new)])
        for call, text in zip(new, texts[len(calls) :], strict=True):
            self._check_whole(call[0], text)
            if len(self._whole) >= _MOST_SHAPES:
                self._whole.clear()
            self._whole.add(_shape(*call))
        return texts[: len(calls)]

    def _render(self, calls: Sequence[tuple[Messages, bool | None, bool]]) -> list[str]:
        if self._source is None:
            raise UserError(
                f"{self._name}: the tokenizer has no chat template (chat_template.jinja, or "
                "chat_template in tokenizer_config.json); copy one from the model's chat version."
            )
        try:
            return render_all(self._source, [self._variables(*call) for call in calls])
        except UserError as error:
            roles = ", ".join(str(message.get("role")) for message in calls[0][0])
            message = f"{self._name}: chat template: {error} (roles: {roles[:200]})"
            raise UserError(message) from None

    def _variables(self, messages: Messages, thinking: bool | None, prompt: bool) -> dict[str, Any]:
        hidden = {"reasoning_content"} if thinking is False else set()
        shown = [
            {k: v for k, v in message.items() if k not in hidden and v is not None}
            for message in messages
        ]
        for message in shown:  # gpt-oss reads it under another name.
            if "reasoning_content" in message:
                message["thinking"] = message["reasoning_content"]
        switch = {} if thinking is None else {"enable_thinking": thinking}
        plain = {"tools": None, "documents": None, "add_generation_prompt": prompt}
        return {**self._special, "messages": shown, **plain, **switch}

    def _break(self, value: Any) -> Any:
        """Returns the value with `BREAK` after the first character of every mark in its texts."""
        if isinstance(value, str):
            return value if self._marks is None else self._marks.sub(rf"\1{BREAK}", value)
        if isinstance(value, dict):
            return {key: self._break(item) for key, item in value.items()}
        return [self._break(item) for item in value] if isinstance(value, list | tuple) else value

    def _check_whole(self, messages: Messages, rendered: str) -> None:
        shown = set(_WORD.findall(rendered))
        for place, message in enumerate(messages):
            if message.get("content") and _word(place) not in shown:
                raise UserError(
                    f"{self._name}: the chat template leaves out messages[{place}], whose role is "
                    f"{str(message['role'])[:60]!r}; give it a role that the template shows."
                )


def _shape(messages: Messages, thinking: bool | None, prompt: bool) -> tuple:
    """Returns the traits that decide whether a template shows a message: roles and fields."""
    parts = ((message["role"], *sorted(k for k, v in message.items() if v)) for message in messages)
    return (thinking, prompt, *parts)


def _probes(messages: Messages) -> list[dict[str, str]]:
    """Returns the messages with a different test word as the content of each."""
    return [
        {**message, "content": _word(place)} if message.get("content") else message
        for place, message in enumerate(messages)
    ]


def _word(place: int) -> str:
    return f"probe{place}word"


def _source_of(loaded: Any, name: str) -> str | None:
    template = loaded.chat_template
    if isinstance(template, dict):  # Several templates, by name.
        if "default" not in template:
            found = ", ".join(sorted(template))[:200]
            raise UserError(f"{name}: of the chat templates {found} none is called 'default'.")
        template = template["default"]
    if template is None:
        return None
    if not isinstance(template, str):
        raise UserError(f"{name}: chat_template: expected text, got {str(template)[:80]!r}.")
    return template


def _plain(value: Any) -> Any:
    """Returns special tokens as text."""
    return [str(one) for one in value] if isinstance(value, list | tuple) else str(value)
