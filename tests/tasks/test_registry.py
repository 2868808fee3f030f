import pytest

from jaxreason.tasks.registry import TASKS, find_task, strict_task, summarize


def test_every_task_is_complete():
    for task in TASKS.values():
        assert task.kind in ("generate", "choose")
        assert (task.choices is not None) == (task.kind == "choose")


def test_tasks_that_have_something_to_load_are_those_with_a_library_or_a_jail():
    code = ["code", "code_paper", "humaneval", "mbpp"]
    loading = [name for name, task in TASKS.items() if task.worker_setup]
    assert loading == ["math", "math_strict", "ifeval_paper", "ifeval", *code]
    assert [name for name, task in TASKS.items() if task.runs_code] == code
    assert [name for name, task in TASKS.items() if task.timeout_s] == code


@pytest.mark.parametrize("name", [name for name in TASKS if name.endswith("_strict")])
def test_a_strict_task_finds_and_names_what_its_lenient_one_does(name):
    strict, lenient = TASKS[name], TASKS[name.removesuffix("_strict")]
    assert (strict.extract, strict.primary, strict.kind) == (
        lenient.extract, lenient.primary, lenient.kind,
    )  # fmt: skip
    assert strict_task(name.removesuffix("_strict")) == name == strict_task(name)


def test_a_task_without_a_strict_one_is_its_own():
    assert strict_task("hash_answer") == "hash_answer"


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'maths' is unknown; there are math, gsm8k"):
        find_task("maths")


def test_a_set_is_summarized_by_the_means_of_its_scores():
    rows = [{"accuracy": 1.0, "answered": 1.0}, {"accuracy": 0.0, "answered": 1.0}]
    assert summarize(TASKS["gsm8k"], [None, None], rows) == {"accuracy": 0.5, "answered": 1.0}
    with pytest.raises(ValueError, match="nothing to summarize"):
        summarize(TASKS["gsm8k"], [], [])
