"""The paper's IFEval against lm-evaluation-harness's own code, and on the released responses."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from ifeval_differences import DIFFERENCES
from test_ifeval_checks import CASES

from jaxreason.data.examples import Example
from jaxreason.tasks.ifeval import score_paper, variants
from jaxreason.tasks.ifeval_released import RELEASED, language_of
from jaxreason.tasks.nltk_splits import split_sentences, treebank_words
from jaxreason.tasks.registry import TASKS, summarize

SHARED = Path(__file__).parents[3] / "shared" / "data"
# By the harness's code too, but for the two prompts whose letter it draws at random.
PAPER = {
    "prompt_strict": 0.512, "instruction_strict": 0.6439, "prompt_loose": 0.5952,
    "instruction_loose": 0.7074, "instructions": 1.5416,
}  # fmt: skip
ROBUST = {
    "prompt_strict": 0.5083, "instruction_strict": 0.6355, "prompt_loose": 0.5989,
    "instruction_loose": 0.705,
}  # fmt: skip
NEEDS_PUNKT = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
PUNKT = [
    ("He came, etc. She left. Mr. Smith did not.", ["He came, etc.", "She left.", "Mr. Smith did not."]),
    ("P.S. Call me.", ["P.S.", "Call me."]),
    ("They left the U.S. The army came.", ["They left the U.S.", "The army came."]),
    ("See St. Peter at 5 p.m. on Monday.", ["See St. Peter at 5 p.m. on Monday."]),
    ("1. Eat well.\n2. sleep", ["1.", "Eat well.", "2. sleep"]),
    ("J. S. Bach (born in Eisenach.) He wrote!", ["J. S. Bach (born in Eisenach.)", "He wrote!"]),
    ('"Stop!" he said... Then', ['"Stop!"', "he said... Then"]),
    ("Look. **Bold.**", ["Look.", "**Bold.", "**"]),
    ("", []),
    ("no mark", ["no mark"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PUNKT)
def test_sentences_are_those_of_punkt(text, expected):
    assert split_sentences(text) == expected


def test_words_are_those_of_the_treebank():
    text = 'IT\'S "BIG" (CANNOT fail): A--B, 3:15 at $5.'
    words = [
        "IT",
        "'S",
        "``",
        "BIG",
        "''",
        "(",
        "CAN",
        "NOT",
        "fail",
        ")",
        ":",
        "A",
        "--",
        "B",
        ",",
    ]
    assert treebank_words(text) == [*words, "3:15", "at", "$", "5", "."]


@pytest.fixture(scope="module")
def harness() -> Callable[[str, dict, str], bool]:
    """(instruction, its arguments, reply) -> the verdict of the harness's own checker."""
    registry = pytest.importorskip("lm_eval.tasks.ifeval.instructions_registry")
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)
    language_of("Seeds langdetect for both.")

    def check(name: str, arguments: dict, text: str) -> bool:
        checker = registry.INSTRUCTION_DICT[name](name)
        checker.build_description(**{key: value for key, value in arguments.items() if value})
        return bool(text.strip() and checker.check_following(text))

    return check


def has_punkt() -> bool:
    """Whether NLTK's data is on this machine; it comes apart from NLTK."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return False
    return True


def is_comparable(name: str, arguments: dict) -> bool:
    """False where the harness draws its argument at random, or lacks NLTK's data."""
    letter = arguments.get("letter", "a")
    return (len(letter) == 1 and "a" <= letter.lower() <= "z") and (
        name not in NEEDS_PUNKT or has_punkt()
    )


@pytest.mark.slow
def test_every_check_says_what_the_harness_says(harness):
    rows = [(n, a, t) for n, a, good, bad in CASES for t in [*good, *bad]]
    rows += [(n, a, t) for n, a, t, _ in DIFFERENCES]
    texts = sorted({text for *_, text in rows})
    for name, arguments in [(n, a) for n, a, *_ in CASES] + [(n, a) for n, a, *_ in DIFFERENCES]:
        for text in texts if is_comparable(name, arguments) else ():
            ours = bool(text.strip() and RELEASED[name](text, **arguments))
            assert ours == harness(name, arguments, text), (name, arguments, text)


def released_responses() -> list[tuple[Example, str]]:
    """The 541 prompts with the replies of the paper's RL model, in the same order."""
    prompts, replies = (
        SHARED / "general/ifeval.jsonl",
        SHARED / "uniresponses/UniReason-RL_ifeval.jsonl",
    )
    if not replies.exists() or not prompts.exists():
        pytest.skip("the released responses are not here")
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    texts = [json.loads(line)["output"] for line in replies.read_text().splitlines()]
    examples = [Example(str(row["key"]), "ifeval", (), "", "", row) for row in rows]
    return list(zip(examples, texts, strict=True))


def test_the_released_responses_score_what_the_released_code_gives():
    items = released_responses()
    examples = [example for example, _ in items]
    paper = summarize(TASKS["ifeval_paper"], examples, [score_paper(*item) for item in items])
    robust = summarize(TASKS["ifeval"], examples, [TASKS["ifeval"].score(*item) for item in items])
    rounded = {name: round(value, 4) for name, value in paper.items()}
    assert rounded == PAPER
    assert {name: round(robust[name], 4) for name in ROBUST} == ROBUST


@pytest.mark.slow
def test_every_check_of_the_released_responses_is_the_harness_s(harness):
    for example, text in released_responses():
        names, arguments = example.metadata["instruction_id_list"], example.metadata["kwargs"]
        for name, given in zip(names, arguments, strict=True):
            if not is_comparable(name, given):
                continue
            for form in variants(text):
                ours = bool(form.strip() and RELEASED[name](form, **given))
                assert ours == harness(name, given, form), (example.id, name)
