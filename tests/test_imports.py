"""Imports go one way: the table of who may import whom, enforced on the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxreason"
EVERYWHERE = {"errors", "results"}  # the lowest floor: anyone may import these

# Module or package -> what of jaxreason it may import beside them.
MAY_IMPORT = {
    "errors": set(),
    "device_state": set(),
    "tracking": set(),
    "config": set(),
    "results": {"config"},
    "runtime": set(),
    "memory": {"host_memory"},
    "host_memory": set(),
    "compiling": {"memory"},
    "sharding": {"config"},
    "recipes": {"config"},
    "recipe_fields": {"config"},
    "data": {"config"},
    "tasks": {"config", "data"},
    "procedural": {"config", "data"},
    "models": {"config", "memory", "runtime", "sharding"},
    "amazon_checkpoints": set(),
    "checkpoint": {"checkpoint_trees", "config", "runtime", "sharding"},
    "checkpoint_trees": {"amazon_checkpoints"},
    "sampling": {"compiling", "config", "memory", "models", "sharding"},
    "validation": {"config", "data", "models", "runtime", "sampling"},
    "training": {
        "checkpoint",
        "compiling",
        "config",
        "data",
        "memory",
        "models",
        "runtime",
        "sampling",
        "sharding",
        "tracking",
        "validation",
    },
    "rl": {
        "checkpoint",
        "compiling",
        "config",
        "data",
        "models",
        "runtime",
        "sampling",
        "sharding",
        "tasks",
        "tracking",
        "training",
        "validation",
    },
    "evaluation": {
        "checkpoint",
        "config",
        "data",
        "models",
        "runtime",
        "sampling",
        "sharding",
        "tasks",
        "tracking",
        "validation",
    },
    "analysis": {"checkpoint", "config", "data", "models", "runtime", "sharding"},
    "distill": {"config", "data", "models", "runtime", "sampling", "tasks", "tracking"},
    "report": {"config"},
    "studies": {
        "analysis",
        "chat",
        "config",
        "data",
        "device_state",
        "distill",
        "evaluation",
        "models",
        "plan",
        "procedural",
        "recipes",
        "report",
        "rl",
        "runtime",
        "sampling",
        "serve",
        "sharding",
        "tasks",
        "training",
    },
    "chat": {"compiling", "config", "data", "host_memory", "models", "sampling", "sharding"},
    "serve": {"compiling", "config", "data", "host_memory", "models", "sampling", "sharding"},
    "verbs": None,  # anything
    "plan": {
        "compiling",
        "config",
        "data",
        "evaluation",
        "models",
        "rl",
        "sampling",
        "sharding",
        "training",
    },
    "cli": None,  # anything
    "__main__": {"cli", "data", "host_memory"},
}
# Outside package -> the only parts of jaxreason that may import it.
ONLY_IN = {
    "flax": {"models"},
    "optax": {"training", "rl"},
    "orbax": {"amazon_checkpoints", "checkpoint_trees"},
    "grain": {"data"},
    "datasets": {"data"},
    "transformers": {"data", "models"},
    "lm_eval": {"evaluation"},
    "inspect_ai": {"evaluation"},
    "fastapi": {"serve"},
    "httpx": {"distill"},
    "prometheus_client": {"serve"},
    "pydantic": {"serve"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "matplotlib": {"report"},
    "jinja2": {"report", "data"},
    "reasoning_gym": {"data", "tasks"},
    "math_verify": {"tasks"},
}
WITHOUT_JAX = {
    "data",
    "tasks",
    "report",
    "config",
    "recipes",
    "errors",
    "results",
}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _everywhere(part: str) -> set[str]:
    return {"errors": set(), "config": {"errors"}, "results": {"errors"}}.get(part, EVERYWHERE)


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


FILES = sorted(
    p
    for p in PACKAGE.rglob("*.py")
    if p != PACKAGE / "__init__.py" and "recipes_data" not in p.parts
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_the_table_allows(path):
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is not in the table"
    own = {name.split(".")[1] for name in imports_of(path) if name.startswith("jaxreason.")}
    own.discard("__version__")
    if MAY_IMPORT[part] is not None:
        assert own - {part} - _everywhere(part) <= MAY_IMPORT[part]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_an_outside_library_is_used_in_its_own_part_only(path):
    outside = {name.split(".")[0] for name in imports_of(path)}
    for library, parts in ONLY_IN.items():
        assert library not in outside or part_of(path) in parts, f"{path.name} imports {library}"
    if part_of(path) in WITHOUT_JAX:
        assert "jax" not in outside


def test_no_file_is_longer_than_400_lines():
    assert {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400} == {}


# The longest function of a file, in lines; the two training loops are read from top to bottom.
LONGEST, LOOPS = 80, {"rl/loop.py": 120, "training/sft.py": 120}


def test_no_function_is_longer_than_80_lines_but_the_two_loops():
    longest = {}
    for path in PACKAGE.rglob("*.py"):
        functions = [
            node.end_lineno - node.lineno + 1
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        longest[str(path.relative_to(PACKAGE))] = max(functions, default=0)
    assert {x: n for x, n in longest.items() if n > LOOPS.get(x, LONGEST)} == {}


def test_the_table_has_no_entry_for_a_part_that_is_gone():
    assert set(MAY_IMPORT) == {part_of(path) for path in FILES}
