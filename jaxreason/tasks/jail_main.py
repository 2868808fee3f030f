"""The first process of a jail: it locks itself in, then runs one program after another, each in a fork.

It starts with an empty environment (`jail_start`). Its requests come in frames on its input, and its results leave in
frames on its output. It only knows inputs, never what a correct program prints.
"""

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from typing import Any

from jaxreason.tasks import jail_checker, jail_filter, jail_kernel, jail_programs, jail_root
from jaxreason.tasks.jail_values import dump, receive, send

_PIECE = 1 << 16


def main() -> None:
    """Serves requests until the input ends."""
    settings = json.loads(receive(0))
    sys.path.remove(settings["package"])  # All that is needed of it is imported.
    try:
        settings = lock_in(settings)
    except Exception as error:
        return send(1, dump({"error": f"{type(error).__name__}: {error}"[:300]}))
    settings["names"] = jail_programs.prelude_names()
    if settings["seccomp"]:
        jail_filter.prepare_filter()
    gc.freeze()  # Objects that exist by now are shared with every fork.
    send(1, dump({"alone": settings["alone"]}))
    with contextlib.suppress(EOFError):
        while True:
            request = json.loads(receive(0))
            if request["kind"] == "check":
                return jail_checker.check(request, settings)
            ended, seconds, output = run(request, settings)
            send(1, dump({"ended": ended, "seconds": seconds}))
            send(1, output)


def lock_in(settings: dict[str, Any]) -> dict[str, Any]:
    """Applies all layers that the settings name, or raises an error.

    Returns the settings with the paths of modules, and with `alone`: no other program has this user.
    """
    sys.path += settings["import_from"]
    sys.argv[:] = [""]
    alone = settings["new_user"]
    if sys.platform == "linux":
        if settings["parent"]:  # Bubblewrap does that itself.
            jail_kernel.die_with_parent(settings["parent"])
        if settings["namespaces"]:
            jail_kernel.enter_namespaces(settings["namespaces"], settings["new_user"])
        if "pid" in settings["namespaces"]:
            _fork_first_process()
        if "mount" in settings["namespaces"]:
            jail_root.enter_new_root(settings["read_only"], settings["scratch_bytes"])
        if settings["drop"]:
            parent = os.getppid()
            alone |= jail_kernel.drop_privileges(os.path.dirname(os.__file__))
            jail_kernel.die_with_parent(parent)  # The change of user has cleared it.
        if settings["landlock"]:
            writable = [jail_root.SCRATCH] if settings["scratch"] else []
            readable = [*settings["read_only"], *jail_root.DEVICES]
            jail_kernel.read_only(readable, [*writable, os.devnull])
    return settings | {"alone": alone}


def _fork_first_process() -> None:
    """Forks: the child is process 1 of the new process namespace; this process waits for it and ends with it."""
    child = os.fork()
    if child == 0:
        # 0: the parent is outside of the namespace and has no number in it.
        return jail_kernel.die_with_parent(0)
    os.close(0)
    os.close(1)
    os.waitpid(child, 0)
    os._exit(0)


def run(request: dict[str, Any], settings: dict[str, Any]) -> tuple[str, float, bytes]:
    """Runs a program. Returns its end ("finished", "failed", "timeout", "output"), seconds, and its output."""
    began = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        jail_programs.run_child(request, settings, writing)
    os.close(writing)
    deadline = began + request["seconds"]
    # Output is read before waiting for the exit: a program that has filled the pipe cannot end until it is read.
    output, ended = _collect(reading, deadline, settings["output_bytes"])
    status = None if ended else _wait(child, deadline)
    seconds = time.monotonic() - began
    if status is None:
        ended = ended or "timeout"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(reading)
    _sweep()
    return ended or ("finished" if status == 0 else "failed"), seconds, output


def _collect(source: int, deadline: float, most: int) -> tuple[bytes, str]:
    """Reads output until its end, the deadline ("timeout") or the size limit ("output")."""
    parts, size = [], 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([source], [], [], left)[0]:
            return b"".join(parts), "timeout"
        part = os.read(source, _PIECE)
        if not part:
            return b"".join(parts), ""
        parts.append(part)
        size += len(part)
        if size > most:
            return b"".join(parts)[:most], "output"


def _wait(child: int, deadline: float) -> int | None:
    """Returns the exit status, or None if the child still runs at the deadline."""
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(0.0005)


def _sweep() -> None:
    """Ends all processes that a program left behind. Only process 1 of a namespace may do that."""
    if os.getpid() != 1:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
