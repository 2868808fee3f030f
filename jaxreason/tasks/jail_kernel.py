"""The means of Linux to lock a process in: namespaces, Landlock, dropped capabilities, an otherwise unused user id.

It uses the standard library alone, so that it can be imported where nothing else is installed. Each function raises
OSError if the kernel refuses.
"""

import ctypes
import functools
import os
import platform
import random
import struct
from collections.abc import Sequence

NAMESPACES = {
    "mount": 0x20000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
_NEW_USER = 0x10000000
(
    _PR_SET_PDEATHSIG,
    _PR_SET_CHILD_SUBREAPER,
    _PR_CAPBSET_DROP,
    _PR_SET_NO_NEW_PRIVS,
    _PR_CAP_AMBIENT,
) = 1, 36, 24, 38, 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_NOBODY = 65534

# Landlock, by version of its interface: rights to files, rights to ports, and which signals and sockets stay inside.
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # Interface version -> number of bits that it knows.
_READ = 1 << 2 | 1 << 3  # Files and folders.
_OF_A_FILE = 1 << 1 | 1 << 2  # Write and read.


@functools.cache
def libc() -> ctypes.CDLL:
    """Returns the C library, with errno enabled."""
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | bytes | None) -> int:
    """Calls a function of the C library and returns its result. A negative result raises OSError."""
    numbers = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = getattr(libc(), name)(*numbers)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process when its parent ends; ends now if the parent is already gone."""
    call("prctl", _PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Makes this process the new parent of descendants whose own parent ends."""
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def enter_namespaces(names: Sequence[str], new_user: bool) -> None:
    """Enters new namespaces of the given kinds (see NAMESPACES), with a new user namespace if not root."""
    uid, gid = os.getuid(), os.getgid()
    call("unshare", sum(NAMESPACES[name] for name in names) | (_NEW_USER if new_user else 0))
    if new_user:
        for file, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{_NOBODY} {uid} 1"),
            ("gid_map", f"{_NOBODY} {gid} 1"),
        ):
            with open(f"/proc/self/{file}", "w") as target:
                target.write(text)


def landlock_version() -> int:
    """Returns the version of Landlock's interface. Raises OSError if there is none."""
    return call("syscall", _CREATE, None, 0, 1)


def read_only(paths: Sequence[str], writable: Sequence[str] = ()) -> None:
    """Restricts file access by Landlock: from now on only these files and folders exist; only `writable` can be
    written.

    Ports, abstract sockets and signals outside of the process are refused where Landlock can do it.
    """
    version = landlock_version()
    known = max(bits for first, bits in _FILE_RIGHTS.items() if first <= version)
    every = (1 << known) - 1
    attributes = struct.pack("QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = call("syscall", _CREATE, attributes[:size], size, 0)
    for path in (*paths, *writable):
        _allow(rules, path, every if path in writable else _READ)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("syscall", _RESTRICT, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rights = rights if os.path.isdir(path) else rights & _OF_A_FILE
    call("syscall", _ADD_RULE, rules, 1, struct.pack("=Qi", rights, target), 0)
    os.close(target)


def drop_privileges(must_read: str) -> bool:
    """Gives up root, groups and every capability; returns True if no other process has the new user id.

    Args:
      must_read: a folder that must stay readable. If another user could not read it (a Python in root's home), the
        process stays root, without its capabilities.
    """
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    stranger = random.SystemRandom().randrange(1 << 29, 1 << 30)
    changed = os.geteuid() == 0 and _could_read(stranger, must_read)
    for capability in range(64):
        try:
            call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:
            break  # There are no more, or none may be dropped.
    if changed:
        _become(stranger)
    call("prctl", _PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if platform.machine() in _CAPSET:
        header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
        call("syscall", _CAPSET[platform.machine()], header, nothing)
    return changed


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _could_read(user: int, folder: str) -> bool:
    """Tests it in a child process, since changing the user cannot be undone."""
    child = os.fork()
    if child == 0:
        try:
            _become(user)
            os.listdir(folder)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
