import base64
import json
import os
import pickle
import zlib
from pathlib import Path

import pytest

from jaxreason.data import code_tests
from jaxreason.data.code_problems import humaneval, livecodebench, mbpp
from jaxreason.data.code_tests import all_tests, unpack
from jaxreason.data.rows import RowError, SourceRow

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
LIVECODEBENCH = SHARED / "benchmarks" / "livecodebench"

STDIN = {"input": "1\n", "output": "2\n", "testtype": "stdin"}
CALL = {"input": "[1]\n2", "output": "3", "testtype": "functional"}
PROBLEM = {
    "question_title": "Next",
    "question_content": "Print {n} + 1.",
    "platform": "atcoder",
    "question_id": "abc1_a",
    "contest_id": "abc1",
    "contest_date": "2023-06-01T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([STDIN]),
    "metadata": "{}",
}


def packed(value, protocol=4):
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


def flat(conversion, columns):
    (row,) = conversion([SourceRow("problems.jsonl", 1, columns)])
    return row


def test_public_and_private_tests_are_read_in_this_order():
    private = [STDIN | {"input": str(n)} for n in range(3)]
    for text in (packed(json.dumps(private)), packed(json.dumps(private), 0), json.dumps(private)):
        row = flat(livecodebench, PROBLEM | {"private_test_cases": text})
        assert row.problem is None and row.columns["num_tests"] == 4
        assert all_tests(row.columns["tests"]) == [STDIN, *private]


def test_a_problem_of_each_kind_becomes_flat():
    columns = flat(livecodebench, PROBLEM).columns
    assert (columns["id"], columns["prompt"]) == ("abc1_a", "Print {n} + 1.")
    assert (columns["kind"], columns["function"]) == ("stdin", "")
    assert (columns["difficulty"], columns["contest_date"]) == ("easy", "2023-06-01T00:00:00")
    assert columns["instruction"].startswith("Write a Python program that reads")
    function = PROBLEM | {
        "public_test_cases": json.dumps([CALL]),
        "starter_code": "class Solution:\n    def add(self, a, b):\n        ",
        "metadata": '{"func_name": "add"}',
    }
    columns = flat(livecodebench, function).columns
    assert (columns["kind"], columns["function"]) == ("function", "add")
    assert columns["instruction"].startswith(
        "```python\nclass Solution:\n    def add(self, a, b):\n```\n\nWrite the method"
    )
    assert "class Solution" not in columns["study_instruction"]


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("/tmp/jaxreason-unpickled",))


@pytest.mark.parametrize(
    "value",
    [Evil(), ["x", Evil()], {"a": os.system}, Path("x"), json.loads, pytest.raises, b"x".decode],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_asks_for_any_name_is_refused_and_nothing_happens(value, protocol):
    with pytest.raises(RowError, match="unsafe tests: the pickle asks for"):
        unpack(packed(value, protocol))
    assert not os.path.exists("/tmp/jaxreason-unpickled")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("no base64 !", "unreadable tests"),
        ("aGVsbG8=", "unreadable tests"),
        (base64.b64encode(zlib.compress(b"no pickle")).decode(), "unreadable tests"),
        (base64.b64encode(zlib.compress(pickle.dumps("x"))[:-5]).decode(), "unreadable tests"),
        (packed(["x"]), "unreadable tests"),
        (packed("{"), "unreadable tests"),
        (packed("{}"), "unreadable tests"),
        (packed("[1]"), "unreadable tests"),
        (packed(json.dumps([{"input": 1}])), "unreadable tests"),
        (packed(json.dumps([STDIN | {"testtype": "other"}])), "unreadable tests"),
        ("[" * 100_000, "unreadable tests"),
        (json.dumps([CALL]), "mixed tests"),
    ],
)
def test_tests_that_cannot_be_used_are_a_bad_row_with_a_reason(text, reason):
    row = flat(livecodebench, PROBLEM | {"private_test_cases": text})
    assert row.problem.reason == reason and row.columns == {}


def test_a_bomb_is_not_unpacked(monkeypatch):
    monkeypatch.setattr(code_tests, "MOST_BYTES", 1 << 20)
    bomb = packed("0" * (50 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(RowError, match="oversized tests: more than 1 MiB"):
        unpack(bomb)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"public_test_cases": "[]"}, "no tests"),
        ({"public_test_cases": None}, "no tests"),
        ({"public_test_cases": [STDIN]}, "wrong type"),
        ({"question_content": " "}, "empty"),
        ({"question_id": None}, "missing field"),
        ({"public_test_cases": json.dumps([CALL])}, "missing field"),
        ({"public_test_cases": json.dumps([CALL]), "metadata": "]"}, "missing field"),
        (
            {"public_test_cases": json.dumps([CALL]), "metadata": {"func_name": "f()"}},
            "missing field",
        ),
        ({"starter_code": 5}, "wrong type"),
    ],
)
def test_a_problem_that_lacks_what_it_needs_is_a_bad_row(change, reason):
    assert flat(livecodebench, PROBLEM | change).problem.reason == reason


HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "import math\n\ndef help(x):\n    return x\n\n\ndef f(x):\n    '''Doc.'''\n",
    "canonical_solution": "    return x\n",
    "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    "entry_point": "f",
}


def test_humaneval_names_the_function_with_and_without_an_entry_point():
    with_name = flat(humaneval, HUMANEVAL).columns
    without = flat(humaneval, {k: v for k, v in HUMANEVAL.items() if k != "entry_point"}).columns
    assert with_name == without
    assert (with_name["function"], with_name["id"]) == ("f", "HumanEval/0")
    assert with_name["begun"] + "\n" == with_name["prompt"] == HUMANEVAL["prompt"]
    bad = {k: v for k, v in HUMANEVAL.items() if k != "entry_point"}
    assert flat(humaneval, bad | {"prompt": "def f(:"}).problem.reason == "unreadable code"
    assert flat(humaneval, bad | {"prompt": "x = 1"}).problem.reason == "missing field"
    assert flat(humaneval, HUMANEVAL | {"test": ""}).problem.reason == "empty"


def test_mbpp_full_and_sanitized_have_one_form():
    full = {"task_id": 11, "text": "Add.", "code": "def f(): 1", "test_list": ["assert f() == 1"]}
    full |= {"test_setup_code": "x = 1", "challenge_test_list": []}
    columns = flat(mbpp, full).columns
    assert (columns["id"], columns["prompt"], columns["setup"]) == ("11", "Add.", "x = 1")
    assert (columns["assertions"], columns["shown"]) == (["assert f() == 1"], "assert f() == 1")
    sanitized = {"task_id": 2, "prompt": "Add.", "test_list": ["assert 1", "assert 2"]}
    columns = flat(mbpp, sanitized | {"test_imports": ["import math"]}).columns
    assert (columns["prompt"], columns["imports"]) == ("Add.", "import math")
    assert columns["shown"] == "assert 1\nassert 2"
    assert flat(mbpp, sanitized | {"test_list": []}).problem.reason == "no tests"
    assert flat(mbpp, sanitized | {"test_list": "assert 1"}).problem.reason == "wrong type"


@pytest.mark.skipif(not LIVECODEBENCH.exists(), reason="the real problems are not on this machine")
def test_the_real_problems_are_read_without_loss():
    found = {}
    for path in LIVECODEBENCH.glob("*.jsonl"):
        lines = path.read_text().splitlines()
        rows = [SourceRow(str(path), n, json.loads(line)) for n, line in enumerate(lines, start=1)]
        found[path.stem] = list(livecodebench(rows))
        assert [row.problem for row in found[path.stem]] == [None] * len(rows)
    kinds = [row.columns["kind"] for row in found["problems_without_private_tests"]]
    assert (kinds.count("function"), kinds.count("stdin")) == (45, 54)
    (whole,) = found["full_row_1873_A"]
    assert whole.columns["num_tests"] == 5
