import dataclasses
import json
import zlib
from collections import Counter

import pytest

from jaxreason.config import parse
from jaxreason.errors import UserError
from jaxreason.procedural import tiny_questions
from jaxreason.procedural.question_kinds import PROCEDURAL_TASKS
from jaxreason.procedural.tiny_questions import ProceduralConfig, TaskMixture, make_questions
from jaxreason.tasks.registry import TASKS

STYLES = {"direct": 0.47, "short": 0.5, "teacher": 0.03}
SECTION = {
    "seed": 0,
    "groups": {"math": 40.0, "other": 36.0, "non_reasoning": 24.0},
    "tasks": {
        name: {
            "weight": 3.0 if name in ("order", "get") else 1.0,
            "styles": STYLES if task.group == "math" else dict.fromkeys(task.traces, 1.0),
        }
        for name, task in PROCEDURAL_TASKS.items()
    },
    "base_count": 4000,
    "twin_tasks": ("add", "sub", "chain", "mul"),
    "twin_count": 400,
    "twin_style": "teacher",
    "development_count": 30,
    "test_count": 40,
    "fewer": {"mul": 20},
}


@pytest.fixture(scope="module")
def config() -> ProceduralConfig:
    return parse(ProceduralConfig, SECTION, "procedural")


@pytest.fixture(scope="module")
def files(config):
    return tiny_questions.make_procedural_files(config)


@pytest.mark.parametrize("task", PROCEDURAL_TASKS)
def test_splits_are_disjoint_whatever_the_seed(task):
    splits = {
        split: {q.question for seed in (0, 1) for q in make_questions(task, split, 60, seed)}
        for split in ("train", "development", "test")
    }
    assert all(len(questions) > 60 for questions in splits.values())
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["development"]
    assert not splits["development"] & splits["test"]


@pytest.mark.parametrize("task", [task for task in PROCEDURAL_TASKS if task != "add"])
def test_the_checksum_of_a_question_decides_its_split(task):
    for split, residues in (("test", {0}), ("development", {1}), ("train", {2, 3, 4, 5, 6, 7})):
        for question in make_questions(task, split, 40, 3):
            assert zlib.crc32(question.question.encode()) % 8 in residues


def test_a_sum_and_its_reversal_are_in_the_same_split():
    for question in make_questions("add", "test", 200, 0):
        a, b = question.question.split("+")
        assert tiny_questions.split_of("add", f"{b}+{a}") == "test"


@pytest.mark.parametrize("task", PROCEDURAL_TASKS)
def test_questions_are_distinct_and_reproducible(task):
    questions = make_questions(task, "train", 80, 5)
    assert len({question.question for question in questions}) == 80
    assert make_questions(task, "train", 80, 5) == questions
    assert make_questions(task, "train", 40, 5) == questions[:40]
    assert make_questions(task, "train", 80, 6) != questions
    assert {question.group for question in questions} == {PROCEDURAL_TASKS[task].group}


def test_the_same_seed_gives_these_questions_on_every_machine():
    assert [q.question for q in make_questions("chain", "test", 3, 0)] == FIRST_CHAINS


FIRST_CHAINS = ["3+6+1-4", "1+9-9+7", "7+6-5+9"]


def test_too_many_questions_are_refused_with_the_number_there_is():
    with pytest.raises(ValueError, match="'mul' has only 91 questions in split 'test'; 200 were"):
        make_questions("mul", "test", 200, 0)
    with pytest.raises(ValueError, match=r"'mull' is unknown; there are add, sub"):
        make_questions("mull", "test", 1, 0)
    with pytest.raises(ValueError, match=r"'tset' is unknown; there are test"):
        make_questions("mul", "tset", 1, 0)


def test_the_base_mixture_has_its_shares(files):
    rows = files["base.jsonl"]
    groups = Counter(row["group"] for row in rows)
    tasks = Counter(row["task"] for row in rows)
    styles = Counter(row["style"] for row in rows if row["group"] == "math")
    assert len(rows) == 4000
    assert groups["math"] / 4000 == pytest.approx(0.40, abs=0.02)
    assert groups["other"] / 4000 == pytest.approx(0.36, abs=0.01)
    assert tasks["order"] / groups["other"] == pytest.approx(3 / 6, abs=0.01)
    assert styles["short"] / groups["math"] == pytest.approx(0.5, abs=0.02)
    assert styles["teacher"] / groups["math"] == pytest.approx(0.03, abs=0.01)


def test_every_reply_is_graded_right_and_a_wrong_one_wrong(files):
    from jaxreason.data.examples import Example

    for row in files["base.jsonl"][:500] + files["sft.jsonl"]:
        item = Example(row["id"], "hash_answer", (), row["answer"], "", {})
        assert TASKS["hash_answer"].score(item, row["response"])["accuracy"] == 1.0
        assert TASKS["hash_answer"].score(item, row["response"] + "0")["accuracy"] == 0.0


def test_sft_and_rl_learn_from_the_same_questions(files):
    sft, rl = files["sft.jsonl"], files["rl.jsonl"]
    assert len(rl) == len({row["question"] for row in rl}) == 400
    keys = ("id", "question", "answer", "task", "group")
    assert [{key: row[key] for key in keys} for row in sft] == rl
    assert Counter(row["task"] for row in rl) == {"add": 100, "sub": 100, "chain": 100, "mul": 100}
    assert all(row["response"].startswith(f"let {row['question']}. ") for row in sft)


def test_no_evaluation_question_is_trained_on(files):
    trained = {row["question"] for name in ("base.jsonl", "rl.jsonl") for row in files[name]}
    held_out = [row for name, rows in files.items() if "/" in name for row in rows]
    assert len(held_out) == 12 * (30 + 40) + 2 * 20
    assert not trained & {row["question"] for row in held_out}
    assert len({(row["task"], row["question"]) for row in held_out}) == len(held_out)
    assert len({row["id"] for row in held_out}) == len(held_out)


def test_files_are_a_function_of_the_config_and_plain_json(config, files):
    again = tiny_questions.make_procedural_files(config)
    assert again == files
    assert json.loads(json.dumps(files)) == files
    other = tiny_questions.make_procedural_files(dataclasses.replace(config, seed=1))
    assert other["rl.jsonl"] != files["rl.jsonl"]


def test_impossible_mixtures_are_refused(config):
    replace = dataclasses.replace
    only_math = {"add": TaskMixture(1.0, STYLES)}
    with pytest.raises(ValueError, match="no task with a weight in other, non_reasoning"):
        list(tiny_questions.base_rows(replace(config, tasks=only_math)))
    with pytest.raises(ValueError, match="401 is no multiple of 4 tasks"):
        tiny_questions.rl_rows(replace(config, twin_count=401))
    with pytest.raises(
        ValueError, match="'add' has no style 'terse'; it has direct, short, teacher"
    ):
        tiny_questions.sft_rows(replace(config, twin_style="terse"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"twin_tasks": ()}, "twin_tasks: expected one or more, each once"),
        ({"twin_tasks": ("add", "add")}, "twin_tasks: expected one or more, each once"),
        ({"twin_tasks": ("ad",)}, "twin_tasks, twin_style: procedural task 'ad' is unknown"),
        (
            {"twin_style": "terse"},
            "twin_tasks, twin_style: task 'add' has no style 'terse'; it has direct",
        ),
        (
            {"tasks": {"add": {"weight": 1.0, "styles": {"x": 1}}}, "fewer": {}},
            "tasks.add.styles: ",
        ),
        ({"fewer": {"add": 3, "mull": 3}}, "fewer: mull: expected some of procedural.tasks"),
        ({"groups": {}}, "groups: expected a share above 0"),
        ({"groups": {"math": 0.0}}, "groups: expected a share above 0"),
        ({"tasks": SECTION["tasks"] | {"mul": {"weight": 1.0, "styles": {}}}}, "tasks.mul.styles"),
    ],
)
def test_fields_that_nothing_can_be_drawn_from_or_that_are_not_read_are_named(changes, message):
    config = parse(ProceduralConfig, SECTION | changes, "procedural")
    with pytest.raises(UserError, match=f"^procedural.{message}"):
        tiny_questions.make_procedural_files(config)


def test_shares_are_not_needed_where_no_mixture_is_drawn():
    config = parse(ProceduralConfig, SECTION | {"groups": {}, "base_count": 0}, "procedural")
    files = tiny_questions.make_procedural_files(config)
    assert files["base.jsonl"] == [] and len(files["rl.jsonl"]) == 400
