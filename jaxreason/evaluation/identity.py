"""What samples and grades were made with, as hashes that a resumed run is compared with."""

import hashlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Sequence
from types import ModuleType

from jaxreason.evaluation.benchmarks import Item
from jaxreason.tasks.registry import Task

FORMAT = 2  # of sample and grade files


def grader_version(task: Task) -> str:
    """A hash of the source of a task's grader, of the modules of `jaxreason.tasks` that it uses, and of the versions
    of the packages that it names.
    """
    waiting, seen = [sys.modules[task.score.__module__]], {}
    while waiting:
        module = waiting.pop()
        if module.__name__ in seen:
            continue
        seen[module.__name__] = inspect.getsource(module)
        waiting += _used(module)
    versions = [f"{name} {_version(name)}" for name in task.packages]
    return _hash([seen[name] for name in sorted(seen)] + versions)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _used(module: ModuleType) -> list[ModuleType]:
    names = {getattr(value, "__module__", None) for value in vars(module).values()}
    own = (name for name in names if isinstance(name, str) and name.startswith("jaxreason.tasks."))
    return [sys.modules[name] for name in own]


def prompts_identity(prompts: Sequence[tuple[str, Sequence[int]]]) -> str:
    """A hash of (id, token ids) of all questions, in order."""
    return _hash(f"{name} {list(tokens)}\n" for name, tokens in prompts)


def gold_identity(items: Sequence[Item]) -> str:
    """A hash of what a grader knows of the questions: gold answers and metadata, but for the places of their rows."""
    known = []
    for item in items:
        metadata = {name: v for name, v in item.example.metadata.items() if name != "where"}
        known.append([item.id, item.example.answer, metadata])
    return _hash(json.dumps(entry, sort_keys=True, default=str) for entry in known)


def _hash(parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode(errors="surrogatepass"))
    return digest.hexdigest()
