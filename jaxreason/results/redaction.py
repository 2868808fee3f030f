"""Secrets stay out of logs, messages and files: keys of the environment and of the command line become `***`."""

import json
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
SHORTEST = 6  # characters: what is shorter may be any word of a message
_SECRET = "(?:key|token|secret|password|passwd|credentials)"
_NAME = re.compile(f"{_SECRET}$", re.IGNORECASE)
_OF_FIELD = re.compile(rf"--config\.[^\s=]*{_SECRET}(?:=(.*))?$", re.IGNORECASE | re.DOTALL)
_IN_URL = re.compile(r"(?<=://)[^\s/?#\"'<>]+@")  # a password may hold an @


class Redaction:
    """Hides secrets in texts.

    Args:
      words: of the command line; `--config.serve.api_key=VALUE` is a secret, and so is the word after the flag alone.
      environment: variables; those named as keys, tokens, secrets or passwords are.
    """

    def __init__(self, words: Sequence[str] = (), environment: Mapping[str, str] = os.environ):
        self._found: set[str] = set()
        self._secrets: list[str] = []
        self.add(value for name, value in environment.items() if _NAME.search(name))
        self.add(_of_words(words))

    def add(self, secrets: Any) -> None:
        """Hides these texts too, as they are and as JSON, Python and addresses write them."""
        for secret in (text.strip() for text in secrets):
            if len(secret) >= SHORTEST:
                quoted = urllib.parse.quote(secret, safe="")
                self._found |= {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quoted}
        self._secrets = sorted(self._found, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets, and without user and password of an address."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _IN_URL.sub(f"{HIDDEN}@", text)


def _of_words(words: Sequence[str]) -> list[str]:
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if match := _OF_FIELD.match(word):
            found.append(match[1] if match[1] is not None else after)
    return [secret for secret in found if not secret.startswith("--")]


_current: Redaction | None = None


def begin(words: Sequence[str]) -> Redaction:
    """Starts to hide the secrets of this call of the program, those of its command line included."""
    global _current
    _current = Redaction(words)
    return _current


def hide(text: str) -> str:
    """A text for people without the secrets of the call, or of the environment where no call has begun."""
    return (_current or Redaction())(text)


def hide_also(secret: str) -> None:
    """Hides a secret that a variable of any name holds, once it is known to be one."""
    (_current or begin(())).add([secret])


def hidden(value: Any) -> Any:
    """Plain JSON values in which every text under the name of a secret is hidden; all others stay, to be read."""
    if isinstance(value, Mapping):
        return {name: _hidden_as(name, item) for name, item in value.items()}
    return [hidden(item) for item in value] if isinstance(value, (list, tuple)) else value


def _hidden_as(name: str, value: Any) -> Any:
    secret = isinstance(value, str) and value and _NAME.search(name)
    return HIDDEN if secret else hidden(value)
