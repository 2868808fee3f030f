"""What samples and grades were made with, as hashes that a resumed run is compared with."""

import ast
import hashlib
import importlib
import importlib.metadata
import inspect
import json
from collections.abc import Sequence

from jaxreason.evaluation.benchmarks import Item
from jaxreason.tasks.registry import Task

TASKS_PACKAGE = "jaxreason.tasks"
FORMAT = 2  # of sample and grade files


def grader_version(task: Task) -> str:
    """A hash of the source of a task's grader, of the modules of `jaxreason.tasks` that it uses, and of the versions
    of the packages that it names.
    """
    waiting, seen = [task.score.__module__], {}
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = inspect.getsource(importlib.import_module(name))
            waiting += used_modules(seen[name])
    versions = [f"{name} {_version(name)}" for name in task.packages]
    return _hash([seen[name] for name in sorted(seen)] + versions)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def used_modules(source: str) -> list[str]:
    """The modules of `jaxreason.tasks` that a source imports, or imports from."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == TASKS_PACKAGE:
            found += [f"{TASKS_PACKAGE}.{name.name}" for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return [name for name in found if name.startswith(f"{TASKS_PACKAGE}.")]


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
