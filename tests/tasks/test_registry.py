import pytest

from jaxreason.tasks.registry import TASKS, find_task, summarize


def test_every_task_is_complete():
    for task in TASKS.values():
        assert task.kind in ("generate", "choose")
        assert (task.choices is not None) == (task.kind == "choose")


def test_only_three_tasks_have_something_to_load():
    loading = [name for name, task in TASKS.items() if task.worker_setup]
    assert loading == ["math", "ifeval_paper", "ifeval"]


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'maths' is unknown; there are math, gsm8k"):
        find_task("maths")


def test_a_set_is_summarized_by_the_means_of_its_scores():
    rows = [{"accuracy": 1.0, "answered": 1.0}, {"accuracy": 0.0, "answered": 1.0}]
    assert summarize(TASKS["gsm8k"], [None, None], rows) == {"accuracy": 0.5, "answered": 1.0}
    with pytest.raises(ValueError, match="nothing to summarize"):
        summarize(TASKS["gsm8k"], [], [])
