"""The benchmark that training asks: the evaluation's own files and score, whoever holds the engine."""

import dataclasses
import gc

import jax
import pytest
from tiny_evaluation import (
    SAMPLED,
    SAMPLER,
    dataset,
    eval_config,
    make_folder,
    read_lines,
    write_questions,
)
from tiny_qwen3 import model_config

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation.eval_settings import OwnBenchmark
from jaxreason.evaluation.validator import BenchmarkValidator, validation_eval
from jaxreason.models.huggingface import open_model
from jaxreason.results.jsonl import read_jsonl
from jaxreason.sampling.engine import Engine
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.validation import StoppedError, ValidationConfig

HOW = ValidationConfig(every=1, benchmark="digits", decoding=SAMPLED, samples=16, limit=3)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A model and an evaluation that knows a benchmark of five digits, some of which it says by luck."""
    folder = tmp_path_factory.mktemp("validator")
    questions = write_questions(
        folder / "digits.jsonl", [(f"digit {n}?", str(n)) for n in range(5)]
    )
    own = {"digits": OwnBenchmark("Digits", "math", dataset(questions, "last_number"))}
    return make_folder(folder), eval_config(own, {})


def score(asked, folder, *, engine_length=None, check=lambda: None, how=HOW, left=None):
    """The score of the model, asked with an engine of training's where it has a length.

    Appends to `left`, if it is given, the bytes of arrays before and after each of two calls.
    """
    path, config = asked
    mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=1, context=1), jax.devices()[:1])
    tokenizer = load_tokenizer(str(path))
    with jax.set_mesh(mesh):
        model, params = open_model(model_config(path), mesh)
        engine = None
        if engine_length:
            sizes = dataclasses.replace(SAMPLER, max_length=engine_length)
            ends = tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode
            engine = Engine(model, params, sizes, mesh, *ends)
        validator = BenchmarkValidator(config, how, "rl", model_config(path), mesh, seed=1)
        for step in () if left is None else (1, 2):
            begun, identity = live_bytes(), {"step": step, "weights": "0"}
            validator(folder / str(step), identity, model, params, tokenizer, engine, check)
            left.append((begun, live_bytes()))
        identity = {"step": 4, "weights": "0"}
        return validator(folder, identity, model, params, tokenizer, engine, check)


def live_bytes():
    gc.collect()
    return sum(x.nbytes for x in jax.live_arrays())


def test_the_score_is_the_mean_of_the_grades_of_its_own_decoding(asked, tmp_path):
    found = score(asked, tmp_path)
    lines = read_lines(tmp_path, "digits.validation", grader="last_number")
    assert len(lines) == HOW.limit * HOW.samples
    assert 0 < found == pytest.approx(sum(x["scores"]["accuracy"] for x in lines) / len(lines))


def test_trainings_engine_gives_the_replies_that_an_own_one_gives(asked, tmp_path):
    alone, shared = (tmp_path / name for name in ("alone", "shared"))
    assert score(asked, alone) == score(asked, shared, engine_length=64)
    name = "evaluation/samples/digits.own.validation.jsonl"
    assert read_jsonl(alone / name) == read_jsonl(shared / name)


def test_no_copy_of_the_weights_stays_beside_training(asked, tmp_path):
    path, config = asked
    copied = dataclasses.replace(config.sampler, weight_dtype="int8")
    left = []
    score((path, dataclasses.replace(config, sampler=copied)), tmp_path, left=left)
    assert [after for _, after in left] == [before for before, _ in left]


def test_a_stop_keeps_what_was_sampled_and_the_next_call_goes_on(asked, tmp_path):
    def stop():
        raise StoppedError

    with pytest.raises(StoppedError):
        score(asked, tmp_path, check=stop)
    whole = tmp_path / "whole"
    assert score(asked, tmp_path) == score(asked, whole)
    name = "evaluation/samples/digits.own.validation.jsonl"
    assert read_jsonl(tmp_path / name) == read_jsonl(whole / name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmark": "digit"}, r"rl\.validation: .*no such benchmark; did you mean 'digits'"),
        ({"variant": "paper"}, r"rl\.validation: .*no variant 'paper'"),
    ],
)
def test_a_benchmark_that_the_evaluation_does_not_know_is_refused(asked, changes, message):
    with pytest.raises(ConfigError, match=message):
        validation_eval(asked[1], dataclasses.replace(HOW, **changes), "rl")


def test_a_validation_that_names_no_benchmark_is_refused_by_its_field(asked):
    with pytest.raises(UserError, match=r"rl\.validation\.benchmark: expected the name of a bench"):
        validation_eval(asked[1], dataclasses.replace(HOW, benchmark=""), "rl")


def test_a_model_of_fewer_positions_is_asked_within_them_where_the_evaluation_allows_it(
    asked, tmp_path
):
    path, config = asked
    long = dataclasses.replace(config, sampler=dataclasses.replace(SAMPLER, max_length=1024))
    with pytest.raises(UserError, match="exceeds the model's max_position_embeddings=512"):
        score((path, long), tmp_path / "refused")
    allowed = dataclasses.replace(long, within_positions=True)
    assert score((path, allowed), tmp_path / "allowed") == score(asked, tmp_path / "short")
