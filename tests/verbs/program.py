"""Calling the program in this process: its exit code and what it printed."""

import pytest

from jaxreason.cli import main


def call(*words: str) -> int:
    """The exit code of `jaxreason WORDS`; an error that is not a user's is raised."""
    try:
        main(["jaxreason", *map(str, words)])
    except SystemExit as stopped:
        return stopped.code
    return 0


def refused(capsys: pytest.CaptureFixture, *words: str) -> str:
    """The one message with which the program refuses the words."""
    capsys.readouterr()
    assert call(*words) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"jaxreason {words[0]}: ") and "Traceback" not in message
    return message
