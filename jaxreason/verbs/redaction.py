"""Secrets stay out of logs and messages: keys and tokens of the environment and of the command line become `***`."""

import os
import re
from collections.abc import Mapping, Sequence

HIDDEN = "***"
SHORTEST = 6  # characters: what is shorter may be any word of a message
_OF_ENVIRONMENT = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)
_OF_FIELD = re.compile(
    r"--config\.\S*(?:key|token|secret|password)(?:=(.*))?$", re.IGNORECASE | re.DOTALL
)
_IN_URL = re.compile(r"(?<=://)[^\s/@]+@")


class Redaction:
    """Hides secrets in texts.

    Args:
      words: of the command line; `--config.serve.api_key=VALUE` is a secret, and so is the word after the flag alone.
      environment: variables; those named as keys, tokens, secrets or passwords are.
    """

    def __init__(self, words: Sequence[str] = (), environment: Mapping[str, str] = os.environ):
        found = {value for name, value in environment.items() if _OF_ENVIRONMENT.search(name)}
        for word, after in zip(words, [*words[1:], ""], strict=False):
            if match := _OF_FIELD.match(word):
                found.add(after if match[1] is None else match[1])
        self._secrets = sorted((s for s in found if len(s) >= SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets, and without user and password of an address."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _IN_URL.sub(f"{HIDDEN}@", text)
