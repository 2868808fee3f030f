"""The process that runs a program: it gets its input and its limits, and starts.

Kinds of request: `stdin` runs the program as a script; `call` defines what it defines and calls a
function or a method of `Solution`; `eval` does the same and evaluates an expression; `compile` only
reads it. What comes back goes to one pipe: what was printed, or the value as JSON. Nothing here
knows a right answer.
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

# What solutions of contests use without importing it; builtins last, so that `pow` stays Python's.
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
RECURSION_LIMIT = 50_000  # of the solutions of contests, as LiveCodeBench sets it
_STACK_BYTES = 128 << 20
_FILE_BYTES = 16 << 20
_OPEN_FILES = 64
_PROCESSES = 128  # threads count


def run_child(request: dict[str, Any], settings: dict[str, Any], out: int) -> None:
    """Runs the request in a forked process, with its answer to `out`. Does not return."""
    status, leave = 1, os._exit  # kept, whatever the program makes of `os`
    try:
        _arrange_files(request, out)
        limit(settings, request["seconds"])
        if settings["seccomp"]:
            allow_few_calls()
        status = _KINDS[request["kind"]](request, settings["names"])
    except BaseException:  # whatever the program raises, this process ends below
        status = 1
    finally:
        leave(status if isinstance(status, int) else 1)


def _arrange_files(request: dict[str, Any], out: int) -> None:
    """0 holds the input, 1 and 2 lead to `out` or nowhere, 3 is `out`; nothing else is open."""
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
    number, path = tempfile.mkstemp()  # no Linux
    os.unlink(path)
    return number


def limit(settings: dict[str, Any], seconds: float) -> None:
    """Memory, processor time, files and threads; where a lower limit is set already, that one."""
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
    if settings["alone"]:  # else the processes of the user's other programs would count
        wanted["RLIMIT_NPROC"] = _PROCESSES
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS cannot limit all of them
            resource.setrlimit(kind, (value, value))


@functools.cache
def prelude_names() -> dict[str, Any]:
    """The names that PRELUDE defines; made once, before any program runs."""
    names: dict[str, Any] = {}
    exec(PRELUDE, names)
    return {name: value for name, value in names.items() if name not in ("__builtins__", "open")}


def _module(request: dict[str, Any], names: dict[str, Any], name: str) -> types.ModuleType:
    """The program as a module that is about to run, in an interpreter as a script finds it."""
    module = types.ModuleType(name)
    if request.get("prelude"):
        module.__dict__.update(names)
        sys.setrecursionlimit(RECURSION_LIMIT)
    sys.modules[name] = module
    sys.argv = ["solution.py"]
    builtins.exit = builtins.quit = sys.exit  # these are made by `site`, which was not run
    builtins.open = io.open = _opens_stdin(io.open)
    return module


def _opens_stdin(opens: Any) -> Any:
    """/dev/stdin leads through /proc, which is not there."""

    def open_file(file: Any, *args: Any, **kwargs: Any) -> Any:
        return opens(0 if file == "/dev/stdin" else file, *args, **kwargs)

    return open_file


def _run_stdin(request: dict[str, Any], names: dict[str, Any]) -> int:
    """Runs it as a script. The status is that of a script: 0, what `exit` was given, or 1."""
    if request.get("like") == "study":
        return _run_like_study(request)
    module = _module(request, names, "__main__")
    sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8", errors="surrogateescape")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8", errors="surrogatepass")
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
    sys.stdout.flush()
    return status


def _run_like_study(request: dict[str, Any]) -> int:
    """Runs it the way of the study's harness: by `exec`, with files that are none, and no `exit`."""
    builtins.exit = builtins.quit = None
    names = {"__name__": "__main__"} if '__name__ == "__main__"' in request["code"] else {}
    sys.stdin, sys.stdout = io.StringIO(request["stdin"]), io.StringIO()
    exec(compile(request["code"], "<string>", "exec"), names)
    with open(1, "w", encoding="utf-8", errors="surrogatepass") as out:
        out.write(sys.stdout.getvalue())
    return 0


def _run_call(request: dict[str, Any], names: dict[str, Any]) -> int:
    """Calls the function named, of `Solution` where there is such a class, with the arguments."""

    def value(module: types.ModuleType) -> Any:
        owner, holder = module, getattr(module, "Solution", None)
        if hasattr(holder, request["function"]) and request.get("like") != "study":
            owner = holder()
        given = request["arguments"]
        if isinstance(given, str):  # one JSON value a line
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
    """Runs the program, then takes the value and writes it, or what was raised, as JSON."""
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
    """Says whether Python can read the program, without running it."""
    compile(request["code"], "solution.py", "exec")
    os.write(3, dump({"value": True}))
    return 0


_KINDS = {"stdin": _run_stdin, "call": _run_call, "eval": _run_eval, "compile": _run_compile}
