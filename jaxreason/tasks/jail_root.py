"""A file tree of its own for a jail: an empty one in memory, with chosen folders mounted read-only."""

import os
from collections.abc import Sequence

from jaxreason.tasks.jail_kernel import call

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
SCRATCH = "/tmp"  # The only place that can be written.
# The new tree is built here: the folder exists on every Linux, and nothing in it is needed.
_BASE = "/proc"

_RDONLY, _NOSUID, _NODEV, _REMOUNT = 1, 2, 4, 32
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
# Mount flags that a user namespace may not remove: as statvfs and as mount number them.
_LOCKED = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}


def enter_new_root(read_only: Sequence[str], scratch_bytes: int) -> None:
    """Makes a new tree the root. The caller must be in a mount namespace of its own.

    Args:
      read_only: files and folders that exist in it, at their own paths; all others do not exist.
      scratch_bytes: size of SCRATCH.
    """
    call("mount", b"none", b"/", None, _REC | _PRIVATE, None)
    _mount_memory(_BASE, 1 << 20)
    os.makedirs(_BASE + SCRATCH)
    # First, since other mounts may lie in it, such as a Python.
    _mount_memory(_BASE + SCRATCH, scratch_bytes)
    os.chmod(_BASE + SCRATCH, 0o1777)
    for path in (*DEVICES, *_outermost(read_only)):
        _bind(path)
    for path in read_only:
        _link(path)
    os.chdir(_BASE)
    # Both names are this folder, so the old root is stacked on top of the new one and the next call removes it. No
    # folder is needed for the old root, and at no moment could the program reach it by a path.
    call("pivot_root", b".", b".")
    call("umount2", b".", _DETACH)
    call("mount", None, b"/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV, None)
    os.chdir(SCRATCH)


def _mount_memory(target: str, num_bytes: int) -> None:
    options = f"size={num_bytes},nr_inodes=4096,mode=755".encode()
    call("mount", b"tmpfs", target.encode(), b"tmpfs", _NOSUID | _NODEV, options)


def _outermost(paths: Sequence[str]) -> list[str]:
    """Returns the real paths that exist, without those that are inside another one."""
    found = sorted({os.path.realpath(path) for path in paths if os.path.exists(path)})
    return [p for p in found if not any(p.startswith(other + "/") for other in found)]


def _bind(path: str) -> None:
    """Mounts the file or folder at its own path under the new root; read-only unless it is a device."""
    target = _BASE + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    call("mount", path.encode(), target.encode(), None, _BIND | _REC, None)
    if path not in DEVICES:
        kept = sum(flag for seen, flag in _LOCKED.items() if os.statvfs(target).f_flag & seen)
        flags = _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | kept
        call("mount", None, target.encode(), None, flags, None)


def _link(path: str) -> None:
    """If a path contains links, makes it available under its original spelling too."""
    real = os.path.realpath(path)
    if real == path or not os.path.exists(real) or os.path.lexists(_BASE + path):
        return
    os.makedirs(os.path.dirname(_BASE + path), exist_ok=True)
    os.symlink(real, _BASE + path)
