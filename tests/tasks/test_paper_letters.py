r"""The paper's letter graders: their mistakes are part of the score and stay as they are."""

import random

import pytest
from letter_replies import ALL

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS

CHOICES = {"text": ["load", "unload", "drive", "wait"], "label": ["A", "B", "C", "D"]}
GPQA = [
    (r"\boxed{D}", "D"),
    ("The answer is d.", "D"),
    ("D, since this is a proton", "A"),  # the article counts
    ("Answer: B. Options C and D are wrong", "D"),
    ("<think>Not C.", "C"),  # thoughts count
    ("<think>It is C.</think>The answer is B, I am sure.", "B"),
    ("B2 and C_1 and xD", None),
    ("I do not know", None),
    ("", None),
]
ACPBENCH = [
    ("**Final Answer**: B.", "B"),
    ("**Final Answer**: B", "B"),
    ("... **Final Answer**: B.\n\n", "B"),
    ("B", "B"),
    ("**Final Answer**: **B**", "**B*"),
    ("**Final Answer**: unload the car.", "unload the car"),
    ("**Final Answer**: B.\nThis IS KNOWN", "B"),
    ("**Final Answer**: B.\nA car is there", "A"),  # the article counts
    ("**Final Answer**: B. Done", "D"),  # so does any capital up to D
    ("<think>C", "C"),
    ("the text says so", "(A)"),  # a key of `choices`, taken for a choice
    ("no answer", None),
    ("", None),
]


def item(answer: str = "B") -> Example:
    return Example("1", "multiple_choice", (), answer, "", {"choices": CHOICES})


@pytest.mark.parametrize(("text", "letter"), GPQA)
def test_gpqa_takes_the_last_letter_even_if_it_is_an_article(text, letter):
    task = TASKS["gpqa_paper"]
    assert task.extract(item(), text) == letter
    expected = {"accuracy": float(letter == "B"), "answered": float(letter is not None)}
    assert task.score(item(), text) == expected


@pytest.mark.parametrize(("text", "found"), ACPBENCH)
def test_acpbench_takes_the_last_match_of_the_filter(text, found):
    task = TASKS["acpbench_paper"]
    assert task.extract(item(), text) == found
    right = found is not None and found.strip("*.") == "B"
    assert task.score(item(), text) == {
        "accuracy": float(right),
        "answered": float(found is not None),
    }


def test_the_paper_and_the_robust_grader_differ_where_the_accidents_are():
    text = "The answer is B. A car is on the ferry."
    assert [TASKS[name].score(item(), text)["accuracy"] for name in (
        "gpqa_paper", "acpbench_paper", "multiple_choice")] == [0.0, 0.0, 1.0]  # fmt: skip


def random_replies(count: int) -> list[str]:
    parts = [
        "A", "B", "C", "D", "E", "a", " ", " ", "\n", ".", ",", ":", "**", "*", "[", "]", '"', "\\",
        "**Final Answer**: ", "**Answer**: ", "answer is ", "**answer**: ", "text", "label", "x",
        "car", "\u201c", "\u00e9", "-", "1", "Block", "\t",
    ]  # fmt: skip
    chance = random.Random(0)
    return ["".join(chance.choices(parts, k=chance.randint(0, 9))) for _ in range(count)]


def test_acpbench_is_graded_as_the_harness_does():
    extraction = pytest.importorskip("lm_eval.filters.extraction")
    metrics = pytest.importorskip("lm_eval.api.metrics")
    yaml = pytest.importorskip("yaml")
    import lm_eval.tasks

    folder = next(iter(lm_eval.tasks.__path__))
    with open(f"{folder}/acpbench/mcq_cot_2shot/_mcq_cot_2shot_yaml") as file:
        setting = yaml.safe_load(file)
    chain = setting["filter_list"][0]["filter"][0]
    released = extraction.MultiChoiceRegexFilter(
        **{k: v for k, v in chain.items() if k != "function"}
    )
    options = {k: v for k, v in setting["metric_list"][0].items() if k != "metric"}
    replies = [text for text, _ in ALL + ACPBENCH + GPQA] + random_replies(3000)
    found = [
        x for [x] in released.apply([[x] for x in replies], [{"choices": CHOICES}] * len(replies))
    ]
    task = TASKS["acpbench_paper"]
    for reply, theirs in zip(replies, found, strict=True):
        assert (task.extract(item(), reply) or "[invalid]") == theirs, reply
        for gold in "AB":
            right = metrics.exact_match_hf_evaluate([theirs], [gold], **options)["exact_match"]
            assert task.score(item(gold), reply)["accuracy"] == float(right), reply
