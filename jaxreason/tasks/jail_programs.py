"""The process that runs a program: it gets its input and its limits, and starts.

Kinds of request: `stdin` runs the program as a script; `call` runs its definitions and calls a function or a method of
`Solution`; `eval` does the same and evaluates an expression; `compile` only parses it. The result goes to one pipe: the
printed text, or the value as JSON. Nothing here knows a right answer.
"""

import atexit
import builtins
import contextlib
import functools
import io
import json
import os
import resource
import sys
import tempfile
import threading
import types
from typing import Any

from jaxreason.tasks.jail_filter import allow_few_calls
from jaxreason.tasks.jail_values import dump, from_plain, to_plain

# Names that contest solutions use without importing them; builtins come last, so that `pow` is Python's own.
PRELUDE = """
import bisect, collections, copy, datetime, functools, heapq, io, itertools, json, math, operator
import random, re, statistics, string, sys
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from json import *
from typing import *
from sys import exit, maxsize, setrecursionlimit
from builtins import *
"""
RECURSION_LIMIT = 50_000  # For contest solutions, as LiveCodeBench sets it.
_STACK_BYTES = 128 << 20
_FILE_BYTES = 16 << 20
_OPEN_FILES = 64
_PROCESSES = 128  # Threads count too.


def run_child(request: dict[str, Any], settings: dict[str, Any], out: int) -> None:
    """Runs the request in a forked process, which writes its answer to `out`. Does not return."""
    status, leave = 1, os._exit  # Kept, in case the program changes `os`.
    try:
        _arrange_files(request, out)
        limit(settings, request["seconds"])
        if settings["seccomp"]:
            allow_few_calls()
        status = _KINDS[request["kind"]](request, settings["names"])
    except BaseException:  # Whatever the program raises, this process ends below.
        status = 1
    finally:
        leave(status if isinstance(status, int) else 1)


def _arrange_files(request: dict[str, Any], out: int) -> None:
    """Arranges file descriptors: 0 has the input, 1 and 2 lead to `out` or nowhere, 3 is `out`; no other is open."""
    given = _file_in_memory()
    with open(given, "wb", closefd=False) as file:
        file.write(request.get("stdin", "").encode("utf-8", errors="surrogatepass"))
    os.lseek(given, 0, os.SEEK_SET)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    answer = os.dup(out)
    for source, target in ((given, 0), (answer if request["kind"] == "stdin" else nowhere, 1)):
        os.dup2(source, target)
    os.dup2(nowhere, 2)
    if answer != 3:
        os.dup2(answer, 3)
    os.closerange(4, 4096)


def _file_in_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stdin")
    number, path = tempfile.mkstemp()  # Not Linux.
    os.unlink(path)
    return number


def limit(settings: dict[str, Any], seconds: float) -> None:
    """Limits memory, processor time, files and threads; a lower limit that is already set stays."""
    memory = settings["memory_bytes"]
    wanted = {
        "RLIMIT_AS": memory,
        "RLIMIT_DATA": memory,
        "RLIMIT_CPU": int(seconds) + 2,
        "RLIMIT_FSIZE": _FILE_BYTES,
        "RLIMIT_NOFILE": _OPEN_FILES,
        "RLIMIT_CORE": 0,
        "RLIMIT_STACK": _STACK_BYTES,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    if settings["alone"]:  # Otherwise the processes of the user's other programs would count.
        wanted["RLIMIT_NPROC"] = _PROCESSES
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS cannot limit all of them.
            resource.setrlimit(kind, (value, value))


@functools.cache
def prelude_names() -> dict[str, Any]:
    """Returns the names that PRELUDE defines; they are made once, before any program runs."""
    names: dict[str, Any] = {}
    exec(PRELUDE, names)
    return {name: value for name, value in names.items() if name not in ("__builtins__", "open")}


def _module(request: dict[str, Any], names: dict[str, Any], name: str) -> types.ModuleType:
    """Returns the program as a module that is ready to run, in an interpreter that looks as it does to a script."""
    module = types.ModuleType(name)
    if request.get("prelude"):
        module.__dict__.update(names)
        sys.setrecursionlimit(RECURSION_LIMIT)
    sys.modules[name] = module
    sys.argv = ["solution.py"]
    builtins.exit = builtins.quit = sys.exit  # `site` would make these, but it was not run.
    builtins.open = io.open = _opens_stdin(io.open)
    return module


def _opens_stdin(opens: Any) -> Any:
    """Makes /dev/stdin work: it leads through /proc, which does not exist in a jail."""

    def open_file(file: Any, *args: Any, **kwargs: Any) -> Any:
        return opens(0 if file == "/dev/stdin" else file, *args, **kwargs)

    return open_file


def _run_stdin(request: dict[str, Any], names: dict[str, Any]) -> int:
    """Runs the program as a script. The status is that of a script: 0, the argument of `exit`, or 1."""
    if request.get("like") == "study":
        return _run_like_study(request)
    module = _module(request, names, "__main__")
    _open_streams()
    if request.get("prelude"):
        module.stdin, module.stdout = sys.stdin, sys.stdout
    status = 0
    try:
        exec(compile(request["code"], "solution.py", "exec"), module.__dict__)
    except SystemExit as ending:
        code = ending.code
        status = code & 0xFF if isinstance(code, int) else int(code is not None)
    threading._shutdown()
    atexit._run_exitfuncs()
    # Two of them if the program has put its own in place.
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()
    return status


def _open_streams() -> None:
    """Opens the standard streams as Python does: with buffers, with a mode, and under both of their names."""
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", errors="surrogatepass")  # noqa: SIM115


def _run_like_study(request: dict[str, Any]) -> int:
    """Runs it as the study's harness does: by `exec`, with fake files, and without `exit`."""
    builtins.exit = builtins.quit = None
    names = {"__name__": "__main__"} if '__name__ == "__main__"' in request["code"] else {}
    sys.stdin, sys.stdout = io.StringIO(request["stdin"]), io.StringIO()
    exec(compile(request["code"], "<string>", "exec"), names)
    with open(1, "w", encoding="utf-8", errors="surrogatepass") as out:
        out.write(sys.stdout.getvalue())
    return 0


def _run_call(request: dict[str, Any], names: dict[str, Any]) -> int:
    """Calls the named function, that of `Solution` if there is such a class, with the arguments."""

    def value(module: types.ModuleType) -> Any:
        owner, holder = module, getattr(module, "Solution", None)
        if hasattr(holder, request["function"]) and request.get("like") != "study":
            owner = holder()
        given = request["arguments"]
        if isinstance(given, str):  # One JSON value per line.
            arguments = [json.loads(line) for line in given.split("\n") if line.strip()]
        else:
            arguments = from_plain(given)
        function = getattr(owner, request["function"])
        if function is names.get(request["function"], request):
            raise NameError("the program does not define it; PRELUDE does")
        return function(*arguments)

    return _answer(request, names, value)


def _run_eval(request: dict[str, Any], names: dict[str, Any]) -> int:
    """Evaluates an expression among the program's names, after the setup."""

    def value(module: types.ModuleType) -> Any:
        exec(request["setup"], module.__dict__)
        return eval(request["expression"], module.__dict__)

    return _answer(request, names, value)


def _answer(request: dict[str, Any], names: dict[str, Any], value: Any) -> int:
    """Runs the program, then computes the value and writes it, or the error, as JSON."""
    try:
        module = _module(request, names, "solution")
        exec(compile(request["code"], "solution.py", "exec"), module.__dict__)
        message = dump({"value": to_plain(value(module))})
    except Exception as error:
        message = dump({"error": type(error).__name__[:100]})
    view = memoryview(message)
    while view:
        view = view[os.write(3, view) :]
    return 0


def _run_compile(request: dict[str, Any], names: dict[str, Any]) -> int:
    """Says whether Python can parse the program, without running it."""
    compile(request["code"], "solution.py", "exec")
    os.write(3, dump({"value": True}))
    return 0


_KINDS = {"stdin": _run_stdin, "call": _run_call, "eval": _run_eval, "compile": _run_compile}
