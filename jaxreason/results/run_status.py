"""`<workdir>/status.json`: what the run in a working directory is doing, or how it ended.

It is one object, written anew when a run begins, when it ends and, by a thread, while it lives; so it works on a bucket
too. It is for people and for programs that watch runs: no stage reads it, and a failed write never stops a run.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import WHAT_TO_DO, is_remote, read_object, write_json
from jaxreason.results.process_life import life_of
from jaxreason.results.redaction import hide
from jaxreason.results.shapes import ANY, From, Maybe, check_shape

NAME = "status.json"
SECONDS = 15.0  # Between two signs of life.
SECONDS_ON_A_BUCKET = 60.0
SECONDS_FOR_THE_END = (
    5.0  # For the last write of a process that must end, even if the bucket does not answer.
)
SECONDS_FOR_THE_DEVICE = 5.0  # For the query of the devices; a runtime that hangs never answers.
# How a run spends its time: before the first step of each stage (loading, compiling), in steps or items, and after the
# last one (saving, exporting). A stage that counts no steps is only work.
SPENT = ("preparing", "working", "finishing")
STOPPED = 143  # Exit code after a signal.
MAX_ERROR = 2000
# Fields that every status has, with the types of their values.
SHAPE = {
    **dict.fromkeys(("verb", "run", "state", "error", "host"), str),
    **dict.fromkeys(("every", "started", "updated"), float),
    "process": int,
    "spent": dict,
    "device": dict,
}
# What is inside of them. The device is empty until it has answered.
_COUNTED = {"name": str, "number?": From(0), "done?": From(0), "of": From(0)}
_INSIDE = {
    "spent": {ANY: float},
    "stage?": Maybe(_COUNTED),
    "progress?": Maybe(_COUNTED | {"seconds_left?": Maybe(float)}),
    "device": {"devices": From(0), "kind": str, "processes": From(0), ANY: float},
}
MOST_SECONDS = 1e11  # Since 1970: the year 5138.
# A name that the program that starts the run gives to it, so that it can recognise this run's end.
RUN = "JAXREASON_RUN"
_current: "_Status | None" = None
_last: "_Status | None" = None  # Of the current run, or of the run that ended.


class _Answers:
    """The latest answer to a query that may hang or fail."""

    def __init__(self, ask: Callable[[], dict[str, Any]]):
        self._ask, self._said, self._thread = ask, {}, None

    def newest(self) -> dict[str, Any]:
        """Returns the answer, or after SECONDS_FOR_THE_DEVICE the one before; never asks twice at the same time."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._hear, name="device", daemon=True)
            self._thread.start()
        self._thread.join(SECONDS_FOR_THE_DEVICE)
        return self._said

    def _hear(self) -> None:
        with contextlib.suppress(Exception):  # Some runtimes cannot tell.
            self._said = self._ask()


class _Status:
    """The file of a living run, and the thread that renews it.

    The run's own thread never waits for anything that this thread waits for: a bucket or a device.
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
            "life": life_of(os.getpid()),
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
        """Records progress, with the seconds that are left at the average speed since the first call with this name."""
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
        """Returns what the time up to the end of a stage was spent on; a stage that counts nothing was only work."""
        return "finishing" if self._first else "working"

    def _spend(self, name: str) -> None:
        """Counts the time since the last call."""
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
        ):  # Libraries of buckets have errors of all kinds.
            with self._lock:
                value = self._value | {"spent": dict(self._value["spent"])}
            write_json(self._path, value | {"device": device, "updated": _now()})


@contextlib.contextmanager
def keep_status(
    workdir: epath.Path, verb: str, device: Callable[[], dict[str, Any]] = dict
) -> Iterator[None]:
    """Keeps the status of the run that holds a working directory while it is entered; only on process 0.

    Inside another one it does nothing, since the run is the outer one's.

    Args:
      workdir: already held, so that no other run's status is overwritten.
      verb: what the run does.
      device: describes the devices; called by a thread at each sign of life.
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
    """Records which stage of a study has begun; does nothing if no status is kept."""
    if _current is not None:
        _current.begin_stage({"name": name, "number": number, "of": of})


def at_progress(name: str, done: int, of: int) -> None:
    """Records how many steps or items of a stage are done; it is written with the next sign of life."""
    if _current is not None:
        _current.advance(name, done, of)


def at_hosts(seconds: list[float]) -> None:
    """Records which of several processes takes longest in a step; `seconds` has each one's own time, in their order."""
    if _current is not None:
        slowest = max(range(len(seconds)), key=seconds.__getitem__)
        others = sorted(seconds[:slowest] + seconds[slowest + 1 :])
        median = others[len(others) // 2]
        _current.note(
            "slowest", {"process": slowest, "seconds": seconds[slowest], "others_seconds": median}
        )


def say_failed(reason: str) -> None:
    """Records why the job ends, from the process that knows it, in bounded time; it overrides what this process saw.

    Does nothing if no status was kept.
    """
    if _last is not None:
        word = threading.Thread(target=_last.end, args=("failed", reason), daemon=True)
        word.start()
        word.join(SECONDS_FOR_THE_END)


def read_status(workdir: epath.PathLike) -> dict[str, Any] | None:
    """Returns the status of the last run in a working directory; None if there was none.

    Raises:
      UserError: the file is broken; the message names it.
    """
    path = epath.Path(workdir) / NAME
    if not path.exists():
        return None
    value = read_object(path, SHAPE)
    check_shape(value, _INSIDE if value["device"] else _INSIDE | {"device": {}}, f"{path}: ", {})
    for name in ("started", "updated"):
        if not 0 <= value[name] < MOST_SECONDS:
            raise UserError(
                f"{path}, {name}: expected seconds since 1970, got {value[name]!r}. {WHAT_TO_DO}"
            )
    return value


def _shown(error: str) -> str:
    """Returns an error without secrets, shortened, in characters that UTF-8 has (names of files may have others)."""
    return hide(error)[:MAX_ERROR].encode("utf-8", "backslashreplace").decode()


def _how(error: BaseException) -> tuple[str, str]:
    """Returns the state and error of a run that an exception has ended."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", ""
    if isinstance(error, SystemExit) and error.code in (None, 0, STOPPED):
        return ("stopped" if error.code == STOPPED else "done"), ""
    return "failed", f"{type(error).__name__}: {error}"


def _now() -> float:
    return round(time.time(), 1)
