"""Cross-sampling end to end: questions, budgets, grades, files, and what is refused."""

import dataclasses
import pathlib
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run_processes
from tiny_evaluation import (
    ARCHITECTURE,
    CHARACTERS,
    SAMPLER,
    evaluate,
    read_lines,
    sums_config,
    write_questions,
)
from tiny_qwen3 import model_config

from jaxreason.config import ConfigError
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import make_model
from jaxreason.results.drift_files import cross_replies_path, read_cross_replies, read_cross_results
from jaxreason.results.drift_files import write_cross_replies as write
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.studies import cross_sample
from jaxreason.studies.cross_sample import ChoiceRows, CrossSampleConfig, run_cross_sample

CONFIG = CrossSampleConfig("sums", budgets=(0, 1, 2, -1), batch_size=4)
QUESTIONS = [(f"{n}+{7 - n}=", "7") for n in range(5)]
ASSISTANT, END = 2, 3
# What is likeliest after a token, and how much more than all else. After "#" the tuned model has the right answer; that
# it goes on with a space after any digit is a smaller difference, which changes no answer.
BASE = {ASSISTANT: ("#", 9.0), "#": ("3", 9.0), "3": (END, 0.3), "7": (END, 0.3), " ": (END, 9.0)}
TUNED = BASE | {"#": ("7", 9.0), "3": (" ", 0.3), "7": (" ", 0.3)}
WIDTH = 104


def number(token: int | str) -> int:
    return token if isinstance(token, int) else 4 + CHARACTERS.index(token)


def bigrams(model, likeliest: dict):
    """Parameters with which the next token follows from the last one alone."""
    zero = jax.tree.map(jnp.zeros_like, init_params(model, jax.random.key(0)))
    vocab = model.architecture.vocab_size
    table = np.zeros((WIDTH, vocab), np.float32)
    for token, (following, size) in likeliest.items():
        table[number(token), number(following)] = size / np.sqrt(
            WIDTH
        )  # the norm scales by its root
    embedding = jnp.asarray(np.eye(vocab, WIDTH), jnp.float32)
    made = {"embed_tokens": {"embedding": embedding}, "lm_head": {"kernel": jnp.asarray(table)}}
    return zero | made | {"norm": jax.tree.map(jnp.ones_like, zero["norm"])}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models that differ in what follows "#", which is the answer, and a little in what follows a digit."""
    root = tmp_path_factory.mktemp("models")
    sizes = {"hidden_size": WIDTH, "tie_word_embeddings": False, "num_hidden_layers": 1}
    model = make_model(model_config(""), architecture_from_hf(ARCHITECTURE | sizes))
    save_character_tokenizer(root / "tokenizer", CHARACTERS)
    for name, likeliest in (("base", BASE), ("tuned", TUNED)):
        of = bigrams(model, likeliest)
        folder, tokenizer = root / name, root / "tokenizer"
        save_model(folder, model, of, tokenizer_from=tokenizer, max_shard_bytes=1 << 30)
    return root


def run(models, questions, workdir, config=CONFIG, **changes):
    mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=1, context=1), jax.devices()[:1])
    evaluation = sums_config(questions, {"greedy": 1, "t1": 1}, **changes)
    pair = model_config(models / "base"), model_config(models / "tuned")
    with jax.set_mesh(mesh):
        run_cross_sample(config, evaluation, *pair, mesh, workdir, 0)
    return read_cross_results(workdir)[0]


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions") / "sums.jsonl", QUESTIONS)


@pytest.fixture(scope="module")
def finished(models, questions, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, run(models, questions, workdir)


def lines_of(workdir, leads, budget):
    lines = read_cross_replies(cross_replies_path(workdir, "sums", leads, budget))
    return {line["id"]: line for line in lines}


@pytest.mark.parametrize("leads", ["base", "tuned"])
def test_no_budget_gives_the_samplers_greedy_replies_and_no_end_those_of_the_other(
    finished, models, questions, tmp_path, leads
):
    evaluate(sums_config(questions, {"greedy": 1}), models / leads, tmp_path)
    sampled = {line["id"]: line for line in read_lines(tmp_path, "sums.greedy")}
    own = lines_of(finished[0], leads, "0")
    other = lines_of(finished[0], {"base": "tuned", "tuned": "base"}[leads], "all")
    assert set(own) == set(other) == set(sampled)
    for name, line in sampled.items():
        for found in (own[name], other[name]):
            assert (found["tokens"], found["completion"]) == (line["tokens"], line["completion"])
            assert found["finish_reason"] == line["finish_reason"]


def test_one_choice_carries_the_answer_both_ways(finished):
    scores = {(row["leads"], row["budget"]): row["mean"] for row in finished[1]["rows"]}
    assert [scores["base", budget] for budget in (0, 1, 2, None)] == [0, 1, 1, 1]
    assert [scores["tuned", budget] for budget in (0, 1, 2, None)] == [1, 0, 0, 0]
    texts = {
        (leads, budget): {x["completion"] for x in lines_of(finished[0], leads, budget).values()}
        for leads in ("base", "tuned")
        for budget in ("0", "1", "all")
    }
    assert texts["base", "0"] == {"#3"} and texts["base", "1"] == {"#7"}
    assert texts["base", "all"] == texts["tuned", "0"] == {"#7 "}
    assert texts["tuned", "1"] == {"#3 "} and texts["tuned", "all"] == {"#3"}


def test_what_is_taken_is_the_largest_shift_of_the_own_reply(finished):
    for line in lines_of(finished[0], "base", "1").values():
        (place, size, own, other, taken), (_, smaller, *_, not_taken) = line["shifts"]
        assert (place, own, other, taken) == (1, number("3"), number("7"), 1)
        assert size > 0.5 > smaller > 0 and not_taken == 0


def test_the_first_shifts_above_a_threshold_are_taken_as_in_the_paper(models, questions, tmp_path):
    first = dataclasses.replace(CONFIG, rule="first", threshold=0.5, budgets=(-1,), questions=2)
    value = run(models, questions, tmp_path, first)
    rows = [(r["leads"], r["budget"], r["mean"], r["taken"]) for r in value["rows"]]
    assert rows == [
        ("base", 0, 0, 0),
        ("base", None, 1, 1),
        ("tuned", 0, 1, 0),
        ("tuned", None, 0, 1),
    ]
    assert (value["questions"], value["left_out"]) == (2, 3)


def test_rows_hold_intervals_and_what_was_taken(finished):
    value = finished[1]
    for row in value["rows"]:
        assert row["low"] <= row["mean"] <= row["high"] and row["n"] == len(QUESTIONS)
        assert row["taken"] == (2 if row["budget"] is None else row["budget"])
        assert row["taken_share"] == pytest.approx(row["taken"] / row["tokens"])
    assert (value["rule"], value["label"], value["group"]) == ("largest", "Sums", "math")


def test_budgets_that_are_there_are_not_made_again_and_more_may_be_asked_for(
    finished, models, questions, tmp_path, monkeypatch
):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    made = []
    monkeypatch.setattr(
        cross_sample,
        "write_cross_replies",
        lambda path, lines: made.append(path.name) or write(path, lines),
    )
    assert run(models, questions, workdir)["rows"] == finished[1]["rows"] and made == []
    cross_replies_path(workdir, "sums", "tuned", "1").unlink()
    more = run(models, questions, workdir, dataclasses.replace(CONFIG, budgets=(0, 1, 3)))
    assert made == ["base.3.jsonl", "tuned.1.jsonl", "tuned.3.jsonl"]
    assert [row["mean"] for row in more["rows"]] == [0, 1, 1, 1, 0, 0]


def cross_scores(models: str, questions: str, workdir: str) -> list:
    """The score of every leader and budget, on all devices of all processes."""
    mesh = make_mesh(MeshConfig(data=1, fsdp=2, tensor=2, context=1))
    evaluation = sums_config(pathlib.Path(questions), {"greedy": 1})
    pair = [model_config(f"{models}/{name}") for name in ("base", "tuned")]
    with jax.set_mesh(mesh):
        run_cross_sample(CONFIG, evaluation, *pair, mesh, workdir, 0)
    return [
        (row["leads"], row["budget"], row["mean"]) for row in read_cross_results(workdir)[0]["rows"]
    ]


@pytest.mark.slow  # two programs start and compile
def test_two_processes_cross_sample_the_same(finished, models, questions, tmp_path):
    paths = str(models), str(questions), str(tmp_path)
    first, second = run_processes(cross_scores, 2, *paths, num_devices=2, timeout_s=400.0)
    alone = [(row["leads"], row["budget"], row["mean"]) for row in finished[1]["rows"]]
    assert [tuple(row) for row in first] == [tuple(row) for row in second] == alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"benchmark": "sum"},
            "cross_sample.benchmark: 'sum' is not evaluated; did you mean 'sums'",
        ),
        ({"decoding": "t1"}, "cross_sample.decoding='t1': expected a greedy one"),
        ({"budgets": ()}, "cross_sample.budgets: expected at least one"),
        ({"threshold": 0.3}, "threshold: 0.1 -> 0.3"),
    ],
)
def test_what_does_not_fit_is_refused(finished, models, questions, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        run(models, questions, finished[0], dataclasses.replace(CONFIG, **changes))


def test_no_reply_goes_beyond_the_positions_of_either_model(finished, models, questions, tmp_path):
    sampler = dataclasses.replace(SAMPLER, max_length=10**4)
    with pytest.raises(ConfigError, match=r"max_length=10000 exceeds the positions that both"):
        run(models, questions, tmp_path, sampler=sampler)
    changes = {"sampler": sampler, "within_positions": True}
    assert run(models, questions, tmp_path, **changes)["rows"] == finished[1]["rows"]


def test_a_budget_beyond_the_shifts_takes_them_all():
    shifts = {"a": [[0, 0.4, 1, 2, 0], [3, 0.1, 1, 2, 0]]}
    assert ChoiceRows(2, 1, None, shifts).takes(["a"]).threshold[0] == pytest.approx(0.4, rel=1e-5)
    assert ChoiceRows(2, 2, None, shifts).takes(["a"]).threshold[0] == pytest.approx(0.1, rel=1e-5)
    assert ChoiceRows(2, 3, None, shifts).takes(["a"]).threshold[0] == 0
    assert ChoiceRows(2, -1, None, shifts).takes(["a"]).threshold.tolist() == [0, 0]
    assert ChoiceRows(2, 1, 0.25, shifts).takes(["a"]).threshold[0] == 0.25
