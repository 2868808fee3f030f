"""What an evaluation was made with, as hashes that a resumed run is compared with."""

import hashlib
import inspect
import sys
from collections.abc import Sequence
from types import ModuleType

from jaxreason.tasks.registry import Task

FORMAT = 1  # of the sample files


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
