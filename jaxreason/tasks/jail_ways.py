"""The kinds of isolation for a jail, strongest first, and the command that starts one."""

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxreason
from jaxreason.tasks import jail_filter, jail_root

_SCRATCH_BYTES = 16 << 20
_SYSTEM_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_APART = ("network", "ipc", "uts", "pid")


@dataclass(frozen=True)
class Isolation:
    """A kind of isolation for a program, or "none".

    Attributes:
      name: its name, which the scores state.
      namespaces: the namespaces that the jail enters by itself (`jail_kernel.NAMESPACES`).
      landlock: whether Landlock hides the files.
      new_user: whether the namespaces need a user namespace, as they do without root.
      bubblewrap: its command, or "".
    """

    name: str
    namespaces: tuple[str, ...] = ()
    landlock: bool = False
    new_user: bool = False
    bubblewrap: tuple[str, ...] = ()


NONE = Isolation("none")


def ways() -> list[Isolation]:
    """Returns the kinds of isolation that may work on this machine, strongest first; `isolation` tests whether they do.

    Files are hidden by bubblewrap, by a file tree of the jail's own, or by Landlock. Landlock is not used without the
    filter of system calls, since alone it would leave modes, sockets and processes open.
    """
    if sys.platform != "linux":
        return []
    return [*_with_bubblewrap(), *_with_namespaces(), *_with_landlock()]


def _with_bubblewrap() -> list[Isolation]:
    command = shutil.which("bwrap")
    if command is None:
        return []
    as_nobody = (command, "--unshare-user", "--uid", "65534", "--gid", "65534")
    return [
        Isolation("bubblewrap", landlock=landlock, bubblewrap=start)
        for landlock in (True, False)
        for start in (as_nobody, (command,))
    ]


def _with_namespaces() -> list[Isolation]:
    users = (False, True) if os.geteuid() == 0 else (True,)
    everything = ("mount", *_APART)
    return [
        Isolation("namespaces+landlock" if landlock else "namespaces", everything, landlock, user)
        for landlock in (True, False)
        for user in users
    ]


def _with_landlock() -> list[Isolation]:
    if not jail_filter.is_known_machine():
        return []
    users = (False, True) if os.geteuid() == 0 else (True,)
    apart = [Isolation("network+landlock", _APART, True, user) for user in users]
    return [*apart, Isolation("landlock", landlock=True)]


def command(isolation: Isolation, module: str, call: str) -> list[str]:
    """Returns the command that calls a module's function in a Python without site and without our packages."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    program = f"import sys; sys.path.append(sys.argv[1]); import {module} as m; m.{call}"
    start = [python, "-s", "-S", "-P", "-c", program, str(_package_parent())]
    if not isolation.bubblewrap:
        return start
    flags = ["--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"]
    flags += ["--cap-drop", "ALL", "--size", str(_SCRATCH_BYTES), "--tmpfs", jail_root.SCRATCH]
    for path in jail_root.DEVICES:
        flags += ["--dev-bind", path, path]
    for path in (*read_only_paths(), *_own_files(), python):
        for name in dict.fromkeys((os.path.realpath(path), path)):
            flags += ["--ro-bind", name, name]
    flags += ["--remount-ro", "/", "--chdir", jail_root.SCRATCH]
    return [*isolation.bubblewrap, *flags, "--", *start]


def jail_environment() -> dict[str, str]:
    """Returns the environment of a jailed program; with it sets iterate in the same order in every run."""
    names = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    libraries = os.environ.get("LD_LIBRARY_PATH")  # A Python may need it to start.
    return names | ({"LD_LIBRARY_PATH": libraries} if libraries else {})


def jail_settings(
    isolation: Isolation, parent: int, memory_bytes: int, output_bytes: int
) -> dict[str, Any]:
    """Returns the first message to a jail: its layers, the process whose end must end it, and its limits."""
    locked = isolation != NONE
    return {
        "namespaces": isolation.namespaces,
        "new_user": isolation.new_user,
        "landlock": isolation.landlock,
        "drop": locked and not isolation.bubblewrap,
        "seccomp": locked and jail_filter.is_known_machine(),
        "parent": parent,
        "read_only": read_only_paths(),
        "scratch": bool(isolation.bubblewrap) or "mount" in isolation.namespaces,
        "import_from": _site_packages(),
        "package": str(_package_parent()),
        "scratch_bytes": _SCRATCH_BYTES,
        "memory_bytes": memory_bytes,
        "output_bytes": output_bytes,
    }


def read_only_paths() -> list[str]:
    """Returns the files and folders that a Python program needs: its library, its packages, and the system's."""
    paths = sysconfig.get_paths()
    library = sysconfig.get_config_var("LIBDIR")
    dynamic = [str(Path(os.__file__).parent), *sys.path]
    known = [paths["stdlib"], library, *_site_packages(), *_SYSTEM_FOLDERS]
    inside = [path for path in dynamic if path and path.startswith(sys.base_prefix + os.sep)]
    return [path for path in dict.fromkeys((*known, *inside)) if path and os.path.exists(path)]


def _site_packages() -> list[str]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys((paths["purelib"], paths["platlib"])))


def _package_parent() -> Path:
    return Path(jaxreason.__file__).parent.parent


def _own_files() -> list[str]:
    """Returns the files of this package that a jail imports."""
    folder = Path(jaxreason.__file__).parent
    names = [path for path in (folder / "tasks").glob("jail_*.py")]
    return [
        str(path) for path in (folder / "__init__.py", folder / "tasks" / "__init__.py", *names)
    ]
