import json
import random
from pathlib import Path

import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import coqa
from jaxreason.tasks.registry import TASKS, summarize

RELEASED = Path(__file__).parents[3] / "shared/data/uniresponses/UniReason-RL_coqa.jsonl"
PROMPT = "Cotton was a white kitten.\n\nQ: Who?\n\nA: Cotton\n\nQ: What color was she?\n\nA:"


def example(*references: str, **metadata) -> Example:
    metadata = {"references": list(references), **metadata}
    messages = ({"role": "user", "content": PROMPT},)
    return Example("c1", "coqa", messages, references[0] if references else "", "", metadata)


# reply, F1 and exact match as the study's variant sees them, and ours; the reference is "white"
REPLIES = [
    ("white", 1, 1, 1, 1),
    ("White.", 1, 1, 1, 1),
    ("the white", 1, 1, 1, 1),
    ("A: white", 1, 1, 1, 1),  # the article is deleted with the mark
    ("A: white\n\nQ: Why?\n\nA: by birth", 1, 1, 1, 1),
    ("Answer: white", 2 / 3, 0, 1, 1),
    ("**white**", 1, 1, 1, 1),
    ("Q: What color was she?\nA: white", 0, 0, 1, 1),
    ("Q: What color was Cotton?\n\nA: white", 0, 0, 1, 1),
    ("<think>orange?</think>white", 1, 1, 1, 1),
    ("<think>orange?</think>\n\nA: white", 1, 1, 1, 1),
    ("<think>white", 0, 0, 0, 0),  # cut off in its thoughts
    (r"\boxed{white}", 0, 0, 1, 1),
    ("The answer is white.", 1 / 2, 0, 1, 1),
    ("Assistant: She was **white**.", 2 / 5, 0, 1, 1),
    ("She was white.", 2 / 4, 0, 2 / 4, 0),
    ("Her sisters were orange.\n\nA: white", 0, 0, 1, 1),
    ("white and orange", 1 / 2, 0, 1 / 2, 0),
    ("orange", 0, 0, 0, 0),
    ("A: orange", 0, 0, 0, 0),
    ("Q: Was she orange?\nA: no", 0, 0, 0, 0),
    ("not telling", 0, 0, 0, 0),
    ("whitewash", 0, 0, 0, 0),
    ("yes", 0, 0, 0, 0),
    ("A:", 0, 0, 0, 0),
    ("", 0, 0, 0, 0),
    ("I do not know.", 0, 0, 0, 0),
    ("The story does not say what she looked like.", 0, 0, 0, 0),
]


@pytest.mark.parametrize(("text", "paper_f1", "paper_em", "f1", "em"), REPLIES)
def test_a_reply_is_scored_by_the_studys_first_line_and_by_its_answer(
    text, paper_f1, paper_em, f1, em
):
    paper, ours = coqa.score_paper(example("white"), text), coqa.score(example("white"), text)
    assert paper == pytest.approx({"em": paper_em, "f1": paper_f1})
    assert {"em": ours["em"], "f1": ours["f1"]} == pytest.approx({"em": em, "f1": f1})


def test_a_sentence_that_answers_yes_counts_as_yes_only_in_the_robust_variant():
    text = "Yes, she was white."
    assert coqa.score(example("yes"), text) == {"f1": 1.0, "em": 1.0, "answered": 1.0}
    assert coqa.score_paper(example("yes"), text) == pytest.approx({"f1": 2 / 5, "em": 0.0})
    assert coqa.score(example("no"), text)["f1"] == 0.0


def test_several_references_are_left_out_in_turn():
    mixed = example("white", "white", "white", "orange")
    assert coqa.score(mixed, "white")["em"] == 1.0
    assert coqa.score(mixed, "orange")["em"] == 3 / 4
    assert coqa.score_paper(mixed, "white")["em"] == 1 / 2  # equal references count once there
    assert coqa.score_paper(example("White", "white"), "white")["em"] == 1.0
    f1 = [coqa.word_f1(r, "a white kitten") for r in ("white", "kitten of snow")]
    assert f1 == pytest.approx([2 / 3, 2 / 5])
    two = example("white", "kitten of snow")
    assert coqa.score(two, "a white kitten")["f1"] == pytest.approx((2 / 5 + 2 / 3) / 2)


def test_normal_forms():
    assert coqa.normalize("The  Cat's\thome, a b-c!") == "cats home bc"
    assert coqa.normalize("an A the") == ""
    assert coqa.normalize("É 3½ 二つ") == "é 3½ 二つ"
    assert coqa.exact("two", "2") == 0.0  # as in the official evaluation
    assert coqa.word_f1("the", "a") == 1.0
    assert coqa.word_f1("the", "cat") == 0.0


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"references": []},
        {"references": None},
        {"references": ["", " "]},
        {"references": "white"},
        {"references": ["white", 5]},
    ],
)
@pytest.mark.parametrize("task", ["coqa", "coqa_paper"])
def test_missing_references_are_an_error_that_names_the_example(task, metadata):
    bare = Example("c7", "coqa", (), "white", "", metadata)
    with pytest.raises(UserError, match=r"'c7': CoQA needs metadata 'references'"):
        TASKS[task].score(bare, "white")


def test_a_blank_reference_does_not_make_an_empty_reply_right():
    assert coqa.score(example("white", ""), "") == {"f1": 0.0, "em": 0.0, "answered": 0.0}
    assert coqa.score_paper(example("white", ""), "") == {"f1": 0.0, "em": 0.0}


def test_surrogates_and_a_hundred_thousand_characters_are_graded():
    for text in ("\ud800", "A: \ud800 white", "white " * 20_000, "Q: a?\nA: b\n" * 9_000):
        assert 0.0 <= coqa.score(example("white"), text)["f1"] < 1.0
        assert coqa.score_paper(example("white"), text)["em"] == 0.0


def test_constant_and_empty_replies_score_what_they_should():
    golds = ["yes", "no", "white", "in a barn", "yes"]
    items = [example(gold) for gold in golds]
    for text, share in (("yes", 2 / 5), ("no", 1 / 5), ("", 0.0), ("unknown", 0.0)):
        for task in ("coqa", "coqa_paper"):
            rows = [TASKS[task].score(item, text) for item in items]
            assert summarize(TASKS[task], items, rows)["em"] == pytest.approx(share)


def test_scores_equal_those_of_the_harness():
    harness = pytest.importorskip("lm_eval.tasks.coqa.utils")
    draw = random.Random(0)
    words = ["A", "a", "an", "The", "white", "orange", "cat's", "barn,", "No", "yes", "two", "2"]
    words += ["É", "—", "well-known", "...", "3.5", "_x_"]
    for _ in range(3000):
        texts = [" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(5)]
        golds, reply = texts[: draw.randint(1, 4)], texts[4]
        turns = [{"input_text": [text]} for text in golds]
        document = {"questions": {"input_text": ["?"]}, "answers": turns[0]}
        document["additional_answers"] = dict(zip("012", turns[1:]))
        paper = coqa.score_paper(example(*golds), f"{reply}\nand more")
        assert paper == pytest.approx(harness.process_results(document, [f"{reply}\nand more"]))
        measures = {"em": coqa.exact, "f1": coqa.word_f1}
        ours = {name: coqa.leave_one_out(m, golds, reply) for name, m in measures.items()}
        assert ours == pytest.approx(harness.compute_scores(golds, reply))


@pytest.mark.skipif(not RELEASED.is_file(), reason="needs the released replies to CoQA")
def test_the_released_replies_are_read_behind_their_marks():
    lines = [json.loads(line) for line in RELEASED.read_text(encoding="utf-8").splitlines()]
    firsts, answers = [], []
    for line in lines:
        prompt = {"role": "user", "content": line["input"].partition("<|im_end|>")[0]}
        asked = Example("r", "coqa", (prompt,), "", "", {})
        firsts.append(coqa.extract_paper(asked, line["output"]))
        answers.append(coqa.extract(asked, line["output"]) or "")
    assert len(lines) == 500
    assert sum(first.startswith("A:") for first in firsts) == 113
    assert sum(first.startswith("Q:") for first in firsts) == 204
    assert not any(answer.startswith(("A:", "Q:", "Assistant")) for answer in answers)
    assert sum(answer == "" for answer in answers) == 2  # nothing but a role, a question alone
    words = [sum(len(text.split()) for text in texts) / 500 for texts in (firsts, answers)]
    assert words[1] < words[0]
