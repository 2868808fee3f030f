import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS, find_task, strict_task, summarize


def test_every_task_is_complete():
    for task in TASKS.values():
        assert task.kind in ("generate", "choose")
        assert (task.choices is not None) == (task.kind == "choose")


CODE = ("code", "code_paper", "humaneval", "mbpp")  # tests/tasks/test_code.py
# task -> the gold answer, a right reply and a wrong one, or log-likelihoods where there are choices. What is wrong to a
# strict task, and to some of the paper's, is right to the task of the plain name.
GRADED = {
    "math": ("4", r"\boxed{2+2}", r"\boxed{5}"),
    "math_strict": ("4", r"\boxed{4}", r"\boxed{2+2}"),
    "math_paper": ("4", r"\boxed{4}", r"\boxed{4.0}"),
    "olympiad_paper": ("4", r"Final Answer: \boxed{4}", r"\boxed{5}"),
    "gsm8k": ("4", "so 8/2", "#### 5"),
    "gsm8k_strict": ("4", "#### 4", "#### 8/2"),
    "last_number": ("4", "so 8/2", "4 - 3 = 1"),
    "last_number_strict": ("4", "7 - 3 = 4", "so 8/2"),
    "multiple_choice": ("B", "Answer: B", "Answer: A"),
    "gpqa_paper": ("B", r"\boxed{B}", r"\boxed{A}"),
    "acpbench_paper": ("B", "**Final Answer**: B.", "**Final Answer**: A."),
    "mc_taco": ("yes", [-2.0, -1.0], [-1.0, -2.0]),
    "mc_taco_paper": ("yes", [-2.0, -1.0], [-1.0, -2.0]),
    "headqa": ("B", [-2.0, -1.0], [-1.0, -2.0]),
    "coqa": ("rain", "A: rain", "A: sun"),
    "coqa_paper": ("rain", "rain\nQ: sun?", "sun\nA: rain"),
    "halueval": ("yes", "It may be.\nJudgement: Yes", "Judgement: No"),
    "halueval_paper": ("yes", "Yes", "It may be.\nJudgement: Yes"),
    "ifeval": ("", "so it is", "so, it is"),
    "ifeval_paper": ("", "so it is", "so, it is"),
    "hash_answer": ("4", "2+2=4#4", "4"),
}


@pytest.mark.parametrize("name", [name for name in TASKS if name not in CODE])
def test_every_task_scores_a_right_reply_one_and_a_wrong_one_zero(name):
    assert {*GRADED, *CODE} == set(TASKS)
    (answer, right, wrong), task = GRADED[name], TASKS[name]
    metadata = {"choices": {"label": ["A", "B"], "text": ["stay", "go"]}}
    metadata |= {"references": [answer] * 2, "sentence": "It is.", "question": "so?"}
    metadata |= {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    question = Example("1", name, ({"role": "user", "content": "so?"},), answer, "", metadata)
    scores = [task.score(question, reply) for reply in (right, wrong)]
    primary = [summarize(task, [question], [score])[task.primary] for score in scores]
    assert primary == [1.0, 0.0]


def test_tasks_that_have_something_to_load_are_those_with_a_library_or_a_jail():
    code = [*CODE]
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
