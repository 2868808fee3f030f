"""A process that has loaded all that a jail needs, and forks a new jail on request.

A jail thus starts in a few milliseconds instead of the fifty that Python takes. This process passes on two pipes and
never reads what goes through them; only the forked process is locked in.
"""

import contextlib
import gc
import os
import signal
import socket
import struct
import sys

from jaxreason.tasks import jail_filter, jail_kernel, jail_main, jail_programs

NUMBER = struct.Struct(">i")  # A process id.


def serve(descriptor: int, parent: int) -> None:
    """Answers messages until the other side is gone, then ends every jail.

    Message 0 comes with two file descriptors, one to read and one to write: a jail is started and its process id is
    sent back. Any other number is the process id of a jail: that jail is ended, and the number is sent back.
    """
    if sys.platform == "linux":
        jail_kernel.die_with_parent(parent)
        # Otherwise what jails leave behind waits for a first process that may not collect it.
        jail_kernel.adopt_orphans()
        if jail_filter.is_known_machine():
            jail_filter.prepare_filter()
    jail_programs.prelude_names()
    gc.freeze()  # Objects that exist by now are shared with every fork.
    jails: set[int] = set()  # Those that are not known to have ended.
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
        # The child gets a session of its own first, so that killing its group spares this server. It closes the socket
        # before the program runs, since whoever holds the socket can start and end jails.
        os.setsid()
        connection.close()
        os.dup2(reading, 0)
        os.dup2(writing, 1)
        os.closerange(3, 4096)
        jail_main.main()
    finally:
        os._exit(0)


def _end(number: int, jails: set[int]) -> None:
    """Kills the jail with this process id, if there is one, and reaps every process that has ended."""
    if number in jails:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)  # It may not have a group of its own yet.
            os.killpg(number, signal.SIGKILL)
        os.waitpid(number, 0)
        jails.remove(number)
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitpid(-1, os.WNOHANG)[0]:
            jails.discard(ended)
