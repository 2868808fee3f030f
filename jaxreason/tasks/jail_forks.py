"""A process that has loaded what a jail needs and becomes one, in a fork, whenever it is asked.

So a jail starts in a few milliseconds instead of the fifty that Python takes. It hands on two pipes
and never reads what goes through them; what is locked in is the fork.
"""

import contextlib
import gc
import os
import signal
import socket
import struct
import sys

from jaxreason.tasks import jail_filter, jail_kernel, jail_main, jail_programs

NUMBER = struct.Struct(">i")  # a process


def serve(descriptor: int, parent: int) -> None:
    """Answers each message until the other side is gone, then ends every jail.

    0 and two file descriptors, to read and to write: a jail is started, and its number is sent back.
    Another number: that jail is ended, and the number is sent back.
    """
    if sys.platform == "linux":
        jail_kernel.die_with_parent(parent)
        jail_kernel.adopt_orphans()  # else what jails leave waits for a first process that may not look
        if jail_filter.is_known_machine():
            jail_filter.prepare_filter()
    jail_programs.prelude_names()
    gc.freeze()  # what is there by now is shared with every fork
    jails: set[int] = set()  # that were not found to have ended
    with socket.socket(fileno=descriptor) as connection:
        while True:
            message, files, _, _ = socket.recv_fds(connection, NUMBER.size, 2)
            if len(message) < NUMBER.size:
                break
            (number,) = NUMBER.unpack(message)
            if number == 0:
                number = _fork(connection, *files)
                jails.add(number)
            else:
                _end(number, jails)
            connection.sendall(NUMBER.pack(number))
    for number in list(jails):
        _end(number, jails)


def _fork(connection: socket.socket, reading: int, writing: int) -> int:
    number = os.fork()
    if number:
        os.close(reading)
        os.close(writing)
        return number
    try:
        # A session of its own first, so that killing its group spares this server. The socket is closed before the
        # program runs: through it jails are started and ended.
        os.setsid()
        connection.close()
        os.dup2(reading, 0)
        os.dup2(writing, 1)
        os.closerange(3, 4096)
        jail_main.main()
    finally:
        os._exit(0)


def _end(number: int, jails: set[int]) -> None:
    """Kills a jail, if there is one of that number, and takes note of every process that has ended."""
    if number in jails:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)  # it may not have a group of its own yet
            os.killpg(number, signal.SIGKILL)
        os.waitpid(number, 0)
        jails.remove(number)
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitpid(-1, os.WNOHANG)[0]:
            jails.discard(ended)
