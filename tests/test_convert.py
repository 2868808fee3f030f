"""Exports from a run's checkpoints: what is read stays as it is."""

import hashlib

import jax
import numpy as np
import pytest
from tiny_models import make_architecture, make_model, random_params

from jaxreason.checkpoint import Checkpointer
from jaxreason.convert import run_convert
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig, load_params, save_model
from jaxreason.sharding import MeshConfig, make_mesh


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


def convert(folder, source, target="out"):
    config = ModelConfig(
        path=str(folder / "base"),
        init="pretrained",
        architecture={},
        dtype="float32",
        param_dtype="float32",
        remat="none",
        attention="plain",
        unroll=1,
    )
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    run_convert(config, mesh, str(folder / source), str(folder / target))


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
