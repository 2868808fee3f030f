"""Every grader is linear: the replies of a broken model take no time worth naming."""

import pytest
from degenerate_replies import LENGTH, REPLIES, UNITS, arguments_of, example_of

from jaxreason.tasks.ifeval_checks import INSTRUCTIONS
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool

FAR_TOO_LONG_S = 20.0  # a quadratic grader takes minutes, a linear one well under a second


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.kind == "generate"])
def test_a_hundred_thousand_characters_of_anything_are_graded(task):
    names = [*UNITS] if task.startswith("ifeval") else [*REPLIES]
    example = example_of(task)
    with VerifierPool(2, FAR_TOO_LONG_S) as pool:
        verdicts = pool.score(task, [(example, REPLIES[name]) for name in names])
    errors = {name: v.error for name, v in zip(names, verdicts, strict=True) if v.error}
    assert errors == {}
    assert all(TASKS[task].primary in v.scores for v in verdicts)


def test_the_replies_are_as_long_as_they_should_be_and_every_instruction_is_among_them():
    assert {len(text) for text in REPLIES.values()} == {LENGTH}
    names = example_of("ifeval").metadata["instruction_id_list"]
    assert names == [*INSTRUCTIONS]
    assert all(INSTRUCTIONS[name]("So?", **arguments_of(name)) in (True, False) for name in names)
