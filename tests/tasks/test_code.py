import ast
import json
import os
from pathlib import Path

import pytest
from code_answers import RIGHT

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import code, code_asserts, code_paper
from jaxreason.tasks.code import same_output, same_returned
from jaxreason.tasks.isolation import strongest
from jaxreason.tasks.jail_values import from_plain, to_plain
from jaxreason.tasks.verify import VerifierPool

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
PROBLEMS = SHARED / "benchmarks" / "livecodebench" / "problems_without_private_tests.jsonl"
HUMANEVAL = SHARED / "general" / "humaneval.jsonl"

needs_isolation = pytest.mark.skipif(strongest()[0] is None, reason=f"{strongest()[1]}")


def problem(tests, function="", kind=None):
    kind = kind or ("functional" if function else "stdin")
    rows = [{"input": given, "output": out, "testtype": kind} for given, out in tests]
    metadata = {"tests": {"public": json.dumps(rows), "private": None}, "function": function}
    return Example("1", "code", (), "", "test", metadata)


def fenced(program):
    return f"<think>def wrong(): pass</think>This is it:\n```python\n{program}\n```\nDone."


SUM = problem([("1 2\n", "3\n"), ("10 20\n", "30\n"), ("-1 1\n", "0\n")])
PAIRS = problem([("[1, 2]\n3", "[4, 5]"), ("[]\n1", "[]")], function="shift")


@needs_isolation
def test_a_right_program_passes_every_test_and_says_so_in_every_metric():
    right = code.score(SUM, fenced("print(sum(map(int, input().split())))"))
    assert right == {
        "accuracy": 1.0,
        "tests_passed": 1.0,
        "answered": 1.0,
        "compiles": 1.0,
        "timed_out": 0.0,
    }


@needs_isolation
def test_a_wrong_program_is_told_from_one_that_is_none():
    some = code.score(SUM, fenced("a, b = map(int, input().split())\nprint(abs(a) + abs(b))"))
    assert (some["accuracy"], some["tests_passed"], some["compiles"]) == (0.0, 2 / 3, 1.0)
    broken = code.score(SUM, fenced("print(sum(map(int, input().split()))"))
    assert (broken["accuracy"], broken["answered"], broken["compiles"]) == (0.0, 1.0, 0.0)
    silent = code.score(SUM, "I do not know.")
    assert (silent["accuracy"], silent["answered"], silent["tests_passed"]) == (0.0, 0.0, 0.0)


@needs_isolation
@pytest.mark.parametrize(
    "program",
    [
        "class Solution:\n    def shift(self, a: List[int], by: int): return [x + by for x in a]",
        "def shift(a, by):\n    return tuple(x + by for x in a)",
        "class Solution:\n    def other(self): pass\ndef shift(a, by):\n    return [x + by for x in a]",
        "import numpy as np\ndef shift(a, by):\n    return np.array(a, dtype=int) + by",
        "print('noise')\ndef shift(a, by):\n    print(a)\n    a[:] = [x + by for x in a]\n    return a",
    ],
)
def test_functions_are_found_in_a_class_or_alone_and_compared_by_value(program):
    assert code.score(PAIRS, fenced(program))["accuracy"] == 1.0


@needs_isolation
def test_a_function_that_the_program_does_not_define_is_none_of_the_names_imported_for_it():
    example = problem([("1\n2", "3")], function="add")
    assert code.score(example, fenced("def plus(a, b): return a + b"))["accuracy"] == 0.0
    assert code.score(example, fenced("def add(a, b): return a + b"))["accuracy"] == 1.0


@needs_isolation
def test_a_right_answer_of_a_program_that_fails_afterwards_is_wrong():
    program = "print(sum(map(int, input().split())))\n"
    assert code.score(SUM, fenced(program + "1 / 0"))["accuracy"] == 0.0
    assert code.score(SUM, fenced(program + "exit(3)"))["accuracy"] == 0.0
    assert code.score(SUM, fenced(program + "exit()"))["accuracy"] == 1.0


@needs_isolation
def test_after_some_timeouts_the_rest_of_the_tests_counts_as_failed():
    tests = [{"input": str(n), "output": str(n), "testtype": "stdin"} for n in range(8)]
    program = "n = input()\nwhile n != '0': pass\nprint(n)"
    scores = code.program_metrics(program, tests, "", code.Limits(seconds=0.3))
    assert (scores["tests_passed"], scores["timed_out"]) == (1 / 8, 1.0)


@pytest.mark.parametrize("metadata", [{}, {"tests": None}, {"tests": {"public": "[]"}}])
def test_a_problem_without_tests_is_an_error_and_not_right(metadata):
    example = Example("7", "code", (), "", "test", metadata)
    for grader in (code, code_paper):
        with pytest.raises(UserError, match="no tests"):
            grader.score(example, fenced("print(1)"))
    with pytest.raises(UserError, match="nothing to test"):
        code_asserts.score_mbpp(example, fenced("print(1)"))


@needs_isolation
def test_the_pool_grades_code_and_names_what_cannot_be_graded():
    empty = Example("7", "code", (), "", "test", {})
    with VerifierPool(2, 5.0) as pool:
        right, wrong, none = pool.score(
            "code",
            [(SUM, fenced("print(sum(map(int, input().split())))")), (SUM, "no"), (empty, "x = 1")],
        )
    assert (right.scores["accuracy"], wrong.scores["accuracy"]) == (1.0, 0.0)
    assert right.extracted == "print(sum(map(int, input().split())))\n"
    assert none.error.startswith("UserError: example '7'")


@pytest.mark.parametrize(
    "expected, printed, same",
    [
        ("3\n", "3", True),
        ("1 2\n3\n", "1 2 \n 3\n\n", True),
        ("1 2", "1  2", True),
        ("1\n2", "1 2", False),
        ("5", "5.0", True),
        ("0.5", "0.5000001", True),
        ("0.5", "0.501", False),
        ("1000000", "1000000.5", False),
        ("50000000000000001", "50000000000000000", False),
        ("Yes", "yes", False),
        ("", "", True),
        ("", "x", False),
        ("1e400", "2e400", False),
        ("0.1", "nan", False),
        ("0.1", "1e999999999999", False),
        ("nan", "nan", True),
        ("12 a", "12 b", False),
    ],
)
def test_printed_text_is_compared_by_lines_and_numbers_by_value(expected, printed, same):
    assert same_output(expected, printed) is same


@pytest.mark.parametrize(
    "expected, found, same",
    [
        ([1, [2, 3]], (1, (2, 3)), True),
        ([1, 2], [1, 2, 3], False),
        (0.5, 0.5000001, True),
        (1.0, 1, True),
        (1.0, 10**400, False),
        (1, 1.5, False),
        ("1", 1, False),
        ({"a": 1}, {"a": 1}, True),
        (None, None, True),
        (True, "True", False),
        ([], None, False),
        (0.5, None, False),
    ],
)
def test_returned_values_are_compared_by_value(expected, found, same):
    assert same_returned(expected, found) is same


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 1.5, "x\ud800", [1, (2, {3})], {1: {"a": None}}, 1j, b"\x00", frozenset({1})],
)
def test_plain_values_cross_unchanged(value):
    assert from_plain(json.loads(json.dumps(to_plain(value)))) == value


def test_objects_of_other_classes_do_not_cross():
    class Number(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    assert type(to_plain([Number(3)])[0]) is int
    with pytest.raises(TypeError, match="no plain value"):
        to_plain(object())
    with pytest.raises(ValueError, match="no kind of value"):
        from_plain({"pickle": []})


def real_problems():
    if not PROBLEMS.exists():
        return {}
    rows = [json.loads(line) for line in PROBLEMS.read_text().splitlines()]
    return {row["question_id"]: row for row in rows if row["question_id"] in RIGHT}


def as_example(row):
    function = json.loads(row["metadata"]).get("func_name", "")
    tests = {"public": row["public_test_cases"], "private": row.get("private_test_cases")}
    return Example(row["question_id"], "code", (), "", "s", {"tests": tests, "function": function})


@needs_isolation
@pytest.mark.skipif(not PROBLEMS.exists(), reason="the real problems are not on this machine")
def test_right_programs_of_real_problems_are_right_and_wrong_ones_wrong():
    rows = real_problems()
    assert len(rows) == len(RIGHT) == 15
    for name, row in rows.items():
        scores = code.score(as_example(row), fenced(RIGHT[name]))
        assert scores["accuracy"] == 1.0, (name, scores)
    names = list(rows)
    for name, other in zip(names, names[1:] + names[:1]):  # each with the answer of the next
        assert code.score(as_example(rows[name]), fenced(RIGHT[other]))["accuracy"] == 0.0, name


@needs_isolation
@pytest.mark.skipif(not PROBLEMS.exists(), reason="the real problems are not on this machine")
def test_private_tests_count_too():
    path = PROBLEMS.with_name("full_row_1873_A.jsonl")
    example = as_example(json.loads(path.read_text()))
    assert len(code.tests_of(example)) == 5
    assert code.score(example, fenced(RIGHT["1873_A"]))["accuracy"] == 1.0


# What the study's grader makes of programs that are right.
STUDY = [
    (SUM, "print(sum(map(int, input().split())))", 1.0),
    (SUM, "if __name__ == '__main__':\n    print(sum(map(int, input().split())))", 0.0),
    (SUM, 'if __name__ == "__main__":\n    print(sum(map(int, input().split())))', 1.0),
    (SUM, "print(sum(map(int, input().split())))\nexit()", 0.0),
    (SUM, "import sys\nprint(sum(map(int, sys.stdin.read().split())))", 1.0),
    (SUM, "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", 0.0),
    (SUM, "print(float(sum(map(int, input().split()))))", 0.0),
    (PAIRS, "def shift(a, by): return [x + by for x in a]", 1.0),
    (PAIRS, "def shift(a, by): return tuple(x + by for x in a)", 0.0),
    (PAIRS, "def any_name(a, by): return [x + by for x in a]", 1.0),
    (PAIRS, "def help(x): return x\ndef shift(a, by): return [x + by for x in a]", 0.0),
    (PAIRS, "class Solution:\n    def shift(self, a, by): return [x + by for x in a]", 0.0),
    (PAIRS, "def shift(a: List[int], by): return [x + by for x in a]", 0.0),
    (problem([("true", "1")], "f"), "def f(x): return 1 if x == 'true' else 2", 1.0),
    (problem([('"a\\"b"', "4")], "f"), "def f(x): return len(x)", 1.0),
    (problem([("1", "7-")]), "print(7)", 1.0),
]


@needs_isolation
@pytest.mark.parametrize("example, program, right", STUDY)
def test_the_study_grader_is_followed_with_its_mistakes(example, program, right):
    assert code_paper.score(example, f"```python\n{program}\n```")["accuracy"] == right


@pytest.mark.parametrize(
    "text, found",
    [
        ("<think>\n```python\nx\n```\n</think>", "x\n"),
        ("```python\nx\n```\n```cpp\ny\n```", "y\n"),
        ("```python\nx", None),
        ("x = 1", None),
    ],
)
def test_the_study_takes_the_last_closed_fence_of_the_whole_text(text, found):
    assert code_paper.extract(SUM, text) == found


def humaneval(prompt, function, test):
    metadata = {"question": prompt, "function": function, "test": test}
    return Example("1", "humaneval", (), "", "test", metadata)


INCREASED = humaneval(
    "import math\n\ndef helper(x):\n    return x + 1\n\n\ndef f(x):\n    '''More.'''\n",
    "f",
    "def check(candidate):\n    for n in range(3):\n        assert candidate(n) == helper(n)\n",
)


@needs_isolation
@pytest.mark.parametrize(
    "text, right",
    [
        ("```python\ndef f(x):\n    return x + 1\n```", 1.0),
        ("```python\ndef f(x):\n    return helper(x)\n```", 1.0),
        ("```python\nfrom __future__ import annotations\ndef f(x):\n    return x + 1\n```", 1.0),
        ("    return helper(x)\n\ndef g():\n  never(", 1.0),
        ("\n    return math.floor(x) + 1", 1.0),
        ("```python\n    return x + 1\n```", 1.0),
        ("```python\ndef f(x):\n    return x\n```", 0.0),
        ("    return x", 0.0),
        ("return x + 1", 1.0),
        ("return x", 0.0),
        ("<think>Hm.</think>\n    return x + 1", 1.0),
        ("    return x + 1\n```\nThis works.", 1.0),
        ("y = x\nreturn y + 1", 1.0),
        ("y = helper(x)\n    return y", 1.0),
        ("if x < 0:\n        return 1\n    return x + 1\n```\nThis works.", 1.0),
        ("for y in [x]:\n    return y + 1", 1.0),
        ("return x + 1\n\ndef g():\n    never(", 1.0),
        ("```python\nreturn x + 1\n```", 1.0),
        ("def f(x):\n    return x + 1\n\nThis returns more.", 1.0),
        ("def f(x):\n    return x + 1\n\ndef g(:", 0.0),
        ("```python\ndef g(x):\n    return x + 1\n```", 0.0),
        ("No idea.", 0.0),
    ],
)
def test_humaneval_takes_whole_functions_and_completions(text, right):
    assert code_asserts.score_humaneval(INCREASED, text)["accuracy"] == right


@needs_isolation
def test_a_test_that_cannot_be_run_is_an_error_and_no_wrong_answer():
    broken = humaneval("import no_such_module\n\ndef f(x):\n    pass\n", "f", "def check(f): pass")
    with pytest.raises(UserError, match="test itself cannot be run: ModuleNotFoundError"):
        code_asserts.score_humaneval(broken, "```python\ndef f(x): return 1\n```")


def mbpp(assertions, **metadata):
    return Example("1", "mbpp", (), "", "test", {"assertions": assertions} | metadata)


MBPP = [
    (["assert f((3, 4), (5, 4)) == (4,)"], "def f(a, b): return tuple(set(a) & set(b))", {}),
    (["assert set(f([1])) == set([1])"], "def f(a): return a", {}),
    (
        ["assert math.isclose(f(2), 1.414, rel_tol=0.001)"],
        "def f(x): return x ** .5",
        {"imports": "import math"},
    ),
    (
        ["assert (height(root)) == 3"],
        "class Node:\n  pass\ndef height(n): return 3",
        {"setup": "root = Node()"},
    ),
    (
        ["assert f([Pair(1, 2)]) == 2"],
        "class Pair:\n  def __init__(s, a, b): s.b = b\ndef f(p): return p[0].b",
        {},
    ),
    (["assert not f(1)", "assert f(0) is None"], "def f(x): return None", {}),
]


@needs_isolation
@pytest.mark.parametrize("assertions, program, metadata", MBPP)
def test_assertions_of_mbpp_ask_the_program_for_what_it_alone_knows(assertions, program, metadata):
    right = code_asserts.score_mbpp(mbpp(assertions, **metadata), fenced(program))
    assert (right["accuracy"], right["tests_passed"]) == (1.0, 1.0)
    wrong = fenced("def f(*_): return 12345\nheight = f\nclass Node: pass\nPair = f")
    assert code_asserts.score_mbpp(mbpp(assertions, **metadata), wrong)["accuracy"] == 0.0


def humaneval_rows():
    for line in HUMANEVAL.read_text().splitlines():
        row = json.loads(line)
        names = [n.name for n in ast.parse(row["prompt"]).body if isinstance(n, ast.FunctionDef)]
        yield humaneval(row["prompt"], names[-1], row["test"]), row


def check_humaneval(pairs):
    """The reference solution is right, and with one word of it changed it is wrong."""
    items = []
    for example, row in pairs:
        before, _, after = row["canonical_solution"].rpartition("return")
        items.append((example, fenced(row["prompt"] + row["canonical_solution"])))
        items.append((example, fenced(row["prompt"] + before + "yield" + after)))
    with VerifierPool(min(2, os.cpu_count()), 60.0) as pool:
        verdicts = pool.score("humaneval", items)
    got = [verdict.scores.get("accuracy", verdict.error) for verdict in verdicts]
    assert got == [1.0, 0.0] * (len(items) // 2)


@needs_isolation
@pytest.mark.skipif(not HUMANEVAL.exists(), reason="HumanEval is not on this machine")
def test_some_reference_solutions_of_humaneval_are_right_and_broken_ones_wrong():
    check_humaneval(list(humaneval_rows())[::20])


@needs_isolation
@pytest.mark.slow
@pytest.mark.skipif(not HUMANEVAL.exists(), reason="HumanEval is not on this machine")
def test_all_reference_solutions_of_humaneval_are_right_and_broken_ones_wrong():
    pairs = list(humaneval_rows())
    assert len(pairs) == 164
    check_humaneval(pairs)


@needs_isolation
@pytest.mark.parametrize("task", ["code", "code_paper", "humaneval", "mbpp"])
def test_no_grader_says_right_to_everything(task):
    """Negative controls: replies that solve nothing, to problems that can be solved."""
    example = {
        "code": SUM,
        "code_paper": SUM,
        "humaneval": INCREASED,
        "mbpp": mbpp(["assert f(1) == 2", "assert f(5) == 6"]),
    }[task]
    replies = [
        "",
        "yes",
        "```python\n```",
        "```python\npass\n```",
        "x" * 100_000,
        "\ud800 ```",
        "\0",
    ]
    replies += ["```python\nprint('passed')\n```", "```python\nimport os; os._exit(0)\n```"]
    with VerifierPool(2, 30.0) as pool:
        verdicts = pool.score(task, [(example, reply) for reply in replies])
    assert [(v.error, v.scores.get("accuracy")) for v in verdicts] == [(None, 0.0)] * len(replies)
