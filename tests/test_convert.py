"""Exports from a run's checkpoints: what is read stays as it is."""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from tiny_models import make_architecture, make_model, random_params
from tiny_qwen3 import model_config

from jaxreason.checkpoint import Checkpointer
from jaxreason.config import ConfigError
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import load_params
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.convert import run_convert


@pytest.fixture
def run(tmp_path):
    """A base model's folder, and beside it checkpoints of a run that is writing the third."""
    model = make_model(make_architecture())
    params = random_params(abstract_params(model))
    save_character_tokenizer(tmp_path / "tokenizer", "0123456789+=")
    source = tmp_path / "tokenizer"
    save_model(tmp_path / "base", model, params, tokenizer_from=source, max_shard_bytes=10**9)
    with Checkpointer(tmp_path / "run" / "checkpoints", keep=0) as checkpoints:
        for step in (1, 2):
            shifted = jax.tree.map(lambda x, step=step: x + step, params)
            checkpoints.save(step, {"params": shifted, "step": np.int32(step)})
    half = tmp_path / "run" / "checkpoints" / "3.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "d").write_bytes(b"half")
    return tmp_path, model, params


def convert(folder, source, target="out", step=None):
    config = model_config(folder / "base")
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    run_convert(config, mesh, str(folder / source), str(folder / target), step)


def state_of(folder):
    return {
        str(path): (path.stat().st_mtime_ns, path.is_file() and digest(path))
        for path in folder.rglob("*")
    }


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_living_runs_checkpoints_are_read_and_nothing_in_them_changes(run):
    folder, model, params = run
    before = state_of(folder / "run")
    convert(folder, "run/checkpoints")
    assert state_of(folder / "run") == before
    found = load_params(folder / "out", model, None)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 2), found, params)


def test_a_mistyped_folder_is_refused_and_not_made(run):
    folder, _, _ = run
    with pytest.raises(UserError, match="no such folder of checkpoints"):
        convert(folder, "rnu/checkpoints")
    assert not (folder / "rnu").exists() and not (folder / "out").exists()


@pytest.mark.parametrize("step", [1, 2])
def test_any_kept_checkpoint_is_exported_by_its_step(run, step):
    folder, model, params = run
    convert(folder, "run/checkpoints", step=step)
    found = load_params(folder / "out", model, None)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + step), found, params)


@pytest.mark.parametrize("step", [0, 3, 12])  # 3 is half-written
def test_a_step_without_a_checkpoint_is_refused_in_one_line_with_those_that_there_are(run, step):
    folder, _, _ = run
    with pytest.raises(UserError, match=rf"--step {step}: no such checkpoint .*there are: 1, 2\.$"):
        convert(folder, "run/checkpoints", step=step)
    assert not (folder / "out").exists()


def test_a_runs_folder_in_place_of_its_checkpoints_is_refused(run):
    folder, _, _ = run
    with pytest.raises(UserError, match=r"run: a run's folder; expected its checkpoints folder"):
        convert(folder, "run")
    assert not (folder / "out").exists()


def test_one_checkpoints_folder_is_refused_with_the_words_that_name_it(run):
    folder, _, _ = run
    with pytest.raises(
        UserError, match=r"one checkpoint; expected --source \S+/checkpoints --step 1\.$"
    ):
        convert(folder, "run/checkpoints/1")
    assert not (folder / "out").exists()


def test_a_link_that_leads_nowhere_is_refused_as_a_target_before_anything_is_read(run):
    folder, _, _ = run
    (folder / "out").symlink_to(folder / "missing")
    with pytest.raises(UserError, match=r"out: exists already; choose another folder"):
        convert(folder, "run/checkpoints")
    assert not (folder / "out.incomplete").exists()


def test_a_step_of_a_model_folder_is_refused(run):
    folder, _, _ = run
    with pytest.raises(UserError, match="--step 1: for a run's checkpoints folder"):
        convert(folder, "base", step=1)


def test_a_damaged_checkpoint_that_is_asked_for_by_its_step_is_refused_with_the_file(run):
    folder, _, _ = run
    damaged = next(p for p in (folder / "run/checkpoints/1").rglob("*") if p.name == "_METADATA")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="checkpoints/1: _METADATA holds other bytes"):
        convert(folder, "run/checkpoints", step=1)


def test_the_tokenizer_of_the_run_is_exported_and_not_that_of_its_base(run):
    """A recipe may train with another tokenizer than the model's (`sft.tokenizer`); the run's own export has it."""
    folder, _, _ = run
    save_character_tokenizer(folder / "other", "0123456789+=x")
    recipe = {
        "seed": 0,
        "model": {},
        "sft": {"tokenizer": str(folder / "other"), "checkpoint_every": 1},
    }
    record = {"claimed": {"stage": "sft"}, "recipe": recipe}
    (folder / "run" / "config.json").write_text(json.dumps(record))
    convert(folder, "run/checkpoints")
    assert load_tokenizer(folder / "out").encode("x") == load_tokenizer(folder / "other").encode(
        "x"
    )


@pytest.mark.parametrize("known_by", ["the record", "the export"])
def test_a_model_of_the_same_shapes_that_computes_otherwise_than_the_runs_is_refused(run, known_by):
    folder, _, _ = run
    own = folder / "run" / "model" if known_by == "the export" else folder / "own"
    shutil.copytree(folder / "base", own)
    settings = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(settings | {"rope_theta": 77.0}))
    recipe = {"seed": 0, "model": {"path": str(own)}, "sft": {"checkpoint_every": 1}}
    record = {"claimed": {"stage": "sft"}, "recipe": recipe}
    (folder / "run" / "config.json").write_text(json.dumps(record))
    with pytest.raises(
        ConfigError, match=r"run/checkpoints: .* has rope_theta 77\.0, not 10000\.0"
    ):
        convert(folder, "run/checkpoints")
    assert not (folder / "out").exists()


def test_a_converted_checkpoint_has_a_card_with_its_step(run):
    folder, _, _ = run
    recipe = {
        "seed": 5,
        "model": {"path": "base", "init": "pretrained"},
        "sft": {"tokenizer": "", "length": 64, "checkpoint_every": 1, "datasets": {}},
    }
    record = {"claimed": {"stage": "sft", "seed": 5, "data": {}}, "recipe": recipe}
    (folder / "run" / "config.json").write_text(json.dumps(record))
    convert(folder, "run/checkpoints", step=1)
    card = (folder / "out" / "README.md").read_text()
    assert "\n1 training step. Seed 5. As it was run:" in card and "`base`." in card
    assert "max_new_tokens=64" in card and "## Scores" not in card
    convert(folder, "out", target="again")
    assert (folder / "again" / "README.md").read_text() == card
