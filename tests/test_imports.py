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
    "profiling": set(),
    "config": set(),
    "results": {"config"},
    "metrics": {"config", "profiling", "event_files", "trackers"},
    "event_files": set(),
    "trackers": set(),
    "interrupt": set(),
    "memory": set(),
    "host_memory": set(),
    "compiling": set(),
    "sharding": {"config"},
    "ending": set(),
    "distributed": {"ending", "tpu_hosts"},
    "tpu_hosts": set(),
    "recipes": {"config", "recipe_imports"},
    "recipe_imports": set(),
    "data": {"config"},
    "tasks": {"data", "config"},
    "models": {"sharding", "config", "distributed"},
    "amazon_checkpoints": set(),
    "checkpoint": {"amazon_checkpoints", "sharding", "config", "distributed"},
    "sampling": {"models", "sharding", "config", "compiling"},
    "validation": {"config", "data", "distributed", "models", "sampling"},
    "base_kl": {"config", "data", "distributed", "models", "sampling", "sharding"},
    "training": {
        "compiling",
        "base_kl",
        "sampling",
        "trackers",
        "validation",
        "data",
        "models",
        "sharding",
        "checkpoint",
        "metrics",
        "config",
        "distributed",
        "interrupt",
    },
    "rl": {
        "compiling",
        "base_kl",
        "trackers",
        "validation",
        "distributed",
        "training",
        "sampling",
        "tasks",
        "data",
        "models",
        "sharding",
        "checkpoint",
        "metrics",
        "config",
        "interrupt",
    },
    "evaluation": {
        "validation",
        "distributed",
        "sampling",
        "tasks",
        "data",
        "models",
        "sharding",
        "checkpoint",
        "metrics",
        "config",
        "interrupt",
    },
    "analysis": {
        "data",
        "models",
        "sharding",
        "checkpoint",
        "metrics",
        "config",
        "distributed",
        "interrupt",
    },
    "distill": {
        "config",
        "data",
        "distributed",
        "interrupt",
        "metrics",
        "models",
        "sampling",
        "tasks",
    },
    "report": {"config"},
    "questions": {"config", "data", "tasks", "distributed", "question_set"},
    "question_set": {"config", "data", "tasks"},
    "contamination": {"config", "data", "distributed", "evaluation", "training"},
    "workload": {"data", "evaluation", "models", "plan", "rl", "tasks", "training"},
    "dry_run": {
        "analysis",
        "arms",
        "config",
        "evaluation",
        "lineage",
        "models",
        "plan",
        "question_set",
        "questions",
        "sharding",
        "study",
        "training",
        "workload",
    },
    "convert": {"config", "checkpoint", "data", "distributed", "models", "sharding", "training"},
    "followed_arms": {
        "analysis",
        "arms",
        "config",
        "evaluation",
        "follow",
        "lineage",
        "models",
        "rl",
        "training",
    },
    "follow": {
        "analysis",
        "config",
        "data",
        "distributed",
        "evaluation",
        "interrupt",
        "models",
        "training",
        "training_texts",
    },
    "surgery": {"analysis", "config", "data", "models"},
    "cross_replies": {"analysis", "data", "evaluation", "sampling", "tasks"},
    "cross_sample": {
        "analysis",
        "config",
        "cross_replies",
        "data",
        "distributed",
        "evaluation",
        "interrupt",
        "models",
        "sharding",
    },
    "chat": {"compiling", "config", "data", "models", "sampling", "sharding"},
    "serve": {"compiling", "config", "data", "models", "sampling", "sharding"},
    "arms": {"config", "evaluation", "recipes", "rl", "training"},
    "lineage": {"arms", "config"},
    "joined_studies": {"config"},
    "manifest": {"arms", "config", "distributed", "evaluation", "lineage"},
    "study": {
        "device_state",
        "analysis",
        "arms",
        "chat",
        "config",
        "contamination",
        "cross_sample",
        "data",
        "distill",
        "distributed",
        "ending",
        "evaluation",
        "followed_arms",
        "interrupt",
        "lineage",
        "manifest",
        "models",
        "plan",
        "question_set",
        "questions",
        "recipes",
        "report",
        "rl",
        "serve",
        "sharding",
        "study_checks",
        "training",
        "training_texts",
    },
    "training_texts": {
        "analysis",
        "base_kl",
        "config",
        "data",
        "distributed",
        "models",
        "rl",
        "training",
    },
    "study_checks": {
        "followed_arms",
        "analysis",
        "arms",
        "config",
        "contamination",
        "data",
        "evaluation",
        "lineage",
        "models",
        "rl",
        "training",
    },
    "verbs": None,  # anything
    "plan": {"compiling", "config", "data", "models", "rl", "sampling", "sharding", "training"},
    "cli": None,  # anything
}
# Outside package -> the only parts of jaxreason that may import it.
ONLY_IN = {
    "flax": {"models"},
    "optax": {"training", "rl"},
    "orbax": {"amazon_checkpoints", "checkpoint"},
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
    "recipe_imports",
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


def test_the_table_has_no_entry_for_a_part_that_is_gone():
    assert set(MAY_IMPORT) == {part_of(path) for path in FILES}
