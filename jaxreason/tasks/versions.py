"""Which version of a grader made a grade: a hash of all that it is made of."""

import ast
import hashlib
import importlib
import inspect

from jaxreason.results.code_version import package_version
from jaxreason.tasks.registry import Task

TASKS_PACKAGE = "jaxreason.tasks"


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
    versions = [f"{name} {package_version(name)}" for name in task.packages]
    digest = hashlib.sha256()
    for part in [seen[name] for name in sorted(seen)] + versions:
        digest.update(part.encode(errors="surrogatepass"))
    return digest.hexdigest()


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
