"""Keeps secrets out of logs, messages and files: keys from the environment and the command line become `***`."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 6  # Characters; a shorter text could be any word of a message.
_SECRET = "(?:key|token|secret|password|passwd|credentials)"
_NAME = re.compile(f"{_SECRET}$", re.IGNORECASE)
_OF_FIELD = re.compile(rf"--config\.[^\s=]*{_SECRET}(?:=(.*))?$", re.IGNORECASE | re.DOTALL)
_IN_URL = re.compile(r"(?<=://)[^\s/?#\"'<>]+@")  # A password may contain an @.


class Redaction:
    """Hides secrets in texts.

    Args:
      words: of the command line; `--config.serve.api_key=VALUE` is a secret, and so is the word after the bare flag.
      environment: variables; those whose names mean keys, tokens, secrets or passwords are secrets.
    """

    def __init__(self, words: Sequence[str] = (), environment: Mapping[str, str] = os.environ):
        self._found: set[str] = set()
        self._secrets: list[str] = []
        self.add(value for name, value in environment.items() if _NAME.search(name))
        self.add(_of_words(words))

    def add(self, secrets: Any) -> None:
        """Hides these texts too, unchanged and as JSON, Python and addresses spell them."""
        for secret in (text.strip() for text in secrets):
            if len(secret) >= SHORTEST:
                self._found |= {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
                self._found |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}
        self._secrets = sorted(self._found, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Returns the text without secrets, and without user and password in addresses."""
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
    """Starts to hide the secrets of this call of the program, including those of its command line."""
    global _current
    _current = Redaction(words)
    return _current


def hide(text: str) -> str:
    """Returns a text for people without the secrets of the call, or of the environment before a call has begun."""
    return (_current or Redaction())(text)


def hide_also(secret: str) -> None:
    """Hides a secret that is in a variable of any name, once it is known to be a secret."""
    (_current or begin(())).add([secret])


def hidden(value: Any) -> Any:
    """Returns plain JSON values, with texts under the names of secrets hidden; all others are unchanged."""
    if isinstance(value, Mapping):
        return {name: _hidden_as(name, item) for name, item in value.items()}
    return [hidden(item) for item in value] if isinstance(value, (list, tuple)) else value


def _hidden_as(name: str, value: Any) -> Any:
    secret = isinstance(value, str) and value and _NAME.search(name)
    return HIDDEN if secret else hidden(value)
