"""Whether a process of this machine has ended, told from `/proc` without mistaking another one for it.

A process id is given again after a while, and stands for other processes in another container or after a reboot. So a
process is named by this boot of the machine, its space of process ids, and when it began.
"""

import functools
import hashlib
import os
import pathlib
import socket

_ENDED = "ZX"  # States of a process that has ended and that nobody has asked for yet.


def life_of(process: int) -> str:
    """Returns the name of a process; "" if it has ended, or if this system does not tell."""
    try:
        told = pathlib.Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2]
        state, begun = told.split()[0], told.split()[19]
    except (OSError, IndexError):
        return ""
    place = _place()
    return f"{place} {begun}" if place and state not in _ENDED else ""


def has_ended(process: int, life: object) -> bool:
    """Returns whether the process with this id and name has ended; False if that cannot be told from here.

    Args:
      process: its id.
      life: its name as `life_of` gave it to the process itself, from a file.
    """
    place = _place()
    if not isinstance(life, str) or not place or not life.startswith(f"{place} "):
        return False
    now = life_of(process)
    return now != life if now else not _is_hidden(process)


@functools.cache
def short_place() -> str:
    """Returns eight letters for this boot and space of process ids; for the host's name where they are not told."""
    return hashlib.sha256((_place() or socket.gethostname()).encode()).hexdigest()[:8]


def _place() -> str:
    """Returns this boot and this space of process ids; "" if the system does not tell them."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_hidden(process: int) -> bool:
    """Returns whether a process exists that `/proc` does not show, as another user's may be."""
    return not os.path.exists(f"/proc/{process}") and lives(process)


def lives(process: int) -> bool:
    """Returns whether some process has this id here."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # It belongs to another user.
        return True
    return True
