"""The real files of the benchmarks, where they are at hand: how many rows, and what is in them."""

import collections
import json

import pytest

from jaxreason.data.conversions import read_rows
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog

BENCHMARKS = "data/benchmarks"


@pytest.fixture
def convert(shared, make_config):
    """The columns that a conversion makes of a real file; every row must be good."""

    def made(name, path, folder=BENCHMARKS, **options):
        found = shared(f"{folder}/{path}".rpartition("/")[0]) / path.rpartition("/")[2]
        rows = list(read_rows(make_config(found, options={"rows": name} | options)))
        assert [row.where for row in rows if row.problem] == []
        return [row.columns for row in rows]

    return made


def test_headqa_has_all_of_its_2742_questions(convert):
    rows = convert("headqa", "headqa/test_HEAD_EN.json")
    assert len(rows) == len({row["id"] for row in rows}) == 2742
    first = rows[0]
    assert first["id"] == "Cuaderno_2016_1_B/1"
    assert first["question"] == "Form extracellular fibers with high tensile strength:"
    assert (first["answer"], first["answer_text"]) == ("B", "Collagen")
    assert {len(row["choices"]["text"]) for row in rows} == {4}


def test_coqas_story_ends_in_its_twelfth_question(convert):
    (row,) = convert("coqa", "coqa/coqa-dev-v1.0.one_story.json")
    assert row["question"] == "Did they want Cotton to change the color of her fur?"
    assert row["references"] == ["no", "no", "No", "no"]
    assert row["dialogue"].count("\n\nQ: ") == row["dialogue"].count("\n\nA: ") == 11
    assert row["dialogue"].startswith("\n\nQ: What color was Cotton?\n\nA: white\n\nQ: ")


def test_coqas_dialogue_is_the_one_that_the_released_responses_were_asked(convert, shared):
    (row,) = convert("coqa", "coqa/coqa-dev-v1.0.one_story.json")
    with shared("data/uniresponses/UniReason-RL_coqa.jsonl").open() as lines:
        asked = json.loads(next(lines))["input"]
    text = f"{row['story']}{row['dialogue']}\n\nQ: {row['question']}\n\nA:"
    assert asked.removeprefix("<|im_start|>user\n").startswith(f"{text}<|im_end|>")


def test_coqas_stories_in_the_hubs_shape_are_read(convert):
    rows = convert("coqa", "coqa/dev60_without_last_turn.jsonl")
    assert len(rows) == 60
    assert (rows[0]["answer"], rows[0]["references"]) == ("licked her face", ["licked her face"])


@pytest.mark.parametrize(("task", "count"), [("qa", 300), ("dialogue", 250), ("summarization", 60)])
def test_halueval_has_one_candidate_a_row_and_about_half_are_made_up(convert, task, count):
    rows = convert("halueval", f"halueval/{task}_data.json")
    assert len(rows) == count
    assert 0.35 * count <= sum(row["answer"] == "yes" for row in rows) <= 0.65 * count


def test_mmlus_dev_questions_are_five_of_each_of_57_subjects(convert):
    rows = convert("mmlu", "mmlu/dev/*.csv", columns="question,A,B,C,D,answer")
    counts = collections.Counter(row["subject"] for row in rows)
    assert len(rows) == 285 and len(counts) == 57 and set(counts.values()) == {5}
    hyoid = next(row for row in rows if "hyoid" in row["question"])
    assert (hyoid["subject"], hyoid["answer"]) == ("anatomy", "D")


def test_acpbenchs_test_set_has_900_questions_and_no_letter_for_most(convert):
    names = ["app", "areach", "just", "land", "prog", "reach", "val"]
    rows = {name: convert("acpbench", f"acpbench/{name}.test.mcq.json.gz") for name in names}
    assert [len(rows[name]) for name in names] == [130, 120, 130, 130, 130, 130, 130]
    assert rows["app"][0]["question"] == (
        "Which of the following actions will be applicable in this state?"
    )
    shuffled = [convert("acpbench", f"acpbench/{n}.test.mcq.json.gz", shuffle=0) for n in names]
    counts = collections.Counter(row["answer"] for part in shuffled for row in part)
    assert set(counts) == set("ABCD") and all(180 <= n <= 270 for n in counts.values())
    for name, part in zip(names, shuffled):
        assert [r["answer_text"] for r in part] == [r["answer_text"] for r in rows[name]]


def test_acpbenchs_dev_questions_are_told_apart_from_their_options(convert):
    names = ["act_reach", "app", "just", "land", "prog", "reach", "val"]
    parts = [convert("acpbench", f"acpbench_mcq_{n}.json", "data/general") for n in names]
    assert [len(part) for part in parts] == [40] * 7


def test_mc_tacos_pairs_are_all_read(convert):
    names = "sentence,question,candidate,label,category"
    rows = convert("mc_taco", "mc_taco_test.tsv", "data/general", columns=names)
    assert len(rows) == 9442
    assert round(sum(row["label"] == "no" for row in rows) / len(rows), 3) == 0.661


def test_aime_2025_has_both_parts_and_two_sources_agree(shared, make_config):
    path = shared(f"{BENCHMARKS}/aime/evalchemy_aime25.json")
    fields = {"id": "id", "prompt": "problem", "answer": "answer"}
    examples = load_examples(make_config(path, fields=fields), DropLog())
    parts = [f"{part}-{n}" for part in ("I", "II") for n in range(1, 16)]
    assert [example.id for example in examples] == parts
    fields = {"prompt": "prompt", "answer": "answer"}
    path = shared(f"{BENCHMARKS}/aime/qwq_aime25.jsonl")
    others = load_examples(make_config(path, fields=fields), DropLog())
    assert [e.answer for e in examples] == [e.answer for e in others]


def test_xstest_is_read_without_a_conversion(shared, make_config):
    path = shared(f"{BENCHMARKS}/xstest/xstest_prompts.csv")
    fields = {"id": "id", "prompt": "prompt", "answer": "label"}
    examples = load_examples(make_config(path, fields=fields), DropLog())
    labels = collections.Counter(example.answer for example in examples)
    assert labels == {"safe": 250, "unsafe": 200}
