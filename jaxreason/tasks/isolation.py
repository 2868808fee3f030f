"""Chooses how programs are isolated on this machine: it tries to break out of each kind of jail."""

import contextlib
import functools
import json
import os
import socket
import tempfile
from pathlib import Path

from jaxreason.errors import UserError
from jaxreason.tasks import jail_start
from jaxreason.tasks.jail_ways import NONE, Isolation, ways
from jaxreason.tasks.sandbox import Jail, JailError, Limits

SETTINGS = ("auto", "none")
_in_use = ["auto"]  # The setting of this process.
_HOW = (
    "Install bubblewrap, or run on Linux as root, with user namespaces, or with Landlock (5.13); or "
    "set the isolation to 'none' if nothing on this machine is worth guarding."
)
# The program of the trial: it tries to reach several things and prints the names of those it reached.
_TRIAL = """
import json, os, socket
reached = []
def attempt(name, action):
    try:
        action()
    except Exception:
        return
    reached.append(name)
attempt("read a file", lambda: open({file!r}).read())
attempt("write a file", lambda: open({file!r}, "a"))
attempt("make a file", lambda: open({folder!r} + "/new", "w"))
attempt("change a mode", lambda: os.chmod({file!r}, 0o600))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", {port}), 1))
attempt("signal", lambda: os.kill({pid}, 0))
attempt("see a process", lambda: open("/proc/{pid}/environ").read())
attempt("read a file of the system's", lambda: open("/etc/passwd").read())
print(json.dumps(reached))
"""


def find_isolation(setting: str = "auto") -> Isolation:
    """Returns the strongest isolation for untrusted programs that works here.

    Args:
      setting: "auto", or "none" to run them like any other program, with resource limits only.

    Raises:
      UserError: for another setting, or if "auto" finds no isolation.
    """
    if setting not in SETTINGS:
        raise UserError(f"code isolation {setting!r}: expected one of {', '.join(SETTINGS)}.")
    if setting == "none":
        return NONE
    found, reasons = strongest()
    if found is None:
        raise UserError(
            "programs that a model wrote are not run here, since nothing isolates them from this "
            f"machine ({'; '.join(reasons) or 'it is no Linux'}). {_HOW}"
        )
    return found


def use_isolation(setting: str) -> None:
    """Sets the isolation that `isolation_in_use` finds: this is how a worker gets its caller's setting."""
    _in_use[0] = setting


def isolation_in_use() -> Isolation:
    """Returns the isolation of programs in this process. Raises what `find_isolation` raises."""
    return find_isolation(_in_use[0])


@functools.cache
def strongest() -> tuple[Isolation | None, tuple[str, ...]]:
    """Returns the first of `ways` whose trial reaches nothing, and what was wrong with those before it."""
    reasons = []
    try:
        for way in ways():
            try:
                reached = reached_from(way)
            except JailError as error:
                reasons.append(str(error))
                continue
            if not reached:
                return way, tuple(reasons)
            reasons.append(f"{way.name}: a program could {', '.join(reached)}")
    finally:
        jail_start.stop()  # The caller may never run a program.
    return None, tuple(reasons)


def reached_from(way: Isolation) -> list[str]:
    """Describes what a program in such a jail can reach outside of it.

    Raises:
      JailError: no such jail can be made, or programs do not run in it.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        (file := folder / "canary").write_text("untouched")
        file.chmod(0o666)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        trial = _TRIAL.format(
            file=str(file), folder=str(folder), port=listener.getsockname()[1], pid=os.getpid()
        )
        jail = stack.enter_context(Jail(way, Limits(seconds=10.0)))
        outcome = jail.run({"kind": "stdin", "code": trial, "stdin": ""})
    try:
        return json.loads(outcome.output)
    except ValueError as error:
        raise JailError(f"{way.name}: a plain program {outcome.ended}") from error
