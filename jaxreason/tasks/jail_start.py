"""Starts jails: through bubblewrap, or as forks of a process that is kept for this."""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass

from jaxreason.tasks import jail_forks, jail_main, jail_ways
from jaxreason.tasks.jail_ways import Isolation

_ANSWER_S = 30.0  # For a process that only forks and kills.


@dataclass(frozen=True)
class Started:
    """A jail that waits for its settings.

    Attributes:
      parent: the process whose end must end the jail; 0 if the jail learns of it in another way.
      writing: descriptor of its input; does not block.
      reading: descriptor of its output.
      end: kills everything in it.
    """

    parent: int
    writing: int
    reading: int
    end: Callable[[], None]


class StartError(OSError):
    """No jail could be started."""


def start(isolation: Isolation) -> Started:
    """Starts a jail. Raises OSError if that fails."""
    to_jail, from_jail = os.pipe(), os.pipe()
    os.set_blocking(to_jail[1], False)
    try:
        begin = _by_bubblewrap if isolation.bubblewrap else _by_fork
        parent, end = begin(isolation, to_jail[0], from_jail[1])
    except BaseException:
        os.close(to_jail[1])
        os.close(from_jail[0])
        raise
    finally:
        os.close(to_jail[0])
        os.close(from_jail[1])
    return Started(parent, to_jail[1], from_jail[0], end)


Begun = tuple[int, Callable[[], None]]


def _by_bubblewrap(isolation: Isolation, reading: int, writing: int) -> Begun:
    process = subprocess.Popen(
        jail_ways.command(isolation, jail_main.__name__, "main()"),
        stdin=reading,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        env=jail_ways.jail_environment(),
        cwd="/",
        start_new_session=True,
    )

    def end() -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # No process is left.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    return 0, end


def _by_fork(isolation: Isolation, reading: int, writing: int) -> Begun:
    with _lock:
        forks = _forks()
        number = forks.ask(0, [reading, writing])

    def end() -> None:
        # If that process has ended, its jails have ended with it.
        with _lock, contextlib.suppress(OSError):
            forks.ask(number)

    return forks.process.pid, end


class _Forks:
    """The process that forks jails, and the connection to it."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        call = f"serve({theirs.fileno()}, {os.getpid()})"
        with theirs:
            self.process = subprocess.Popen(
                jail_ways.command(jail_ways.NONE, jail_forks.__name__, call),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=jail_ways.jail_environment(),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        ours.settimeout(_ANSWER_S)
        self.connection, self.owner = ours, os.getpid()

    def ask(self, number: int, files: list[int] | None = None) -> int:
        """Sends a message of `jail_forks.serve` and returns the answer."""
        socket.send_fds(self.connection, [jail_forks.NUMBER.pack(number)], files or [])
        answer = self.connection.recv(jail_forks.NUMBER.size)
        if len(answer) < jail_forks.NUMBER.size:
            raise StartError("the process that forks jails is gone")
        return jail_forks.NUMBER.unpack(answer)[0]

    def close(self) -> None:
        """Ends the process, and with it all of its jails."""
        self.connection.close()
        if self.owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.process.kill()
            self.process.wait()


_lock = threading.RLock()
_kept: list[_Forks] = []  # The one of this process, once it is needed.


def _forks() -> _Forks:
    if _kept and _kept[0].owner == os.getpid() and _kept[0].process.poll() is None:
        return _kept[0]
    if not _kept:
        atexit.register(stop)
    stop()
    _kept.append(_Forks())
    return _kept[0]


def stop() -> None:
    """Ends the process that is kept; the next jail starts a new one."""
    with _lock:
        while _kept:
            _kept.pop().close()
