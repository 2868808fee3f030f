"""The version of the code that makes a result: the commit of its checkout, if any, and the versions of packages."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxreason import __version__

_PACKAGE = Path(__file__).resolve().parent.parent
_WAIT_S = 20.0  # For git on a slow disk; without an answer the commit is unknown.
TOLD = ("jax", "transformers")


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Returns the version of this program, of Python, and of each package, or "not installed"."""
    found = {"jaxreason": __version__, "python": platform.python_version()}
    return found | {name: package_version(name) for name in names}


def package_version(name: str) -> str:
    """Returns the version of a package, or "not installed"."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def code_version() -> dict[str, Any]:
    """Returns `versions`, and for a checkout `commit` and `clean` (whether its files are those of the commit)."""
    return checkout_version(_PACKAGE) | {"versions": package_versions(TOLD)}


def checkout_version(folder: Path) -> dict[str, Any]:
    """Returns `commit` and `clean` of the checkout that contains a folder's Python files; {} if there is none."""
    # An installed package may lie inside somebody else's checkout.
    if not _git(folder, "ls-files", "--", "__init__.py"):
        return {}
    commit, changed = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain")
    if not commit or changed is None:
        return {}
    return {"commit": commit.strip(), "clean": not changed.strip()}


def _git(folder: Path, *words: str) -> str | None:
    """Returns the output of git; None if there is no git, or if it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, env=own)
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout if done.returncode == 0 else None
