"""Every grader is linear: the replies of a broken model take no time worth naming."""

import dataclasses

import pytest
from degenerate_replies import LENGTH, REPLIES, UNITS, arguments_of, example_of

from jaxreason.tasks.ifeval_checks import INSTRUCTIONS
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool

# They read a reply as the others do, and then do less: no fraction is computed. So they get the units alone.
READ_AS_OTHERS = {"gsm8k_strict": "gsm8k", "last_number_strict": "last_number"}
FAR_TOO_LONG_S = 8.0  # a quadratic grader takes longer, a linear one a fraction of a second
SOON_S = 20.0  # it takes a second; the machine may have much other work


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.kind == "generate"])
@pytest.mark.slow
def test_forty_thousand_characters_of_anything_are_graded(task):
    costly = task.startswith("ifeval") or TASKS[task].runs_code
    names = [*UNITS] if costly or task in READ_AS_OTHERS else [*REPLIES]
    example = example_of(task)
    with VerifierPool(2, FAR_TOO_LONG_S) as pool:
        verdicts = pool.score(task, [(example, REPLIES[name]) for name in names])
    errors = {name: v.error for name, v in zip(names, verdicts, strict=True) if v.error}
    assert errors == {}
    assert all(TASKS[task].primary in v.scores for v in verdicts)


@pytest.mark.parametrize("task", READ_AS_OTHERS)
def test_a_strict_grader_of_numbers_extracts_as_the_other_does(task):
    assert TASKS[task].extract is TASKS[READ_AS_OTHERS[task]].extract


SLOW_TO_READ = {
    "unions": r"(0,1)\cup", "powers of sums": "(x+y)^9", "powers of x": "x^9", "towers": "2^{2^",
    "factorials": "9!", "bars": "|", "sums": r"\sum_{k=1}^{9} k+", "integrals": r"\int_0^1 ",
    "chains": "1=", "inequalities": "1<x<", "points": "(1,", "units": r"\text{cm}", "signs": r"1\pm ",
}  # fmt: skip


@pytest.mark.parametrize("task", ["math", "math_strict"])
def test_short_answers_that_mean_nothing_are_soon_found_to_be_wrong(task):
    example = dataclasses.replace(example_of(task), answer=r"\frac{\sqrt{3}}{2}")
    units = UNITS | SLOW_TO_READ
    texts = {name: (unit * 380)[:380] for name, unit in units.items()}
    texts["names"] = r"\text{" + "I, " * 120 + "I}"
    items = [(example, rf"\boxed{{{text}}}") for text in texts.values()]
    with VerifierPool(2, SOON_S) as pool:
        verdicts = dict(zip(texts, pool.score(task, items), strict=True))
    assert {name: v.error for name, v in verdicts.items() if v.error} == {}
    assert {name for name, v in verdicts.items() if v.scores["accuracy"]} == set()


def test_the_replies_are_as_long_as_they_should_be_and_every_instruction_is_among_them():
    assert {len(text) for text in REPLIES.values()} == {LENGTH}
    names = example_of("ifeval").metadata["instruction_id_list"]
    assert names == [*INSTRUCTIONS]
    assert all(INSTRUCTIONS[name]("So?", **arguments_of(name)) in (True, False) for name in names)
