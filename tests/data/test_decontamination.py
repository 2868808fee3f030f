import json

from jaxreason.data.decontamination import decontaminate
from jaxreason.data.examples import Example, load_examples
from jaxreason.data.rows import DropLog

WORDS = [f"word{number}" for number in range(14)]


def example(text, source="train", prompt=None):
    messages = ({"role": "user", "content": prompt or text},)
    return Example(text[:9], "t", messages, "", source, {"question": text})


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


def test_a_prompt_template_that_both_share_is_no_contamination():
    template = " ".join(WORDS) + ": "
    train = [example("2+2?", prompt=template + "2+2?")]
    kept, report = decontaminate(train, [example("3+3?", "eval", prompt=template + "3+3?")])
    assert kept == train
    assert (report["train"], report["evaluation"], report["kept"]) == (1, 1, 1)


def test_the_report_is_json():
    _, report = decontaminate([example("a")], [example("a")])
    assert json.loads(json.dumps(report)) == report


def test_real_training_questions_are_checked_against_real_benchmarks(shared, make_config):
    fields = {"prompt": "problem", "answer": "answer"}
    train = make_config(shared("data/math/deepscaler_math_train.json"), fields=fields)
    test = make_config(shared("data/math/math500.jsonl"), fields=fields)
    log = DropLog()
    kept, report = decontaminate(load_examples(train, log), load_examples(test, log))
    assert report["train"] == 7470
    assert report["kept"] == len(kept) == 7470 - len(report["items"])
    assert 0 < len(report["items"]) < 750
