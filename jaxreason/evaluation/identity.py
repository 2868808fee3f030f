"""What an evaluation was made with, as hashes that a resumed run is compared with."""

import hashlib
import inspect
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from etils import epath

from jaxreason.tasks.registry import Task

FORMAT = 1  # of the sample files
PROBES = 16
PROBE_BYTES = 4096


def model_identity(folder: epath.Path) -> dict[str, Any]:
    """config.json and the weight files of a model folder, as hashes.

    Of each weight file its size, its start (the table of tensors) and evenly spaced pieces are
    hashed: reading all of a large model would take longer than many an evaluation.
    """
    weights = sorted(folder.glob("*.safetensors"))
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weights:
        digest.update(f"{path.name} {path.stat().length}".encode())
        _probe(path, path.stat().length, digest)
    return {"sha256": digest.hexdigest(), "files": len(weights)}


def _probe(path: epath.Path, size: int, digest) -> None:
    with path.open("rb") as file:
        for number in range(PROBES + 1):
            file.seek(max(0, size - PROBE_BYTES) * number // PROBES)
            digest.update(file.read(PROBE_BYTES))


def task_identity(task: Task) -> str:
    """A hash of the source of a task's grader and of the modules of `jaxreason.tasks` it uses."""
    waiting, seen = [sys.modules[task.score.__module__]], {}
    while waiting:
        module = waiting.pop()
        if module.__name__ in seen:
            continue
        seen[module.__name__] = inspect.getsource(module)
        waiting += _used(module)
    return _hash(seen[name] for name in sorted(seen))


def _used(module: ModuleType) -> list[ModuleType]:
    names = {getattr(value, "__module__", None) for value in vars(module).values()}
    own = (name for name in names if isinstance(name, str) and name.startswith("jaxreason.tasks."))
    return [sys.modules[name] for name in own]


def prompts_identity(prompts: Sequence[tuple[str, Sequence[int], str]]) -> str:
    """A hash of (id, token ids, gold answer) of all questions, in order."""
    return _hash(f"{name} {list(tokens)} {answer}\n" for name, tokens, answer in prompts)


def _hash(parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()
