"""Replies to training prompts: whose prompts, how they are asked, and that the base answers them once for all runs."""

import dataclasses
import functools
import json
import os
import signal

import jax
import pytest
import tiny_rl
from tiny_follow import make_base, make_mesh_of_one, model_of
from tiny_pair import write_evaluation
from tiny_sft import make_recipe, write_inputs

from jaxreason.analysis.drift import DriftConfig, run_drift
from jaxreason.analysis.texts import Text, Unit
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import ModelSource
from jaxreason.rl.prompts import load_prompts
from jaxreason.runtime.preemption import Interrupt
from jaxreason.studies.training_texts import NO_RUN, NONE_FITS, training_units
from jaxreason.training.run_folder import RunFolder
from jaxreason.training.sft_data import load_data, prompts_of

CONFIG = DriftConfig(
    metrics=("token_kl",),
    decoding="none",
    texts_per_benchmark=1,
    max_length=0,
    batch_size=4,
    logprob_chunk=8,
    resamples=5,
    confidence=0.9,
    seed=0,
    training_prompts=6,
    training_tokens=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base, another model, and the records of two runs of other rates that learn the same sums."""
    folder = tmp_path_factory.mktemp("training")
    write_inputs(folder)
    model = model_of(make_base(folder, 0))
    make_base(folder, 1)
    for name, seed in (("one", 3), ("two", 4)):
        recipe = make_recipe(folder, tokenizer="")
        contents = load_data(recipe, load_tokenizer(model.path)).contents
        run = RunFolder(folder / name, "sft", recipe, model, seed, 1, contents)
        assert not run.claim() and run.start_step(None) == 0
    return folder


def units(folder, workdir, run="one", config=CONFIG):
    mesh = make_mesh_of_one()
    with jax.set_mesh(mesh):
        sources = [ModelSource.of_folder(model_of(folder / f"base_{i}"), mesh) for i in (0, 1)]
        return training_units(config, folder / run, workdir, *sources, mesh)


def test_prompts_are_those_of_the_run_as_it_asks_them_with_the_bases_replies(folder, tmp_path):
    (unit,) = units(folder, tmp_path)
    assert (unit.benchmark, unit.group, unit.source) == ("training_prompts", "training", "base")
    data = load_data(make_recipe(folder), load_tokenizer(folder / "base_0"))
    asked = set(prompts_of(data.sequences))
    assert len(unit.texts) == 6 == len({text.id for text in unit.texts})
    assert all(text.tokens[: text.reply_start] in asked for text in unit.texts)
    assert all(1 <= len(text.tokens) - text.reply_start <= 5 for text in unit.texts)


def test_runs_that_learn_from_the_same_questions_share_the_replies_which_are_made_once(
    folder, tmp_path, monkeypatch
):
    first = units(folder, tmp_path)
    monkeypatch.setattr(ModelSource, "open", lambda *_: pytest.fail("the base was asked again"))
    assert units(folder, tmp_path, "two") == first
    kinds = sorted(path.name.split(".")[0] for path in (tmp_path / "training_prompts").iterdir())
    assert kinds == ["prompts", "replies"]
    assert [path.name for path in (folder / "one").iterdir()] == ["config.json"]  # nothing is added


def test_a_signal_does_not_wait_for_the_replies_which_are_then_made_again(
    folder, tmp_path, monkeypatch, capsys
):
    opened = ModelSource.open

    def open_and_signal(source):
        os.kill(os.getpid(), signal.SIGTERM)
        return opened(source)

    monkeypatch.setattr(ModelSource, "open", open_and_signal)
    # As the study does, and `drift`: without it the signal would end the test itself.
    with Interrupt(), pytest.raises(SystemExit) as stopped:
        units(folder, tmp_path / "one")
    assert stopped.value.code == 143 and "Stopped by SIGTERM." in capsys.readouterr().out
    kinds = [path.name.split(".")[0] for path in (tmp_path / "one/training_prompts").iterdir()]
    assert kinds == ["prompts"]
    monkeypatch.setattr(ModelSource, "open", opened)
    assert units(folder, tmp_path / "one") == units(folder, tmp_path / "two")


def test_the_tuned_models_replies_are_its_own_to_the_same_prompts(folder, tmp_path):
    both = dataclasses.replace(CONFIG, training_replies=("base", "tuned"))
    base, tuned = units(folder, tmp_path, config=both)
    assert (base.source, tuned.source) == ("base", "tuned")
    assert [text.id for text in base.texts] == [text.id for text in tuned.texts]
    assert [text.tokens for text in base.texts] != [text.tokens for text in tuned.texts]
    stops = load_tokenizer(folder / "base_0").stop_ids
    texts = base.texts + tuned.texts
    assert [text.ended for text in texts] == [text.tokens[-1] in stops for text in texts]
    assert any(text.ended for text in texts)  # so that the study's scripts leave that token out


def test_the_unit_stands_in_the_files_and_is_0_of_a_model_with_itself_alone(folder, tmp_path):
    texts = tuple(Text(f"q{i}", (1, 2, 3 + i, 4, 5), 2) for i in range(3))
    write_evaluation(tmp_path / "evaluation", Unit("sums", "math", "base", texts, 0, 0))
    config = dataclasses.replace(CONFIG, decoding="t1")
    mesh, found = make_mesh_of_one(), {}
    for tuned in ("base_0", "base_1"):
        also = functools.partial(training_units, config, folder / "one", tmp_path, mesh=mesh)
        models = [model_of(folder / name) for name in ("base_0", tuned)]
        evaluations = [tmp_path / "evaluation"] * 2
        with jax.set_mesh(mesh):
            run_drift(config, *models, mesh, tmp_path / tuned, *evaluations)
            # as a study that gained them
            run_drift(config, *models, mesh, tmp_path / tuned, *evaluations, also=also)
        value = json.loads((tmp_path / tuned / "analysis" / "token_kl.json").read_text())
        rows = [row for row in value["rows"] if row["benchmark"] == "training_prompts"]
        assert {(row["group"], row["source"]) for row in rows} == {("training", "base")}
        assert [row for row in value["groups"] if row["group"] == "training"]
        found[tuned] = {row["name"]: row["value"] for row in rows}
    assert set(found["base_0"].values()) == {0.0}
    assert found["base_1"]["kl_forward"] > 1e-4


def test_a_model_that_was_not_trained_here_has_no_such_texts_and_the_file_says_why(
    folder, tmp_path
):
    (unit,) = units(folder, tmp_path, "nowhere")
    assert (unit.texts, unit.why_empty) == ((), NO_RUN)


def test_prompts_that_leave_no_room_give_no_texts_with_the_reason(folder, tmp_path):
    (unit,) = units(folder, tmp_path, config=dataclasses.replace(CONFIG, training_tokens=63))
    assert (unit.texts, unit.why_empty) == ((), NONE_FITS)


def test_prompts_of_reinforcement_learning_are_those_that_it_asks(tmp_path):
    base = tiny_rl.save_base(tmp_path)
    recipe = tiny_rl.rl_config(tiny_rl.save_questions(tmp_path))
    prompts = load_prompts(recipe, load_tokenizer(base))
    model = tiny_rl.model_config(base)
    run = RunFolder(tmp_path / "run", "rl", recipe, model, 0, 1, prompts.contents)
    assert not run.claim() and run.start_step(None) == 0
    mesh = make_mesh_of_one()
    with jax.set_mesh(mesh):
        sources = [ModelSource.of_folder(model, mesh)] * 2
        (unit,) = training_units(CONFIG, tmp_path / "run", tmp_path, *sources, mesh)
    asked = {prompt.tokens for prompt in prompts.prompts}
    assert unit.texts and all(text.tokens[: text.reply_start] in asked for text in unit.texts)
