import numpy as np
import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.registry import TASKS, summarize

TASK = TASKS["headqa"]
TEXTS = ["Fibronectin", "Collagen", "Integrins of the membrane", "ADN"]
OPTIONS = {"label": ["A", "B", "C", "D"], "text": TEXTS}


def example(answer: str = "B", **metadata) -> Example:
    return Example("e5", "headqa", (), answer, "", {"choices": OPTIONS} | metadata)


def test_the_continuations_are_the_full_texts_of_the_options():
    assert TASK.kind == "choose"
    assert TASK.choices(example()) == tuple(TEXTS)


@pytest.mark.parametrize(
    ("logprobs", "answer", "accuracy", "normalized"),
    [
        ([-9.0, -4.0, -30.0, -5.0], "B", 1.0, 1.0),
        ([-9.0, -4.0, -30.0, -5.0], "A", 0.0, 0.0),
        ([-9.0, -4.0, -30.0, -5.0], "D", 0.0, 0.0),
        ([-9.0, -8.0, -10.0, -5.0], "D", 1.0, 0.0),  # short, so likely
        ([-9.0, -8.0, -10.0, -5.0], "C", 0.0, 1.0),  # long, and likely for it
        ([-5.0] * 4, "A", 1.0, 0.0),  # a tie takes the first
        ([-5.0] * 4, "B", 0.0, 0.0),
    ],
)
def test_the_likeliest_option_is_chosen_as_a_whole_and_by_the_character(
    logprobs, answer, accuracy, normalized
):
    scores = TASK.score(example(answer), logprobs)
    assert scores == {"accuracy": accuracy, "accuracy_norm": normalized}


def test_the_label_of_the_chosen_option_is_extracted():
    assert TASK.extract(example(), [-9.0, -8.0, -10.0, -5.0]) == "D"
    numbers = example("2", choices={"label": [1, 2, 3, 4], "text": TEXTS})
    assert TASK.extract(numbers, [-9.0, -4.0, -10.0, -5.0]) == "2"
    assert TASK.score(numbers, [-9.0, -4.0, -10.0, -5.0])["accuracy"] == 1.0


def test_choices_agree_with_the_formula_of_the_harness_on_random_likelihoods():
    draw = np.random.default_rng(0)
    lengths = np.array([float(len(text)) for text in TEXTS])
    for gold in draw.integers(0, 4, 500):
        logprobs = -draw.gamma(2.0, 5.0, 4)
        scores = TASK.score(example("ABCD"[gold]), logprobs.tolist())
        assert scores["accuracy"] == float(np.argmax(logprobs) == gold)
        assert scores["accuracy_norm"] == float(np.argmax(logprobs / lengths) == gold)


def test_a_model_that_always_takes_the_first_option_scores_the_share_of_its_label():
    items = [example(answer) for answer in "AABCDDDD"]
    rows = [TASK.score(item, [-1.0, -2.0, -3.0, -4.0]) for item in items]
    assert summarize(TASK, items, rows)["accuracy"] == 2 / 8


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"choices": None}, "needs metadata 'choices'"),
        ({"choices": TEXTS}, "needs metadata 'choices'"),
        ({"choices": {"text": TEXTS}}, "needs metadata 'choices'"),
        ({"choices": {"label": ["A"], "text": TEXTS}}, "1 labels need as many texts"),
        ({"choices": {"label": ["A", "B"], "text": ["x", ""]}}, "none of them empty"),
        ({"choices": {"label": ["A", "B"], "text": ["x", None]}}, "none of them empty"),
    ],
)
def test_options_that_are_missing_or_empty_are_errors_that_name_the_example(metadata, message):
    for call in (TASK.choices, lambda e: TASK.score(e, [-1.0, -2.0])):
        with pytest.raises(UserError, match=f"'e5': .*{message}"):
            call(example(**metadata))


@pytest.mark.parametrize("answer", ["", "E", "Collagen", "\ud800"])
def test_an_answer_that_is_no_label_is_an_error(answer):
    with pytest.raises(UserError, match=r"'e5': the answer .* is none of"):
        TASK.score(example(answer), [-1.0] * 4)
