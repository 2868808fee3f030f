"""Answers and traces against computations that share nothing with the generators."""

import itertools
import re
from random import Random

import pytest

from jaxreason.procedural.question_kinds import CHARACTERS, PROCEDURAL_TASKS

MATH = ["add", "sub", "chain", "mul"]
LOGIC = {"&": min, "|": max, "^": lambda a, b: abs(a - b)}
HAND = [  # style, question, trace
    ("add", "short", "59+63", "9+3=12;5+6+1=12"),
    ("add", "short", "12+34", "2+4=6;1+3=4"),
    ("add", "teacher", "12+39", "let 12+39. 12+30=42. 42+9=51. so 51!"),
    ("sub", "short", "64-38", "14-8=6;5-3=2"),
    ("sub", "short", "68-34", "8-4=4;6-3=3"),
    ("sub", "teacher", "64-38", "let 64-38. 64-30=34. 34-8=26. so 26!"),
    ("chain", "short", "3+5-2+6", "3+5=8-2=6+6=12"),
    ("chain", "teacher", "3+5-2+6", "let 3+5-2+6. up 3+5+6=14. down 2=2. 14-2=12. so 12!"),
    ("chain", "teacher", "3+5", "let 3+5. up 3+5=8. down 0=0. 8-0=8. so 8!"),
    ("mul", "short", "7*38", "7*8=56;7*3=21;210+56=266"),
    ("mul", "teacher", "7*38", "let 7*38. 7*40=280. 7*2=14. 280-14=266. so 266!"),
    ("mul", "teacher", "7*40", "let 7*40. 7*40=280. 7*0=0. 280-0=280. so 280!"),
    ("count", "short", "count a abca", "a1b1c1a2"),
    ("bool", "short", "bool T&F|T^T", "T&F=F|T=T^T=F"),
    ("order", "short", "max b<c,a<b,c<d", "a<b<c<d"),
    ("order", "short", "min b<c,a<b,c<d", "d>c>b>a"),
]


def answer_of(task: str, question: str) -> str:
    """The answer, worked out from the question alone."""
    if task in MATH:
        return str(eval(question))
    name, _, rest = question.partition(" ")
    if task == "bool":
        value = int(rest[0] == "T")
        for operator, term in re.findall(r"([&|^])([TF])", rest):
            value = LOGIC[operator](value, int(term == "T"))
        return "FT"[value]
    if task == "order":
        pairs = [tuple(pair.split("<")) for pair in rest.split(",")]
        items = sorted({letter for pair in pairs for letter in pair})
        (chain,) = [
            order
            for order in itertools.permutations(items)
            if all(order.index(low) < order.index(high) for low, high in pairs)
        ]
        return chain[-1] if name == "max" else chain[0]
    if task == "count":
        target, letters = rest.split(" ")
        return str(len(re.findall(target, letters)))
    if task == "get":
        key, pairs = rest[0], rest[1:]
        return re.search(rf" {key}(.)", pairs)[1]
    simple = {
        "sort": lambda: "".join(sorted(rest)),
        "copy": lambda: rest,
        "reverse": lambda: "".join(rest[i] for i in range(len(rest) - 1, -1, -1)),
        "upper": lambda: "".join(chr(ord(letter) - 32) for letter in rest),
        "join": lambda: rest.replace(",", ""),
    }
    return simple[task]()


def draw(task: str, count: int) -> list[tuple[str, str]]:
    rng = Random(task)
    return [PROCEDURAL_TASKS[task].make_question(rng) for _ in range(count)]


@pytest.mark.parametrize("task", PROCEDURAL_TASKS)
def test_answers_equal_independent_computations(task):
    for question, answer in draw(task, 300):
        assert answer_of(task, question) == answer, question


@pytest.mark.parametrize(("task", "style", "question", "trace"), HAND)
def test_traces_equal_traces_written_by_hand(task, style, question, trace):
    assert PROCEDURAL_TASKS[task].traces[style](question) == trace


@pytest.mark.parametrize("task", MATH)
@pytest.mark.parametrize("style", ["short", "teacher"])
def test_every_equation_of_a_math_trace_holds_and_leads_to_the_answer(task, style):
    for question, answer in draw(task, 300):
        trace = PROCEDURAL_TASKS[task].traces[style](question)
        equations = re.findall(r"(?=(?<![\d*+-])(\d[\d+*-]*)=(\d+))", trace)
        assert len(equations) >= 2
        for left, right in equations:
            assert eval(left) == int(right), trace
        if style == "teacher":
            assert trace.endswith(f"{equations[-1][0]}={answer}. so {answer}!")
        elif task in ("chain", "mul"):
            assert trace.endswith(f"={answer}")
        else:  # tens, then ones
            assert int(equations[1][1] + equations[0][1][-1]) == int(answer)


def test_teacher_traces_are_long_and_differ_from_short_ones():
    for task in MATH:
        for question, answer in draw(task, 200):
            traces = PROCEDURAL_TASKS[task].traces
            assert 34 <= len(traces["teacher"](question) + "#" + answer) <= 60
            assert len(traces["short"](question) + "#" + answer) <= 30


@pytest.mark.parametrize("task", ["count", "bool", "order"])
def test_a_reasoning_trace_ends_with_the_answer(task):
    for question, answer in draw(task, 300):
        trace = PROCEDURAL_TASKS[task].traces["short"](question)
        # max walks upward and min downward, so each ends where the answer is
        assert trace.endswith(answer), trace


def test_chains_never_go_below_zero():
    for question, _ in draw("chain", 500):
        terms = re.findall(r"[+-]?\d", question)
        assert min(itertools.accumulate(map(int, terms))) >= 0


@pytest.mark.parametrize("task", PROCEDURAL_TASKS)
def test_questions_and_replies_fit_the_vocabulary_and_the_row(task):
    for question, answer in draw(task, 100):
        for trace in PROCEDURAL_TASKS[task].traces.values():
            text = question + trace(question) + "#" + answer
            assert set(text) <= set(CHARACTERS)
            assert len(text) <= 124  # with four markers a row of 128


def test_the_vocabulary_has_84_different_characters():
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 84


def test_the_three_groups_have_their_tasks():
    groups = {}
    for name, task in PROCEDURAL_TASKS.items():
        groups.setdefault(task.group, []).append(name)
        assert "direct" in task.traces and task.traces["direct"]("anything") == ""
    assert groups == {
        "math": MATH,
        "other": ["sort", "count", "bool", "order"],
        "non_reasoning": ["copy", "reverse", "upper", "join", "get"],
    }


def test_no_constant_answer_and_no_fixed_place_does_well():
    answers = [answer for _, answer in draw("bool", 2000)]
    assert 0.4 < answers.count("T") / 2000 < 0.6
    positions = [question.rindex(answer) for question, answer in draw("get", 2000)]
    places = len(draw("get", 1)[0][0].split(" ")) - 2
    assert max(positions.count(p) for p in set(positions)) / 2000 < 1.2 / places
