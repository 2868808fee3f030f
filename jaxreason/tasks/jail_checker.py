"""The side of a function problem that knows the right answers: it runs a data set's assertions.

It is alone in its jail. The program under test is in another jail and is asked over a pipe, through the process
outside; only plain values come back. So a program can neither see what is expected of it nor change the meaning of
"equal", `assert` or the verdict.
"""

import json
import os
from typing import Any

from jaxreason.tasks import jail_programs
from jaxreason.tasks.jail_filter import allow_few_calls
from jaxreason.tasks.jail_values import dump, from_plain, receive, send, to_plain


class ProgramError(Exception):
    """The program raised an error, ran out of time, or returned something that is not a plain value."""


def check(request: dict[str, Any], settings: dict[str, Any]) -> None:
    """Runs the parts of a test, asks for values as they need them, and reports which parts raised nothing.

    Args:
      request: `setup`, texts that run first (one that raises is reported as `broken`); `parts`, the texts that are
        judged; `function`, a name that stands for the program's function there, or ""; `seconds`.
      settings: the limits.
    """
    reading, writing = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    jail_programs.limit(settings, request["seconds"])
    if settings["seccomp"]:
        allow_few_calls()

    def ask(**message: Any) -> Any:
        send(writing, dump(message))
        reply = json.loads(receive(reading))
        if "value" not in reply:
            raise ProgramError(reply.get("error"))
        return from_plain(reply["value"])

    def function(*arguments: Any) -> Any:
        return ask(function=request["function"], arguments=to_plain(list(arguments)))

    names: dict[str, Any] = {"ask": ask, "__name__": "tests"}
    try:
        for text in request["setup"]:
            exec(text, names)
    except Exception as error:
        return send(writing, dump({"broken": f"{type(error).__name__}: {error}"[:200]}))
    if request["function"]:
        names[request["function"]] = function
    send(writing, dump({"passed": [_holds(part, names) for part in request["parts"]]}))


def _holds(part: str, names: dict[str, Any]) -> bool:
    try:
        exec(part, names)
    except Exception:
        return False
    return True
