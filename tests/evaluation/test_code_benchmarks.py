"""What the benchmarks of code ask, where they are read from, and that replies to them are graded."""

import dataclasses
import json
from pathlib import Path

import pytest
from tiny_evaluation import eval_config

from jaxreason.errors import UserError
from jaxreason.evaluation.benchmarks import BENCHMARKS, load_items
from jaxreason.evaluation.eval_jobs import asked_jobs
from jaxreason.evaluation.eval_settings import BenchmarkRun
from jaxreason.evaluation.evaluator import check_isolation
from jaxreason.evaluation.responses import run_responses
from jaxreason.tasks import isolation, jail_programs
from jaxreason.tasks.isolation import strongest
from jaxreason.tasks.registry import TASKS, grader_version
from jaxreason.tasks.verify import VerifierPool

STDIN = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
CALL = [{"input": "1\n2", "output": "3", "testtype": "functional"}]
PROBLEMS = [
    {
        "question_id": f"p{n}",
        "question_content": f"Problem {{{n}}}.",
        "public_test_cases": json.dumps(tests),
        "private_test_cases": json.dumps(tests),
        "starter_code": starter,
        "metadata": json.dumps(metadata),
    }
    for n, (tests, starter, metadata) in enumerate(
        [(STDIN, "", {}), (CALL, "class Solution:\n    def add(self, a, b):", {"func_name": "add"})]
    )
]
HUMANEVAL = {
    "task_id": "h/0",
    "prompt": "def f(x):\n    '''One more.'''\n",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    "entry_point": "f",
}
MBPP = {"task_id": 3, "prompt": "One more.", "test_list": ["assert f(1) == 2"], "test_imports": []}
BLOCK = " in one block that begins with ```python."
ASKED = {
    ("livecodebench", "program"): (
        "Problem {0}.\n\nWrite a Python program that reads the input from standard input and prints "
        "the answer to standard output. You may think first. End with the whole program" + BLOCK
    ),
    ("livecodebench", "paper"): (
        "Write an executable Python function for the task that follows. It takes its input from "
        "stdin and prints the output. After its definition, call it.Problem {0}."
    ),
    ("humaneval", "function"): (
        "```python\ndef f(x):\n    '''One more.'''\n```\n\nComplete this Python function. You may "
        "think first. End with the whole function and what it needs" + BLOCK
    ),
    ("mbpp", "function"): (
        "One more.\n\nThese tests must hold:\n```python\nassert f(1) == 2\n```\n\nYou may think "
        "first. End with the whole Python function and what it needs" + BLOCK
    ),
}
RIGHT = {
    "livecodebench": [
        "print(int(input()) + 1)",
        "class Solution:\n    def add(self, a, b): return a + b",
    ],
    "humaneval": ["def f(x): return x + 1"],
    "mbpp": ["def f(x): return x + 1"],
}


@pytest.fixture
def folder(tmp_path):
    for name, rows in {
        "benchmarks/livecodebench/test.jsonl": PROBLEMS[:1],
        "benchmarks/livecodebench/test2.jsonl": PROBLEMS[1:],
        "benchmarks/livecodebench/test3.jsonl": [{"question_id": "a later release"}],
        "general/humaneval.jsonl": [HUMANEVAL],
        "general/mbpp.jsonl": [MBPP],
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def items_of(name, prompt, folder, source="files"):
    asked = BENCHMARKS[name].prompts[prompt]
    if source == "hub":  # a local folder in the place of the dataset on the hub
        dataset = dataclasses.replace(asked.hub[""], path=str(folder / "benchmarks/livecodebench"))
        asked = dataclasses.replace(asked, hub={"": dataset})
    return load_items(name, asked, source, str(folder), 0, 0)


@pytest.mark.parametrize(("name", "prompt"), ASKED)
def test_a_problem_is_asked_in_these_words(name, prompt, folder):
    first = items_of(name, prompt, folder)[0]
    assert first.example.messages[-1]["content"] == ASKED[name, prompt]
    assert set(ASKED) == {(n, p) for n in RIGHT for p in BENCHMARKS[n].prompts}


def test_a_function_problem_shows_its_starter_code_and_the_study_does_not(folder):
    shown, paper = (
        items_of("livecodebench", prompt, folder)[1].example.messages[-1]["content"]
        for prompt in ("program", "paper")
    )
    assert shown.startswith(
        "Problem {1}.\n\n```python\nclass Solution:\n    def add(self, a, b):\n```\n\nWrite the method"
    )
    assert "Solution" not in paper and "the function alone, without a call of it.Problem" in paper


def test_release_v2_is_the_first_two_files_here_and_on_the_hub(folder):
    for source in ("files", "hub"):
        items = items_of("livecodebench", "program", folder, source)
        assert [item.id for item in items] == ["p0", "p1"]
    assert BENCHMARKS["livecodebench"].prompts["program"].hub[""].options["files"] == (
        "test.jsonl,test2.jsonl"
    )


@pytest.mark.skipif(strongest()[0] is None, reason=f"{strongest()[1]}")
@pytest.mark.parametrize("name", RIGHT)
def test_right_replies_are_right_and_others_wrong_in_every_variant(name, folder):
    for variant, grader in BENCHMARKS[name].variants.items():
        items = items_of(name, grader.prompt, folder)
        right = [f"So:\n```python\n{program}\n```" for program in RIGHT[name]]
        with VerifierPool(2, 30.0) as pool:
            pairs = [(item.example, reply) for item, reply in zip(items, right)]
            good = pool.score(grader.task, pairs)
            bad = pool.score(
                grader.task, [(item.example, "```python\npass\n```") for item in items]
            )
        # The study's grader does not call methods of a class.
        expected = (
            [1.0, 0.0] if (name, variant) == ("livecodebench", "paper") else [1.0] * len(right)
        )
        assert [verdict.scores.get("accuracy") for verdict in good] == expected
        assert [verdict.scores.get("accuracy") for verdict in bad] == [0.0] * len(items)


def test_the_version_of_a_grader_of_code_holds_what_runs_in_the_jail(monkeypatch):
    before = grader_version(TASKS["code"])
    read = Path(jail_programs.__file__).read_text()
    monkeypatch.setattr("inspect.getsource", _changed(jail_programs, read + "# changed\n"))
    assert grader_version(TASKS["code"]) != before


def _changed(changed, text):
    def source(module):
        return text if module is changed else Path(module.__file__).read_text()

    return source


PROBLEM = {
    "task_id": "Own/0",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(3) == 6\n    assert candidate(-1) == -2\n",
}


def grade_humaneval(tmp_path, setting, reply):
    (tmp_path / "general").mkdir(exist_ok=True)
    (tmp_path / "general" / "humaneval.jsonl").write_text(json.dumps(PROBLEM) + "\n")
    file = tmp_path / "replies.jsonl"
    file.write_text(json.dumps({"response": reply}) + "\n")
    config = eval_config({}, {}, data_folder=str(tmp_path), code_isolation=setting)
    run_responses(config, file, "humaneval", (), {}, tmp_path / "evaluation")
    rows = json.loads((tmp_path / "evaluation" / "scores.json").read_text())["rows"]
    return next(row for row in rows if row["primary"])


@pytest.mark.parametrize(("factor", "right"), [(2, 1.0), (3, 0.0)])
def test_scores_say_how_programs_were_locked_in(tmp_path, factor, right):
    row = grade_humaneval(
        tmp_path, "none", f"```python\ndef double(x):\n    return {factor} * x\n```"
    )
    assert (row["mean"], row["errors"], row["isolation"]) == (right, 0, "none")


def test_code_is_refused_before_anything_is_read_or_sampled_where_nothing_isolates(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(isolation, "strongest", lambda: (None, ("landlock: not there",)))
    with pytest.raises(
        UserError, match=r"not run here, since nothing isolates .*landlock: not there"
    ):
        grade_humaneval(tmp_path, "auto", "def double(x): return 2 * x")
    assert not (tmp_path / "evaluation").exists()
    config = eval_config(
        {}, {"humaneval": BenchmarkRun(0, {"greedy": 1})}, data_folder=str(tmp_path)
    )
    with pytest.raises(UserError, match="nothing isolates"):
        check_isolation(config, asked_jobs(config))
