"""`<workdir>/status.json`: what the run in a working directory is doing, or how it ended.

One object, written anew when a run begins, when it ends and, by a thread, while it lives; so it works on a bucket too.
It is for people and for what watches runs: no stage reads it, and what cannot be written never stops a run.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from jaxreason.results.atomic_files import is_remote, read_object, write_json
from jaxreason.results.redaction import hide

NAME = "status.json"
SECONDS = 15.0  # between two signs of life
SECONDS_ON_A_BUCKET = 60.0
SECONDS_FOR_THE_END = (
    5.0  # for the last word of a process that must end, whether the bucket answers or not
)
SECONDS_FOR_THE_DEVICE = 5.0  # for what it says of itself; a runtime that hangs never answers
# Where a run's time goes: before the first step of each stage (loading, compiling), in steps or items, and after the
# last (saving, exporting). A stage that counts no steps is all work.
SPENT = ("preparing", "working", "finishing")
STOPPED = 143  # exit code after a signal
MAX_ERROR = 2000
# Values that every status has, of a kind that does not change.
SHAPE = {
    **dict.fromkeys(("verb", "run", "state", "error", "host"), str),
    **dict.fromkeys(("every", "started", "updated"), float),
    "process": int,
    "spent": dict,
    "device": dict,
}
RUN = "JAXREASON_RUN"  # a name that whoever starts the run gives it, to know its end from another's
_current: "_Status | None" = None
_last: "_Status | None" = None  # of the run that ended, or is the current one


class _Answers:
    """The latest answer of a question that may hang or fail."""

    def __init__(self, ask: Callable[[], dict[str, Any]]):
        self._ask, self._said, self._thread = ask, {}, None

    def newest(self) -> dict[str, Any]:
        """The answer, or after SECONDS_FOR_THE_DEVICE the one before; it is not asked twice at once."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._hear, name="device", daemon=True)
            self._thread.start()
        self._thread.join(SECONDS_FOR_THE_DEVICE)
        return self._said

    def _hear(self) -> None:
        with contextlib.suppress(Exception):  # some runtimes cannot tell
            self._said = self._ask()


class _Status:
    """The file of a living run, and the thread that renews it.

    The run's own thread never waits for what that thread waits for, a bucket or a device.
    """

    def __init__(self, workdir: epath.Path, verb: str, device: Callable[[], dict[str, Any]]):
        self._path, self._device = workdir / NAME, _Answers(device)
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._over = threading.Event()
        now = _now()
        self._value: dict[str, Any] = {
            "verb": verb,
            "run": os.environ.get(RUN, ""),
            "state": "running",
            "stage": None,
            "progress": None,
            "slowest": None,
            "spent": dict.fromkeys(SPENT, 0.0),
            "error": "",
            "host": socket.gethostname(),
            "process": os.getpid(),
            "every": SECONDS_ON_A_BUCKET if is_remote(workdir) else SECONDS,
            "started": now,
            "moved": now,
        }
        self._mark, self._first = time.monotonic(), None
        self._thread = threading.Thread(target=self._beat, name="status", daemon=True)

    def begin(self) -> None:
        self._write()
        self._thread.start()

    def note(self, name: str, value: dict[str, Any]) -> None:
        with self._lock:
            self._value |= {name: value, "moved": _now()}

    def advance(self, name: str, done: int, of: int) -> None:
        """Progress, with the seconds that are left at the speed since the first word of this name."""
        now = time.monotonic()
        if self._first is None or self._first[0] != name:
            self._spend("preparing")
            self._first = (name, done, now)
        self._spend("working")
        _, before, since = self._first
        left = (of - done) * (now - since) / (done - before) if done > before else None
        value = {"name": name, "done": done, "of": of}
        self.note("progress", value | {"seconds_left": None if left is None else round(left, 1)})

    def begin_stage(self, value: dict[str, Any]) -> None:
        before_all = self._value["stage"] is None and self._first is None
        self._spend("preparing" if before_all else self._ending())
        self._first = None
        self.note("progress", None)
        self.note("stage", value)

    def _ending(self) -> str:
        """How the time up to the end of a stage was spent; a stage that counts nothing worked throughout."""
        return "finishing" if self._first else "working"

    def _spend(self, name: str) -> None:
        """Counts the time since the last word."""
        now = time.monotonic()
        with self._lock:
            self._value["spent"][name] = round(self._value["spent"][name] + now - self._mark, 2)
            self._mark = now

    def end(self, state: str, error: str) -> None:
        self._over.set()
        self._spend(self._ending())
        with self._lock:
            self._value |= {"state": state, "error": _shown(error)}
        self._write()

    def _beat(self) -> None:
        while not self._over.wait(self._value["every"]):
            self._write()

    def _write(self) -> None:
        device = self._device.newest()
        with (
            self._writing,
            contextlib.suppress(Exception),
        ):  # buckets' libraries have errors of all kinds
            with self._lock:
                value = self._value | {"spent": dict(self._value["spent"])}
            write_json(self._path, value | {"device": device, "updated": _now()})


@contextlib.contextmanager
def keep_status(
    workdir: epath.Path, verb: str, device: Callable[[], dict[str, Any]] = dict
) -> Iterator[None]:
    """Keeps the status of the run that holds a working directory, while it is entered; on process 0 alone.

    Within another one it does nothing: the run is the outer one's.

    Args:
      workdir: that is held already, so that no other run's status is overwritten.
      verb: what the run does.
      device: what to say of the devices, asked at each sign of life by a thread.
    """
    global _current, _last
    if _current is not None:
        yield
        return
    _current = _last = status = _Status(workdir, verb, device)
    status.begin()
    try:
        yield
    except BaseException as error:
        status.end(*_how(error))
        raise
    else:
        status.end("done", "")
    finally:
        _current = None


def at_stage(name: str, number: int, of: int) -> None:
    """Says which stage of a study has begun; does nothing where no status is kept."""
    if _current is not None:
        _current.begin_stage({"name": name, "number": number, "of": of})


def at_progress(name: str, done: int, of: int) -> None:
    """Says how many steps or items of a stage are done; it is written with the next sign of life."""
    if _current is not None:
        _current.advance(name, done, of)


def at_hosts(seconds: list[float]) -> None:
    """Says which process works longest in a step by itself, of several; what each takes is given in their order."""
    if _current is not None:
        slowest = max(range(len(seconds)), key=seconds.__getitem__)
        others = sorted(seconds[:slowest] + seconds[slowest + 1 :])
        median = others[len(others) // 2]
        _current.note(
            "slowest", {"process": slowest, "seconds": seconds[slowest], "others_seconds": median}
        )


def say_failed(reason: str) -> None:
    """Why the job ends, from the process that knows it, in bounded time; it counts for more than what this one saw.

    Does nothing where no status was kept.
    """
    if _last is not None:
        word = threading.Thread(target=_last.end, args=("failed", reason), daemon=True)
        word.start()
        word.join(SECONDS_FOR_THE_END)


def read_status(workdir: epath.PathLike) -> dict[str, Any] | None:
    """The status of the last run in a working directory; None where there was none.

    Raises:
      UserError: the file is broken; names it.
    """
    path = epath.Path(workdir) / NAME
    if not path.exists():
        return None
    return read_object(path, SHAPE)


def _shown(error: str) -> str:
    """An error without secrets, cut, and in characters that UTF-8 has: names of files may hold others."""
    return hide(error)[:MAX_ERROR].encode("utf-8", "backslashreplace").decode()


def _how(error: BaseException) -> tuple[str, str]:
    """State and error of a run that an exception leaves."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", ""
    if isinstance(error, SystemExit) and error.code in (None, 0, STOPPED):
        return ("stopped" if error.code == STOPPED else "done"), ""
    return "failed", f"{type(error).__name__}: {error}"


def _now() -> float:
    return round(time.time(), 1)
