"""What a grade depends on."""

import pytest

from jaxreason.errors import UserError
from jaxreason.recipes import run_file
from jaxreason.tasks import registry
from jaxreason.tasks.registry import TASKS, Task, grader_version, used_modules


def test_modules_are_found_however_they_are_imported():
    source = (
        "from jaxreason.tasks import math, reply_text\nfrom jaxreason.tasks.letters import X as Y\n"
    )
    source += "import jaxreason.tasks.coqa\nfrom jaxreason.data.examples import Example\n"
    assert list(used_modules(source)) == [
        "jaxreason.tasks.math",
        "jaxreason.tasks.reply_text",
        "jaxreason.tasks.letters",
        "jaxreason.tasks.coqa",
    ]


@pytest.mark.parametrize(
    ("task", "module", "changes"),
    [
        ("multiple_choice", "letter_patterns", True),  # of which only patterns are imported
        ("math", "latex_answers", True),
        ("math", "coqa", False),
    ],
)
def test_a_version_changes_with_every_source_that_the_grader_uses(
    monkeypatch, task, module, changes
):
    before, getsource = grader_version(TASKS[task]), registry.inspect.getsource
    monkeypatch.setattr(
        registry.inspect,
        "getsource",
        lambda found: getsource(found) + "#" * found.__name__.endswith(f".{module}"),
    )
    assert (grader_version(TASKS[task]) != before) == changes


def test_a_version_changes_with_a_package_that_the_task_names(monkeypatch):
    before = {name: grader_version(TASKS[name]) for name in ("math", "hash_answer")}
    monkeypatch.setattr(registry.importlib.metadata, "version", lambda name: "another")
    after = {name: grader_version(TASKS[name]) for name in before}
    assert after["math"] != before["math"] and after["hash_answer"] == before["hash_answer"]


def test_a_grader_that_stands_in_a_recipe_is_refused_with_the_place_where_it_belongs(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def score(example, text):\n    return {'accuracy': 1.0}\n")
    task = Task("generate", "accuracy", run_file(file).score, lambda example, text: text)
    with pytest.raises(
        UserError, match=r"in the module 'recipe'.*Expected a file of jaxreason/tasks"
    ):
        grader_version(task)
