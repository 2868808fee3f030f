"""Every variant's grader reads what its prompt asks for: right replies score 1, wrong ones 0."""

import pytest
from benchmark_rows import HUB, write_files

from jaxreason.evaluation.benchmarks import BENCHMARKS, load_items
from jaxreason.tasks.registry import TASKS


def letter(answer):
    return f"I think of it first.\n\nAnswer: {answer}"


def boxed(answer):
    return f"This is so: $\\boxed{{{answer}}}$"


# Prompt -> the form of a reply, from an answer.
FORMS = {
    "boxed": boxed,
    "letter": letter,
    "worked": lambda answer: f" Step 1: It sails. **Final Answer**: {answer}.",
    "short": lambda answer: f"It is told at the end.\n\nA: {answer}",
    "story": lambda answer: f" {answer}",
    "judge": lambda answer: f"Let me see.\n\nJudgement: {answer.capitalize()}",
    "marks": lambda answer: f" {answer.capitalize()}",
    "bare": lambda answer: answer,
    "paper": boxed,
}
WRONG = {"yes": "no", "no": "yes", "rain": "snow", "A": "B", "B": "C", "C": "D", "D": "A"}
ASKED = [(name, variant) for name in HUB for variant in BENCHMARKS[name].variants]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_files(root)
    return str(root)


def replies(task, prompt, example):
    """A right and a wrong reply to a question, as the grader is given them."""
    if task.kind == "choose":
        choices = task.choices(example)
        labels = example.metadata.get("choices", {}).get("label", choices)
        right = [-1.0 if label == example.answer else -9.0 for label in labels]
        return right, [-10.0 - value for value in right]
    answer = example.answer or "it"
    return FORMS[prompt](answer), FORMS[prompt](WRONG.get(answer, f"{answer}, 77"))


@pytest.mark.parametrize(("name", "variant"), ASKED)
def test_a_right_reply_in_the_form_asked_for_scores_1_and_a_wrong_one_0(name, variant, folder):
    benchmark = BENCHMARKS[name]
    prompt, task = benchmark.variants[variant].prompt, TASKS[benchmark.variants[variant].task]
    for item in load_items(name, benchmark.prompts[prompt], "files", folder, 0, 0):
        right, wrong = replies(task, prompt, item.example)
        metric = "accuracy" if task.primary == "balanced_accuracy" else task.primary
        scores = [task.score(item.example, reply)[metric] for reply in (right, wrong)]
        assert scores == [1.0, 0.0], (right, wrong)
        assert task.extract(item.example, right) is not None
