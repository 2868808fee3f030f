"""RL runs that validate: scores in the metrics, the step that is exported, and what a signal in between leaves."""

import dataclasses
import os
import signal

import numpy as np
import pytest
from etils import epath
from event_files import read_scalars
from safetensors.numpy import load_file
from tiny_evaluation import SAMPLED, dataset, eval_config, read_lines
from tiny_qwen3 import model_config
from tiny_rl import (
    SAMPLER,
    mesh_of,
    metrics_of,
    rl_config,
    rollouts_of,
    run,
    save_base,
    save_questions,
)

from jaxreason.errors import UserError
from jaxreason.evaluation.eval_settings import OwnBenchmark
from jaxreason.evaluation.validator import make_validator
from jaxreason.results.atomic_files import read_json
from jaxreason.rl.checks import warn_of_cut_validation
from jaxreason.rl.rl_config import SamplesConfig
from jaxreason.training.base_kl import BaseKLConfig
from jaxreason.validation import ValidationConfig

HOW = ValidationConfig(
    every=2,
    benchmark="bits",
    decoding=dataclasses.replace(SAMPLED, max_tokens=4, top_p=0.7),
    samples=2,
    limit=6,
    choose=True,
)
SCORES = {0: 0.9, 2: 0.5, 4: 0.25}
TIMES = ("seconds", "tokens_per_second")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return save_base(folder), save_questions(folder)


@pytest.fixture(scope="module")
def plain(inputs, tmp_path_factory):
    """A run of four steps that asks nothing."""
    return run(
        config_of(inputs, validation=ValidationConfig()),
        inputs[0],
        tmp_path_factory.mktemp("plain"),
    )


@pytest.fixture(scope="module")
def asked(inputs, tmp_path_factory):
    """The same run, which asks the evaluation and compares itself with its base."""
    base, questions = inputs
    config = config_of(inputs, base_kl=BaseKLConfig(every=2, prompts=4, max_tokens=4))
    own = {"bits": OwnBenchmark("Bits", "math", dataset(questions, "last_number"))}
    mesh = mesh_of(1)
    validator = make_validator(
        eval_config(own, {}, sampler=SAMPLER), HOW, "rl", model_config(base), mesh, 0
    )
    return run(config, base, tmp_path_factory.mktemp("asked"), mesh=mesh, validator=validator)


@pytest.fixture(scope="module")
def chosen(inputs, tmp_path_factory):
    """A run that keeps one checkpoint, and whose second step has the best of four."""
    return run(config_of(inputs), inputs[0], tmp_path_factory.mktemp("chosen"), validator=given)


def config_of(inputs, **changes):
    return rl_config(inputs[1], **({"num_steps": 4, "keep": 1, "validation": HOW} | changes))


def given(folder, identity, model, params, tokenizer, engine, check):
    return SCORES[identity["step"]]


def weights_of(workdir):
    return load_file(epath.Path(workdir) / "model" / "model.safetensors")


def timeless(row):
    return {name: value for name, value in row.items() if not name.endswith(TIMES)}


def test_the_score_of_a_step_is_in_its_line_and_its_samples_are_files(asked):
    lines = {row["step"]: row for row in metrics_of(asked)}
    assert [step for step, row in lines.items() if "validation/bits" in row] == [2, 4]
    for step in (2, 4):
        graded = read_lines(
            asked / "validation" / str(step), "bits.validation", grader="last_number"
        )
        assert len(graded) == 12
        mean = np.mean([line["scores"]["accuracy"] for line in graded])
        assert lines[step]["validation/bits"] == pytest.approx(mean)
        assert all(len(line["tokens"]) <= 4 for line in graded)
    assert (asked / "validation" / "0" / "evaluation" / "scores.json").exists()


def test_the_questions_of_a_validation_are_known_by_their_texts_answers_and_form(inputs, tmp_path):
    base, questions = inputs
    other = tmp_path / "questions.jsonl"
    other.write_text(questions.read_text().replace('"answer": "0"', '"answer": "1"'))

    def asked(path=questions, seed=0, **changes):
        own = {"bits": OwnBenchmark("Bits", "math", dataset(path, "last_number"))}
        config = dataclasses.replace(eval_config(own, {}, sampler=SAMPLER), **changes)
        return make_validator(config, HOW, "rl", model_config(base), mesh_of(1), seed).asked

    assert asked() == asked(seed=1, grader_workers=3)
    changed = [
        asked(other),
        asked(items_seed=1),
        asked(thinking=False),
        asked(prompt_format="plain"),
    ]
    assert len({asked(), *changed}) == 5


@pytest.mark.parametrize(("most", "warns"), [(20, True), (19, False)])
def test_a_validation_whose_replies_the_engine_of_training_would_cut_is_warned_of(
    inputs, most, warns, caplog
):
    how = dataclasses.replace(HOW, decoding=dataclasses.replace(HOW.decoding, max_tokens=most))
    warn_of_cut_validation(config_of(inputs, validation=how))
    own = SamplesConfig(refresh_every=2)  # its validation has an engine of its own
    warn_of_cut_validation(config_of(inputs, validation=how, samples=own))
    said = [r.message for r in caplog.records]
    assert [text[:38] for text in said] == ["rl.validation.decoding.max_tokens=20: "] * warns
    assert all("rl.sampler.max_length=20" in text for text in said)


def test_what_is_asked_and_measured_changes_nothing_that_is_learned(asked, plain):
    for step in range(1, 5):
        assert rollouts_of(asked, step) == rollouts_of(plain, step)
    extra = ("validation/", "base_kl")
    for one, other in zip(metrics_of(asked), metrics_of(plain), strict=True):
        kept = {k: v for k, v in timeless(one).items() if not k.startswith(extra)}
        assert kept == timeless(other)


def test_the_distance_from_the_base_is_in_the_lines_and_grows(asked):
    found = [row["base_kl"] for row in metrics_of(asked) if "base_kl" in row]
    assert len(found) == 2 and 0 < found[0] < found[1]


def test_shares_of_a_steps_time_sum_to_one(asked):
    for row in metrics_of(asked):
        shares = {name: x for name, x in row.items() if name.endswith("_share_of_seconds")}
        phases = ("generate", "grade", "pack", "logprobs", "update", "weights", "validate")
        phases += ("checkpoint", "other")
        assert set(shares) == {f"{phase}_share_of_seconds" for phase in phases}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert row["generate_seconds"] > 0 and row["update_seconds"] > 0
        assert "mfu" not in row  # nothing is claimed for a CPU
    assert metrics_of(asked)[1]["validate_seconds"] > metrics_of(asked)[0]["validate_seconds"]


def test_the_best_step_is_exported_though_newer_checkpoints_push_it_out(chosen, inputs, tmp_path):
    assert read_json(chosen / "done.json")["exported_step"] == 2
    steps = {path.name for path in (chosen / "checkpoints").iterdir()}
    assert steps == {"2", "4"}
    short = run(config_of(inputs, num_steps=2, validation=ValidationConfig()), inputs[0], tmp_path)
    for name, value in weights_of(short).items():
        np.testing.assert_array_equal(weights_of(chosen)[name], value, err_msg=name)
    rows = metrics_of(chosen)
    assert [row.get("validation/best_step") for row in rows] == [None, 2, None, 2]


def test_the_last_step_is_exported_where_nothing_chooses(plain):
    assert read_json(plain / "done.json")["exported_step"] == 4


def test_a_signal_in_a_validation_saves_the_step_and_the_next_run_asks_and_notes_it(
    chosen, inputs, tmp_path
):
    def told_to_stop(folder, identity, model, params, tokenizer, engine, check):
        if identity["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        check()
        return given(folder, identity, model, params, tokenizer, engine, check)

    config = config_of(inputs, tensorboard=True)
    with pytest.raises(SystemExit) as stopped:
        run(config, inputs[0], tmp_path, validator=told_to_stop)
    assert stopped.value.code == 143
    assert "validation/bits" not in metrics_of(tmp_path)[1]
    run(config, inputs[0], tmp_path, validator=given)
    assert list(map(timeless, metrics_of(tmp_path))) == list(map(timeless, metrics_of(chosen)))
    shown = read_scalars(tmp_path / "tensorboard")["rl/validation/bits"]
    assert sorted(shown) == [(step, pytest.approx(score)) for step, score in SCORES.items()]
    for name, value in weights_of(chosen).items():
        np.testing.assert_array_equal(weights_of(tmp_path)[name], value, err_msg=name)


def test_a_validation_that_nobody_can_ask_is_refused_before_anything_is_begun(inputs, tmp_path):
    with pytest.raises(UserError, match=r"rl\.validation\.every=2"):
        run(config_of(inputs), inputs[0], tmp_path)
    assert not (tmp_path / "config.json").exists()
    with pytest.raises(UserError, match=r"expected a section `eval` in the recipe"):
        make_validator(None, HOW, "rl", model_config(inputs[0]), mesh_of(1), 0)
