"""What training leaves out of a recipe's questions because its benchmarks ask it, and what is said of it."""

import dataclasses
import json
import logging

import pytest
from etils import epath
from ml_collections import ConfigDict

from configs import sections
from jaxreason.config import ConfigError, parse
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog
from jaxreason.errors import UserError
from jaxreason.results.training_files import read_decontamination
from jaxreason.studies.contamination import decontaminated
from jaxreason.training.sft_config import SFTConfig

FIELDS = {"prompt": "question", "answer": "answer", "response": "answer"}
TRAIN = ["What is $4 - 1$?", "What is 4 + 1?", "What is 5 + 1?"]


def write(path, questions):
    rows = [{"question": text, "answer": "3"} for text in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def recipe(tmp_path):
    data = sections.dataset(write(tmp_path / "train.jsonl", TRAIN), FIELDS)
    own = sections.dataset(write(tmp_path / "test.jsonl", ["what is 4-1 ?"]), FIELDS, task="math")
    evaluation = sections.evaluation(
        {"mine": {"limit": 0, "samples": {"greedy": 1}}},
        {"greedy": sections.decoding(0.0, 8)},
        own={"mine": {"label": "My test", "group": "math", "data": own}},
        data_folder=str(tmp_path / "nothing"),
    )
    return ConfigDict({"sft": sections.sft({"sums": data}, 1e-3), "eval": evaluation})


def run(recipe, folder):
    section = parse(SFTConfig, recipe.sft, "config.sft")
    return decontaminated(recipe, section, epath.Path(folder))


def kept(section, drops=None):
    examples = load_examples(section.datasets["sums"], drops or DropLog())
    return [example.metadata["question"] for example in examples]


def test_what_a_benchmark_asks_is_not_trained_on_and_counted_in_the_data(recipe, tmp_path):
    drops = DropLog()
    assert kept(run(recipe, tmp_path / "run"), drops) == TRAIN[1:]
    counts = next(iter(drops.to_json().values()))
    assert counts["left_out"] == {"question of a benchmark": 1}


def test_a_limit_counts_what_is_left(recipe, tmp_path):
    recipe.sft.datasets.sums.limit = 2
    assert kept(run(recipe, tmp_path / "run")) == TRAIN[1:]


def test_the_run_has_a_file_and_the_user_a_line_that_say_what_was_left_out(
    recipe, tmp_path, caplog
):
    with caplog.at_level(logging.INFO):
        run(recipe, tmp_path / "run")
    report = read_decontamination(epath.Path(tmp_path / "run/decontamination.json"))
    assert report["removed"] == {"sums": {"mine": 1}} and report["kept"] == 2
    assert report["benchmarks"] == {"mine": 1} and report["items"][0]["reason"] == "same question"
    assert "1 of 3 training questions are left out (sums: 1 of My test)" in caplog.text


def test_a_benchmark_that_cannot_be_read_is_named_and_the_others_are_compared(
    recipe, tmp_path, caplog
):
    with recipe.unlocked(), recipe.eval.benchmarks.unlocked():
        recipe.eval.benchmarks.math500 = recipe.eval.benchmarks.mine
    assert kept(run(recipe, tmp_path / "run")) == TRAIN[1:]
    report = read_decontamination(epath.Path(tmp_path / "run/decontamination.json"))
    assert list(report["unread"]) == ["math500"] and "no such file" in report["unread"]["math500"]
    assert "NOT compared with MATH-500" in caplog.text


def test_the_recipe_can_turn_it_off_and_the_file_says_so(recipe, tmp_path, caplog):
    with recipe.unlocked():
        recipe.decontamination = {"enabled": False}
    assert kept(run(recipe, tmp_path / "run")) == TRAIN
    assert (
        read_decontamination(epath.Path(tmp_path / "run/decontamination.json"))["enabled"] is False
    )
    assert "decontamination is off" in caplog.text


def test_further_benchmarks_can_be_named_and_unknown_ones_are_refused(recipe, tmp_path):
    with recipe.unlocked():
        recipe.decontamination = {"also": ("gsm8k",)}
    run(recipe, tmp_path / "run")
    report = read_decontamination(epath.Path(tmp_path / "run/decontamination.json"))
    assert "gsm8k" in report["unread"]
    recipe.decontamination.also = ("gsm9k",)
    with pytest.raises(ConfigError, match=r"'gsm9k' is no benchmark.*gsm8k"):
        run(recipe, tmp_path / "run")


def test_an_unknown_benchmark_of_the_evaluation_is_named_where_it_stands(recipe, tmp_path):
    with recipe.eval.benchmarks.unlocked():
        recipe.eval.benchmarks["gsm9k"] = recipe.eval.benchmarks.mine
    with pytest.raises(ConfigError, match=r"^config\.eval\.benchmarks: 'gsm9k' is no bench.*gsm8k"):
        run(recipe, tmp_path / "run")


def test_a_recipe_without_benchmarks_trains_on_everything(recipe, tmp_path):
    with recipe.unlocked():
        del recipe["eval"]
    section = run(recipe, tmp_path / "run")
    assert kept(section) == TRAIN and not (tmp_path / "run").exists()


def test_a_benchmark_is_not_named_where_nothing_says_how_to_read_it(recipe, tmp_path):
    with recipe.unlocked():
        del recipe["eval"]
        recipe.decontamination = {"also": ("gsm8k",)}
    with pytest.raises(ConfigError, match=r"decontamination\.also=.'gsm8k',.: .*a section `eval`"):
        run(recipe, tmp_path / "run")


def test_a_second_start_finds_and_writes_the_same(recipe, tmp_path):
    path = tmp_path / "run/decontamination.json"
    first = run(recipe, tmp_path / "run")
    time = path.stat().st_mtime_ns
    assert run(recipe, tmp_path / "run") == first and path.stat().st_mtime_ns == time


def more_benchmarks(recipe, tmp_path, questions):
    own = {**recipe.eval.own.mine.data, "path": str(write(tmp_path / "new.jsonl", questions))}
    with recipe.unlocked(), recipe.eval.benchmarks.unlocked(), recipe.eval.own.unlocked():
        recipe.eval.own.new = {"label": "New", "group": "math", "data": own}
        recipe.eval.benchmarks.new = recipe.eval.benchmarks.mine


def test_a_run_that_has_begun_goes_on_when_a_benchmark_comes_and_says_what_it_learned(
    recipe, tmp_path, caplog
):
    folder = tmp_path / "run"
    run(recipe, folder)
    (folder / "done.json").write_text("{}")
    more_benchmarks(recipe, tmp_path, [TRAIN[1]])
    assert kept(run(recipe, folder)) == TRAIN[1:]
    report = read_decontamination(epath.Path(folder / "decontamination.json"))
    assert report["found_later"] == {"sums": {"new": 1}} and report["benchmarks"] == {
        "mine": 1,
        "new": 1,
    }
    assert "ask others that it learns from (sums: 1 of New)" in caplog.text


def test_a_run_that_has_not_begun_leaves_out_what_a_new_benchmark_asks(recipe, tmp_path):
    run(recipe, tmp_path / "run")
    more_benchmarks(recipe, tmp_path, [TRAIN[1]])
    assert kept(run(recipe, tmp_path / "run")) == TRAIN[2:]


def test_a_run_that_has_begun_cannot_be_switched(recipe, tmp_path):
    run(recipe, tmp_path / "run")
    (tmp_path / "run/done.json").write_text("{}")
    with recipe.unlocked():
        recipe.decontamination = {"enabled": False}
    with pytest.raises(ConfigError, match="began with True; use another --workdir"):
        run(recipe, tmp_path / "run")
    report = read_decontamination(epath.Path(tmp_path / "run/decontamination.json"))
    assert report["enabled"] is True


def test_a_dataset_that_names_a_file_which_is_gone_is_refused(recipe, tmp_path):
    section = run(recipe, tmp_path / "run")
    (tmp_path / "run/decontamination.json").unlink()
    with pytest.raises(UserError, match=r"decontamination.json: not found"):
        kept(section)


def test_a_question_that_two_datasets_have_is_left_out_of_both(recipe, tmp_path):
    data = dataclasses.asdict(parse(SFTConfig, recipe.sft, "config.sft").datasets["sums"])
    with recipe.sft.datasets.unlocked():
        recipe.sft.datasets.more = {**data, "path": str(write(tmp_path / "more.jsonl", TRAIN[:2]))}
    section = run(recipe, tmp_path / "run")
    more = load_examples(section.datasets["more"], DropLog())
    assert [e.metadata["question"] for e in more] == TRAIN[1:2] and kept(section) == TRAIN[1:]
    report = read_decontamination(epath.Path(tmp_path / "run/decontamination.json"))
    assert report["removed"] == {"more": {"mine": 1}, "sums": {"mine": 1}}
