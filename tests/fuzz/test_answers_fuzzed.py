"""Whatever a model writes, a grader gives a score between 0 and 1 or names what went wrong."""

import dataclasses
import math

import pytest
from degenerate_replies import example_of
from fuzzing import CASES, FUZZ
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool

LONGEST_S = 20.0
PIECES = [
    "the answer is ", "Answer: ", "\\boxed{", "{", "}", "(", ")", "[", "]", "A", "B", "C)", "(D)", "yes", "No",
    "\\frac{", "\\dfrac12", "\\sqrt{", "^", "_", "12", "-3.5", "1,000", "1/2", "0", "1e9", "%", "\\%", "$", "$$",
    "\\text{", " m/s", " and ", ",", ";", "=", "\\le", "<", "\\infty", "\\pi", "x", "y^2", "+", "-", "*", "\\cdot",
    "!", "mod 7", "#", "#### ", "<think>", "</think>", "\n", "\n\n", " ", "```python\n", "```", "\\begin{pmatrix}",
    "\\end{pmatrix}", "&", "\\\\", "\u0660", "\u00bd", "\u2212", "\ud800", "\0", "\u2028", "e\u0301", "factorial(",
    "2**", "9" * 40, "\\binom{", "\\sum_{i=1}^", "\\int ", "\\log ", "\\sin ", "\\{", "\\}", "\\cup", "\\emptyset",
    "10:30", " pm", "\u20ac", "dollars", "true", "null",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=30).map("".join)
# Graders whose library (sympy) may take long on an odd answer: they run where they can be killed, as in every run.
IN_WORKER = ("math", "math_strict")
TASKS_OF_TEXT = [n for n, task in TASKS.items() if task.kind == "generate" and not task.runs_code]


def check_scores(task: str, scores: dict[str, float]) -> None:
    assert 0.0 <= scores[TASKS[task].primary] <= 1.0
    assert all(math.isfinite(value) and value >= 0.0 for value in scores.values()), scores


@pytest.mark.parametrize("task", [name for name in TASKS_OF_TEXT if name not in IN_WORKER])
def test_a_reply_of_any_kind_gets_scores_between_0_and_1(task):
    example = example_of(task)
    share = 10 if task.startswith("ifeval") else 1  # each case checks every instruction

    @settings(FUZZ, max_examples=max(1, CASES // share))
    @given(TEXTS)
    def check(text):
        check_scores(task, TASKS[task].score(example, text))
        found = TASKS[task].extract(example, text)
        assert found is None or isinstance(found, str)

    check()


@pytest.mark.parametrize("task", IN_WORKER)
def test_an_answer_of_any_kind_is_graded_or_named_a_timeout(task):
    wanted = [r"\frac{\sqrt{3}}{2}", "12", "(1, 2)", "x^2+1", "A", "10:30", r"\{1, 2\}"]
    with VerifierPool(1, LONGEST_S) as pool:

        @FUZZ
        @given(st.sampled_from(wanted), TEXTS)
        def check(answer, text):
            example = dataclasses.replace(example_of(task), answer=answer)
            (verdict,) = pool.score(task, [(example, rf"\boxed{{{text}}}")])
            if verdict.error is None:
                check_scores(task, verdict.scores)
            assert verdict.error is None or verdict.error.startswith("timeout"), verdict.error

        check()
        assert pool.failures["timeout"] <= CASES // 100
