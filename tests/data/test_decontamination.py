"""Which training questions are an evaluation's: what is found however it is typeset, and what is not."""

import json

import pytest

from jaxreason.data.decontamination import decontaminate
from jaxreason.data.examples import Example, load_examples, question
from jaxreason.data.rows import DropLog

WORDS = [f"word{number}" for number in range(14)]
PRIME = "where $m$ and $n$ are relatively prime positive integers. Find $m+n$."


def example(text, source="train", prompt=None, answer="", id=None):
    messages = ({"role": "user", "content": prompt or text},)
    return Example(id or text[:9], "t", messages, answer, source, {"question": text})


def removed(train, evaluation):
    """The reason for which one question is removed for the other; None where it stays."""
    _, report = decontaminate([train], [evaluation])
    return report["items"][0]["reason"] if report["items"] else None


def test_thirteen_shared_words_are_contamination_and_twelve_are_not():
    evaluation = [example("Start. " + " ".join(WORDS[:13]) + " end?", "math")]
    thirteen = example("Other: " + ", ".join(WORDS[:13]).upper() + "!")
    twelve = example("Other: " + " ".join(WORDS[:12]) + " else")
    kept, report = decontaminate([thirteen, twelve], evaluation)
    assert kept == [twelve]
    assert report["removed"] == {"shared words": 1}
    assert report["items"][0]["text"] == " ".join(WORDS[:13])
    assert report["items"][0]["evaluation_source"] == "math"


def test_equal_short_questions_are_found_but_signs_count():
    evaluation = [example("What is  4 - 1?", "sums")]
    same, other = example("what is 4 - 1?"), example("What is 4 + 1?")
    kept, report = decontaminate([same, other], evaluation)
    assert kept == [other]
    assert report["items"][0]["reason"] == "same question"
    assert report["by_evaluation_source"] == {"sums": 1}
    assert report["by_source"] == {"train": 1}


def test_words_about_the_form_of_the_answer_alone_are_no_contamination():
    train = example(
        rf"A coin is thrown 7 times. The chance of 3 heads is $\frac{{m}}{{n}}$, {PRIME}"
    )
    evaluation = example(
        rf"Ann cycles around a lake. The area of the lake is $\frac{{m}}{{n}}$, {PRIME}"
    )
    assert removed(train, evaluation) is None


def test_a_question_is_found_whatever_form_of_the_answer_it_asks_for():
    text = (
        "Triangle $ABC$ is isosceles, with $AB=AC$ and altitude $AM=11.$ Suppose that there is a point $D$ on "
        r"$\overline{AM}$ with $AD=10$ and $\angle BDC=3\angle BAC.$ "
    )
    train = (
        text
        + r"Then its perimeter may be written in the form $a+\sqrt{b},$ where $a$ and $b$ are integers. Find $a+b.$"
    )
    assert removed(example(train), example(text + "Find the perimeter.")) == "shared words"


def test_a_short_question_is_found_in_other_typesetting():
    train = r"Compute \[\cos^3 \frac{2 \pi}{7} + \cos^3 \frac{4 \pi}{7}.\]"
    evaluation = r"Compute $\cos ^{3} \frac{2 \pi}{7}+\cos ^{3} \dfrac{4 \pi}{7}$."
    assert removed(example(train), example(evaluation)) == "same question"


def test_a_short_question_in_other_words_is_found_by_its_numbers_and_its_answer():
    train = r"How many integers are there in the solution set of $|x-2| \leq 5.6$?"
    evaluation = r"How many integers are in the solution set of $|x-2|\leq5.6$ ?"
    assert removed(example(train, answer="11"), example(evaluation, answer="$11$")) == "reworded"
    assert removed(example(train, answer="11"), example(evaluation, answer="12")) is None
    assert removed(example(train), example(evaluation)) is None


def test_a_pattern_with_other_numbers_is_another_question_and_counted():
    pattern = "A train goes {} miles in 3 hours. At the same rate, how many further hours would it take to go {} miles?"
    train, evaluation = example(pattern.format(270, 180)), example(pattern.format(1200, 2000))
    kept, report = decontaminate([train], [evaluation])
    assert kept == [train] and report["alike"] == 1


def test_what_many_questions_say_with_other_numbers_is_no_contamination():
    stock = "find the shape that is described by this equation in cylindrical coordinates of space and name it"
    train = [example(f"Let r = {n} be given, {stock}") for n in range(6)]
    kept, _ = decontaminate(train, [example(f"When z = 9 is known, {stock}")])
    assert kept == train


def test_many_copies_of_one_question_do_not_make_it_a_stock_phrase():
    text = (
        "Five friends of 7 towns meet on 3 days in the 12 houses that they own beside the old river"
    )
    train = [example(f"{start} {text}, how often?", id=start) for start in "ABCDEFGH"]
    kept, report = decontaminate(train, [example(f"{text}. How many times do they meet?")])
    assert not kept and report["removed"] == {"shared words": 8}


def test_a_prompt_template_that_both_share_is_no_contamination():
    template = " ".join(WORDS) + ": "
    train = [example("2+2?", prompt=template + "2+2?")]
    kept, report = decontaminate(train, [example("3+3?", "eval", prompt=template + "3+3?")])
    assert kept == train
    assert (report["train"], report["evaluation"], report["kept"]) == (1, 1, 1)


def test_the_report_is_json():
    _, report = decontaminate([example("a")], [example("a")])
    assert json.loads(json.dumps(report)) == report


def test_nothing_to_compare_with_removes_nothing():
    assert decontaminate([example("a")], [])[0] == [example("a")]
    assert decontaminate([], [example("a")])[0] == []


@pytest.fixture
def real(shared, make_config):
    def read(path, prompt="problem"):
        config = make_config(shared(path), fields={"prompt": prompt, "answer": "answer"})
        return load_examples(config, DropLog(quiet=True))

    return read


def test_real_training_questions_lose_what_a_benchmark_asks_and_no_boilerplate(real):
    train = real("data/math/deepscaler_aime_train.json")
    evaluation = real("data/math/math500.jsonl")
    kept, report = decontaminate(train, evaluation)
    assert report["removed"] == {"same question": 7, "shared words": 3}
    dropped = [question(e) for e in train if e not in kept]
    assert sum("unfair six-sided die" in text for text in dropped) == 1
    assert decontaminate(train, real("data/math/aime24.jsonl"))[0] == train


def test_real_patterns_of_the_same_source_stay(real):
    train, evaluation = (
        real(f"data/math/gsm8k_{part}.jsonl", "question") for part in ("train", "test")
    )
    kept, report = decontaminate(train, evaluation)
    assert len(kept) == len(train) == 7473 and report["alike"] == 4
