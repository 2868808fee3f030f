r"""Tables of gold answers and boxed replies: `==` must be graded right, `!=` wrong."""

import json
import re
from pathlib import Path

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks import math
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool

# Gold answers are MATH-500's, AIME's and OlympiadBench's.
SINGLE = r"""
025 == 25
073 == 073
\frac{14}{3} == \dfrac{14}{3}
\frac{14}{3} == 14/3
\frac{14}{3} == 4\frac{2}{3}
\frac{14}{3} != 4.667
\frac43 == \frac{4}{3}
1\frac{4}{5} == 1.8
3\sqrt{13} == \sqrt{117}
\frac{\sqrt{3}}{3} == \frac{1}{\sqrt{3}}
12\pi != 37.7
80 != 130
64 != 48
90^\circ == 90
90 == 90 \text{ degrees}
\frac{270}7\text{ degrees} == \frac{270}{7}^\circ
5.4 \text{ cents} == 5.4
864 \mbox{ inches}^2 == 864
15\mbox{ cm}^2 == 15 \, \text{cm}^2
\$32,\!348 == 32348
\$18.90 == \$18.9
11,\! 111,\! 111,\! 100 == 11111111100
58,500 == 58500
2220 == 2{,}220
2220 == 2\,220
.0000672 == 6.72 \times 10^{-5}
.0000672 != 0.00007
15 != 15\%
0.15 == 15\%
13.2\% == 13.2
33\frac{1}{3}\% == \frac{100}{3}\%
66\frac{2}{3}\% != 66\%
0.56 = 56\% == 0.56
0.56 = 56\% == 56\%
5.4 \text{ cents} != \$5.4
\frac{1}{2^{98}} != \frac{1}{2^{97}}
.0000672 != .0000673
10^{-100} != 10^{-101}
(-\infty,-1)\cup(2,\infty) == x<-1 \text{ or } x>2
[\sqrt{2},\infty) == m\ge\sqrt2
\sqrt{\frac{1}{n}} == \frac{1}{\sqrt{n}}
52_8 == 52_{8}
52_8 != 52_9
p - q == -q + p
p - q != q - p
(a+5)(b+2) == ab + 2a + 5b + 10
6 - 5i == -5i + 6
\cot x == \frac{1}{\tan x}
x=5 == 5
5 == x = 5
y = 2x + 3 == y = 3 + 2x
y = 2x + 3 != y = 2x - 3
5x - 7y + 11z + 4 = 0 == 10x - 14y + 22z + 8 = 0
5x - 7y + 11z + 4 = 0 != your\_answer
\text{Evelyn} == Evelyn
\text{even} == \text{Even}
\text{even} != \text{odd}
\text{(C)} == C
\text{(C)} == (C)
\text{(C)} != (B)
(3,4] == (3, 4]
(3,4] != (3, 4)
(3,4] != [3, 4)
x \in [-2,7] == [-2,7]
(-\infty, 2) \cup (3, \infty) == (-\infty,2)\cup(3,\infty)
\left( 3, \frac{\pi}{2} \right) == (3, \pi/2)
\left( 3, \frac{\pi}{2} \right) != (\pi/2, 3)
(2,4) != 4, 2
3, 5, 7 == 7, 5, 3
3, 5, 7 == \{3, 5, 7\}
3, 5, 7 != 3, 5
1,-2 == x = -2 \text{ or } x = 1
1 \pm \sqrt{19} == 1+\sqrt{19}, 1-\sqrt{19}
1 \pm \sqrt{19} != 1+\sqrt{19}
\{1\pm\sqrt{5},-2\} == -2, 1 - \sqrt{5}, 1 + \sqrt{5}
\begin{pmatrix} -1/3 \\ 5/3 \end{pmatrix} == \begin{pmatrix} -\frac13 \\ \frac{5}{3} \end{pmatrix}
\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix} == \begin{bmatrix} 0.2 \\ -3.6 \end{bmatrix}
\begin{pmatrix} 16/49 \\ 48/49 \\ 24/49 \end{pmatrix} != \dfrac{8}{7}
$\binom{2n}{n}$ == \frac{(2n)!}{n!^2}
$m_{\max }=n^{2}-n-1$ == n^2 - n - 1
$f(x)=2 x$ == 2x
$f(x)=2 x$ != 2x + 1
$\left\lfloor\log _{2} n\right\rfloor+1$ == \lfloor \log_2 n \rfloor + 1
$k \geqslant 2$ == k \ge 2
$k \geqslant 2$ != k > 2
$t(0,4]$ == (0,4]
$(-\infty, 0) \cup\{1\}$. == (-\infty, 0) \cup \{1\}
$\frac{100!}{2^{50}}$ == 100! / 2^{50}
"""
MULTIPLE = r"""
1,3,5 == 5, 3, 1
1,3,5 == \{1,3,5\}
1,3,5 == 1, 3 \text{ and } 5
1,3,5 == n = 1, 3, 5
1,3,5 != 1, 3
1,3,5 != 1, 3, 5, 7
1,3,5 != 1, 3, 7
$69$,$84$ == 84, 69
-2,-2 == -2, -2
-2,-2 != -2
16,3,1,1 != 16, 3, 3, 1
$(1,8,19), (2,7,13), (4,5,7)$ == (4,5,7), (1,8,19), (2,7,13)
$(1,8,19), (2,7,13), (4,5,7)$ != (4,5,7), (1,8,19)
$(1,8,19), (2,7,13), (4,5,7)$ != (8,1,19), (2,7,13), (4,5,7)
2500,7500 == 2,500 \text{ and } 7,500
$f(x)=-1$,$f(x)=x+1$ == f(x) = x + 1, f(x) = -1
$f(x)=x,f(x)=-x$ == x, -x
$\angle B E A_{1}=90$,$\angle A E B_{1}=90$ == 90^\circ, 90^\circ
$1$,$\frac{3 + \sqrt{21}}{2}$,$\frac{3 - \sqrt{21}}{2}$ == 1, \frac{3 \pm \sqrt{21}}{2}
$\frac{1}{6} \pi, \frac{5}{6} \pi$ == \frac{5\pi}{6}, \frac{\pi}{6}
"""
WITH_ERROR = """
4.2 == 4.2%
4.2 == 4.15
4.2 == 4.3
4.2 != 4.31
4.2 != 42
"""
UNIT = r"""
45 == 45 \text{ minutes}
45 != 45 \text{ hours}
45 == 0.75 \text{ hours}
$166$ == 166 \text{ cm}^2
$\frac{600}{7}$ == \frac{600}{7} \text{ km/h}
$\frac{41}{12}$ == \frac{41}{12} \text{ km}
"""
TABLES = {
    "single": (SINGLE, {}),
    "multiple": (MULTIPLE, {"is_multiple_answer": True}),
    "error": (WITH_ERROR, {"error": "1e-1", "unit": "%"}),
    "unit": (UNIT, {"is_multiple_answer": False, "error": None, "unit": "minutes"}),
}
ROWS = [
    (name, *(row.split(" == ") if " == " in row else row.split(" != ")), " == " in row)
    for name, (table, _) in TABLES.items()
    for row in table.strip().split("\n")
]
REPLIES = [  # reply, accuracy, accuracy_unstripped, accuracy_flexible
    ("**Final Answer:**\n\\[\n\\boxed{\\dfrac{14}{3}}\n\\]", 1, 1, 1),
    ("First \\boxed{5}. No: \\boxed{14/3}", 1, 1, 1),
    ("First \\boxed{14/3}. No: \\boxed{5}", 0, 0, 0),
    ("<think>\\boxed{5}</think>\\boxed{14/3}", 1, 1, 1),
    ("<think>Is it \\boxed{14/3}? Let me see", 0, 1, 0),
    ("So the answer is $\\frac{14}{3}$.", 0, 0, 1),
    ("**Answer:** 14/3. It is more than 4.", 0, 0, 1),
    ("The answer is 5. It is less than 14/3", 0, 0, 0),
    ("We get 14/3", 0, 0, 0),
    ("", 0, 0, 0),
]


def example(gold: str, metadata: dict) -> Example:
    return Example(gold, "math", (), gold, "", metadata)


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(2, 60.0) as pool:
        yield pool


# None can be read as a whole, so none is worth its first number. One a line.
NOT_FIVE = r"""
5)(6)(7
5?6?7
5][6
5;;6
5|6
5&6&7
5\\6\\7
5#6
5!?6
5,,6
5}{6
5\mid6
5\foo{6}
5~6
5...6
5 \text{ but } 6 \text{ units}
5\text{ or 6 or 7}
5 \text{ hours } 30 \text{ minutes}
5^{
5+
5\sqrt[6]
5\text{ million}
5.\overline{6}
5)))6
> 5
""".strip().split("\n")
DEEP = ["5^{0.5^{" * 60 + "1" + "}}" * 60, "5+(" * 200 + "1" + ")" * 200, "5_{" * 120 + "}" * 120]
FIVE = r"""
x = 5
5 apples
5 dollars
5~\text{cm}
5 \mathrm{~cm}
5€
\$5
5°
5 m/s
(5)
\{5\}
{\bf 5}
\color{red}{5}
5 \\
\approx 5
= 5
2 + 3 = 5
\text{Area} = 2+3 = 5
\text{The answer is } 5
5 \checkmark
x \equiv 5 \pmod{7}
5 \text{ miles per hour}
5 \frac{\text{m}}{\text{s}}
""".strip().split("\n")


def test_an_answer_that_cannot_be_read_whole_is_not_credited_for_a_part_of_it(pool):
    answers = NOT_FIVE + DEEP
    graded = pool.score("math", [(example("5", {}), rf"The answer is ${a}$") for a in answers])
    assert {a: v.scores["accuracy_flexible"] for a, v in zip(answers, graded)} == dict.fromkeys(
        answers, 0.0
    )


def test_units_labels_and_ways_of_writing_do_not_cost_an_answer_its_credit(pool):
    graded = pool.score("math", [(example("5", {}), rf"\boxed{{{a}}}") for a in FIVE])
    assert {a: v.scores["accuracy"] for a, v in zip(FIVE, graded)} == dict.fromkeys(FIVE, 1.0)


@pytest.fixture(scope="module")
def verdicts(pool):
    items = [
        (example(gold, TABLES[name][1]), rf"\boxed{{{answer}}}") for name, gold, answer, _ in ROWS
    ]
    return pool.score("math", items)


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda n: " ".join(map(str, ROWS[n])))
def test_answers_are_graded_as_the_table_says(number, verdicts):
    assert verdicts[number].error is None
    assert verdicts[number].scores["accuracy"] == float(ROWS[number][3])


def test_boxes_thoughts_and_announced_answers_are_scored_apart(pool):
    graded = pool.score("math", [(example(r"\frac{14}{3}", {}), row[0]) for row in REPLIES])
    names = ("accuracy", "accuracy_unstripped", "accuracy_flexible")
    found = [(row[0], *(v.scores[name] for name in names)) for row, v in zip(REPLIES, graded)]
    assert found == REPLIES


def test_a_gold_answer_may_be_a_list_of_one_text_written_as_json():
    assert math.gold_answer(example('["$2$"]', {})) == "$2$"
    for text in ('["$2$', '["$2$", 3]', '["' + "[" * 99999):  # not such a list: a text as it stands
        assert math.gold_answer(example(text, {})) == text


def test_an_empty_gold_answer_is_an_error_and_not_a_zero(pool):
    verdict = pool.score("math", [(example("", {}), r"\boxed{1}")])[0]
    assert verdict.error == "UserError: example '' has an empty gold answer."


def test_a_power_tower_costs_its_time_limit_and_no_more():
    tower = r"\boxed{" + "9^{" * 6 + "9" + "}" * 6 + "}"
    with VerifierPool(1, 3.0) as short:
        verdicts = short.score(
            "math", [(example("5", {}), tower), (example("5", {}), r"\boxed{5}")]
        )
    assert verdicts[0].error is None or verdicts[0].error.startswith(
        ("timeout", "Memory", "Overflow")
    )
    assert verdicts[0].scores.get("accuracy", 0.0) == 0.0
    assert verdicts[1].scores["accuracy"] == 1.0


@pytest.mark.parametrize("task", ["math", "math_strict"])
def test_the_tasks_score_mathematics_in_workers(task):
    assert TASKS[task].worker_setup is math.load_libraries


PLACEHOLDERS = [  # reply to a prompt that asks for \boxed{ANSWER HERE PLEASE}; what its answer is
    (r"\boxed{5}. I put it into \boxed{your\_answer} as asked.", "5"),
    (r"\boxed{5}. The format was \boxed{ANSWER HERE PLEASE}.", "5"),
    (r"\boxed{5}, in place of \boxed{\text{answer}}", "5"),
    (r"\boxed{5}, in place of \boxed{...}", "5"),
    (r"\boxed{5}, in place of \boxed{}", "5"),
    (r"The answer goes into \boxed{your answer}.", None),
    (r"\boxed{5}, no: \boxed{6}", "6"),
    (r"\boxed{5}, no: \boxed{\text{none}}", r"\text{none}"),
]


@pytest.mark.parametrize(("reply", "answer"), PLACEHOLDERS)
def test_a_box_that_quotes_the_prompts_placeholder_is_no_answer(reply, answer):
    asked = {
        "role": "user",
        "content": r"1+1? End with \boxed{ANSWER HERE PLEASE}, like \boxed{6}.",
    }
    item = Example("1", "math", (asked,), "5", "", {})
    assert math.extract(item, reply) == answer


def test_the_question_is_what_was_asked_with_or_without_a_template():
    turns = ({"role": "user", "content": "a template: 1+1?"},)
    assert math.asked(Example("1", "", turns, "2", "", {"question": "1+1?"})) == "1+1?"
    assert math.asked(Example("1", "", turns, "2", "", {})) == "a template: 1+1?"
    assert math.asked(Example("1", "", (), "2", "", {"question": ""})) == ""


SHARED = Path(__file__).parents[3] / "shared"
RELEASED = SHARED / "data/uniresponses/UniReason-RL_hendrycks_math_500.jsonl"


@pytest.mark.skipif(not RELEASED.exists(), reason="the released responses are not here")
def test_the_released_responses_to_math_500_score_66_point_2_and_67_percent(pool):
    rows = (SHARED / "data/math/math500.jsonl").read_text().splitlines()
    golds = {row["problem"].strip(): row["answer"] for row in map(json.loads, rows)}
    items = []
    for row in map(json.loads, RELEASED.read_text().splitlines()):
        turns = ({"role": "user", "content": row["input"]},)
        asked = row["input"].partition("Problem: ")[2].rpartition("\nAnswer:")[0].strip()
        items.append((Example(asked, "math", turns, golds[asked], "", {}), row["output"]))
    for task in ("math", "math_strict"):
        scores = [verdict.scores for verdict in pool.score(task, items)]
        assert sum(score["accuracy"] for score in scores) == 331
        assert sum(score["accuracy_flexible"] for score in scores) == 335


@pytest.mark.skipif(not RELEASED.exists(), reason="the benchmarks are not here")
def test_every_gold_answer_equals_itself(pool):
    items = []
    for name in ("math500", "aime24", "aime25", "olympiadbench"):
        for line in (SHARED / f"data/math/{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            answers = row.get("final_answer") or [str(row["answer"])]
            boxed = re.sub(r"(?<!\\)\$", "", ", ".join(answers))
            keys = ("is_multiple_answer", "unit", "error")
            metadata = {key: row[key] for key in keys if key in row}
            gold = example(json.dumps(answers) if len(answers) > 1 else answers[0], metadata)
            items.append((gold, rf"\boxed{{{boxed}}}"))
    assert len(items) >= 1175
    for task in ("math", "math_strict"):
        verdicts = pool.score(task, items)
        wrong = [i[0].answer for i, v in zip(items, verdicts) if v.scores.get("accuracy") != 1.0]
        assert wrong == []


CASES = SHARED / "cases/math_and_gsm8k.jsonl"


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
def test_inputs_that_came_out_wrong_come_out_right(pool):
    wrong = []
    for row in map(json.loads, CASES.read_text().splitlines()):
        asked = row["input"]
        reply = asked.get("reply") or rf"\boxed{{{asked['boxed']}}}"
        item = example(asked["gold"], asked.get("metadata", {}))
        verdict = pool.score(asked.get("task", "math"), [(item, reply)])[0]
        if verdict.scores.get("accuracy") != row["expected"]:
            wrong.append((asked, verdict))
    assert wrong == []
