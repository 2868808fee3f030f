r"""The paper's graders of texts, and lm-evaluation-harness as an oracle where it is installed."""

import itertools
import json
from pathlib import Path

import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import hendrycks
from jaxreason.tasks.registry import TASKS

SHARED = Path(__file__).parents[3] / "shared/data"
MATH500, OLYMPIAD = SHARED / "math/math500.jsonl", SHARED / "math/olympiadbench.jsonl"
RELEASED = SHARED / "uniresponses/UniReason-RL_hendrycks_math_500.jsonl"

SAME = r"""
\frac{14}{3} == \dfrac{14}{3}
\frac{14}{3} == 14/3
\frac{14}{3} != \frac{14}3
\frac{14}{3} != 4\frac{2}{3}
\frac12 == \frac{1}{2}
\frac1{72} == \frac{1}{72}
\frac{1}{2} == 0.5
\frac{1}{4} != 0.25
\frac{1}{2} == .5
3\sqrt{13} != 3\sqrt13
\sqrt{3} == \sqrt3
3\sqrt{13} != \sqrt{117}
90^\circ == 90
90^\circ == 90^{\circ}
90^\circ != 90 \text{degrees}
5.4 \text{ cents} == 5.4
5 == 5\text{ cm}
5 != 5\mbox{ cm}
864 \mbox{ inches}^2 != 864
\$18.90 == 18.90
\$18.90 != 18.9
\$32,\!348 == 32,348
\$32,\!348 != 32348
15 == 15\%
15 != 15%
0.05 != 5\%
5 == x = 5
5 == k=5
5 != ABC = 5
(3,4] == \left( 3, 4 \right]
(3,4] != \bigl(3,4\bigr]
x+1 != 1+x
\text{Evelyn} != Evelyn
p - q == p-q
1,2 != 2,1
""".strip().split("\n")
ASKED_AS_WRITTEN = [  # gold, answer, same: tidying fails, so the texts as they stand are compared
    ("x/2", r"x/2", True),
    (r"\dfrac{x/2}{3}", r"\frac{x/2}{3}", False),
    (r"5\text{ m}\text{ s}", "5", False),
    ("5", "5\\frac", False),
    ("5", "5\\sqrt", False),
]
BOXES = [  # reply, what MATH-500's and AIME's code takes, what OlympiadBench's takes
    (r"so \boxed{5}.", "5", "5"),
    (r"\boxed{4} no, \boxed{5}", "5", "5"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", r"\frac{1}{2}"),
    (r"\fbox{7}", None, "7"),
    (r"\boxed{4} and \fbox{7}", "4", "4"),
    (r"$\boxed 9$ is it", "9", "9"),
    (r"\boxed {8} and then \boxed{9}", r"{8} and then \boxed{9}", r"{8} and then \boxed{9}"),
    (r"\boxed{10} and \boxed{11", None, None),
    (r"\boxed{5\}}", "5\\", "5\\"),
    (r"\boxed{5}. Put it in \boxed{your answer}", "your answer", "your answer"),
    (r"<think>\boxed{5}</think> I give up", "5", "5"),
    (r"\boxed{\fbox{5}}", r"\fbox{5}", None),
    (r"\boxed5 or {6}", None, r" or {6"),
    ("the answer is 5", None, None),
    ("", None, None),
]
OLYMPIAD_TEXTS = [  # gold, answer, same
    ("5", "05", True),
    ("5", "5.00", True),
    ("0", "", True),
    ("1", "1.0.7", True),
    ("0.5", ".5", True),
    ("$5$", "5", False),
    ("1,3,5", "1,3,5", True),
    ("1,3,5", "3,1,5", False),
    ("1,3,5", "1, 3, 5", True),
    ("5.5", "5.50", False),
]


def example(gold: str) -> Example:
    return Example("1", "math_paper", (), gold, "", {})


@pytest.mark.parametrize("row", SAME)
def test_texts_are_tidied_and_nothing_is_computed(row):
    gold, answer = row.split(" == ") if " == " in row else row.split(" != ")
    assert hendrycks.same_text(gold, answer) == (" == " in row)


@pytest.mark.parametrize(("gold", "answer", "same"), ASKED_AS_WRITTEN)
def test_texts_that_cannot_be_tidied_are_compared_as_they_stand(gold, answer, same):
    assert hendrycks.same_text(gold, answer) == same


@pytest.mark.parametrize(("reply", "answer", "olympiad"), BOXES)
def test_the_last_box_is_found_as_the_released_code_found_it(reply, answer, olympiad):
    assert hendrycks.extract(example("5"), reply) == answer
    assert hendrycks.extract_olympiad(example("5"), reply) == olympiad


@pytest.mark.parametrize(("gold", "answer", "same"), OLYMPIAD_TEXTS)
def test_olympiadbench_drops_zeros_first(gold, answer, same):
    assert hendrycks.same_olympiad_text(gold, answer) == same


def test_only_the_first_of_several_gold_texts_counts_for_olympiadbench():
    score = TASKS["olympiad_paper"].score
    assert score(example('["5", "6"]'), r"\boxed{5}") == {"accuracy": 1.0, "answered": 1.0}
    assert score(example('["5", "6"]'), r"\boxed{6}") == {"accuracy": 0.0, "answered": 1.0}
    assert score(example('["5", "6"]'), "5") == {"accuracy": 0.0, "answered": 0.0}


@pytest.mark.parametrize("task", ["math_paper", "olympiad_paper"])
def test_an_empty_gold_answer_is_an_error(task):
    with pytest.raises(UserError, match="'1' has an empty gold answer"):
        TASKS[task].score(example(""), r"\boxed{5}")


def released() -> list[tuple[str, str]]:
    """Gold answer and reply of each of the 500."""
    rows = [json.loads(line) for line in MATH500.read_text().splitlines()]
    golds = {row["problem"].strip(): row["answer"] for row in rows}
    pairs = []
    for line in RELEASED.read_text().splitlines():
        row = json.loads(line)
        asked = row["input"].partition("Problem: ")[2].rpartition("\nAnswer:")[0]
        pairs.append((golds[asked.strip()], row["output"]))
    return pairs


@pytest.mark.skipif(not RELEASED.exists(), reason="the released responses are not here")
def test_the_released_responses_to_math_500_score_60_percent():
    scores = [TASKS["math_paper"].score(example(gold), reply) for gold, reply in released()]
    assert (len(scores), sum(score["accuracy"] for score in scores)) == (500, 300)


@pytest.mark.skipif(not RELEASED.exists(), reason="the released responses are not here")
def test_every_gold_answer_against_every_released_one_is_judged_as_by_the_harness():
    oracle = pytest.importorskip("lm_eval.tasks.hendrycks_math.utils")
    pairs = released()
    answers = {hendrycks.extract(example(gold), reply) for gold, reply in pairs} - {None}
    golds = {gold for gold, _ in pairs}
    harder = [json.loads(line)["final_answer"][0] for line in OLYMPIAD.read_text().splitlines()]
    asked = [(gold, answer) for gold in golds for answer in answers]
    asked += list(itertools.pairwise(harder)) + [(text, text + "0") for text in harder]
    for gold, answer in asked:
        assert hendrycks.same_text(gold, answer) == oracle.is_equiv(gold, answer), (gold, answer)


@pytest.mark.skipif(not RELEASED.exists(), reason="the released responses are not here")
def test_every_box_of_the_released_responses_is_that_of_the_harness():
    oracle = pytest.importorskip("lm_eval.tasks.hendrycks_math.utils")
    for text in [reply for _, reply in released()] + [row[0] for row in BOXES]:
        assert hendrycks.last_box(text) == oracle.last_boxed_only_string(text)
        try:
            expected = oracle.remove_boxed(oracle.last_boxed_only_string(text))
        except (AssertionError, TypeError):
            expected = None
        assert hendrycks.extract(example("5"), text) == expected
