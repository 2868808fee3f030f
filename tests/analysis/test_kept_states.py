"""States that drift keeps: what `extract` gives, in files that are whole or absent, and made once."""

import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest
from tiny_pair import make_unit, mesh_of, params_of, tiny_model, write_evaluation
from tiny_qwen3 import model_config

from jaxreason.analysis import drift
from jaxreason.analysis.drift import DriftConfig, run_drift
from jaxreason.analysis.hidden_states import extract_states
from jaxreason.analysis.texts import Batching, Unit, batches
from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.models.hf_export import save_model
from jaxreason.results.state_files import (
    StatesWriter,
    read_states,
    read_token_states,
    states_folder,
    token_layers,
)

CONFIG = DriftConfig(
    metrics=("weights",),
    decoding="t1",
    texts_per_benchmark=5,
    max_length=0,
    batch_size=2,
    logprob_chunk=64,
    resamples=3,
    confidence=0.95,
    seed=0,
    keep_states=("reply", "last"),
    keep_token_states=(2, 0),
)
UNIT = make_unit(((5, 7), (3, 20), (9, 1)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("states")
    for name, seed in (("base", 0), ("tuned", 1)):
        how = {"tokenizer_from": None, "max_shard_bytes": 10**9}
        save_model(root / name / "model", tiny_model(), params_of(seed), **how)
        write_evaluation(root / name / "evaluation", UNIT)
    return root


def run(models, workdir, config=CONFIG):
    mesh = mesh_of(1)
    folders = [models / name for name in ("base", "tuned")]
    how = [model_config(str(folder / "model")) for folder in folders]
    with jax.set_mesh(mesh):
        run_drift(config, *how, mesh, workdir, *(folder / "evaluation" for folder in folders))


@pytest.fixture(scope="module")
def workdir(models, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    run(models, workdir)
    return workdir


def test_pooled_states_are_those_that_extract_gives(workdir):
    found = read_states(workdir, "sums.base")
    texts = {text.id: text for text in UNIT.texts}
    assert sorted(found.ids) == sorted(texts) and set(found.base) == {"reply", "last"}
    unit = Unit("sums", "math", "base", tuple(texts[name] for name in found.ids), 0, 0)
    batch = next(batches(unit, Batching(3, 1000, 32)))
    for states, seed in ((found.base, 0), (found.tuned, 1)):
        for pool in ("reply", "last"):
            expected = extract_states(params_of(seed), batch, pool, model=tiny_model())
            assert states[pool].dtype == np.float32
            np.testing.assert_allclose(states[pool], expected, atol=1e-5)


def test_states_of_tokens_are_those_that_extract_gives_at_the_layers_in_their_order(workdir):
    assert token_layers(workdir, "sums.tuned") == [2, 0]
    texts = {text.id: text for text in UNIT.texts}
    found = list(read_token_states(workdir, "sums.tuned"))
    assert len(found) == 3
    for states in found:
        text = texts[states.id]
        assert states.reply_start == text.reply_start
        unit = dataclasses.replace(UNIT, texts=(text,))
        batch = next(batches(unit, Batching(1, 1000, 32)))
        how = {"model": tiny_model(), "layers": (2, 0)}
        for own, seed in ((states.base, 0), (states.tuned, 1)):
            expected = extract_states(params_of(seed), batch, "none", **how)[
                0, :, : len(text.tokens)
            ]
            np.testing.assert_allclose(own, expected, atol=1e-5)


def test_states_are_made_once_and_again_where_others_are_asked_for(models, workdir, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(drift.ModelSource, "open", lambda *_, **__: pytest.fail("models were loaded"))
        run(models, workdir)
    run(models, workdir, dataclasses.replace(CONFIG, keep_states=("all",), keep_token_states=()))
    assert set(read_states(workdir, "sums.base").tuned) == {"all"}
    assert list(read_token_states(workdir, "sums.base")) == []
    run(models, workdir)


def test_an_unfinished_folder_is_not_read_and_made_anew(models, workdir):
    index = states_folder(workdir, "sums.base") / "index.json"
    index.unlink()
    with pytest.raises(UserError, match=r"index\.json: not found, so no states of sums\.base"):
        read_states(workdir, "sums.base")
    run(models, workdir)
    assert len(read_states(workdir, "sums.base").ids) == 3


def test_a_cut_file_is_named(workdir, tmp_path):
    writer = StatesWriter(tmp_path, "sums.base")
    half = np.ones((1, 2, 3), ml_dtypes.bfloat16)
    writer.add(["q"], [1], {m: {"all": half} for m in ("base", "tuned")}, {})
    writer.finish({"states": {"pools": ["all"], "layers": []}})
    assert read_states(tmp_path, "sums.base").base["all"].dtype == ml_dtypes.bfloat16
    path = states_folder(tmp_path, "sums.base") / "00000.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"00000\.safetensors: not a whole file of states"):
        read_states(tmp_path, "sums.base")
    path.write_bytes(b"{")
    with pytest.raises(UserError, match=r"00000\.safetensors: not a whole file of states"):
        read_states(tmp_path, "sums.base")


def test_a_layer_that_there_is_not_is_refused(models, tmp_path):
    with pytest.raises(
        ConfigError, match=r"keep_token_states: .* from 0 \(embeddings\) to 2, got 3"
    ):
        run(models, tmp_path, dataclasses.replace(CONFIG, keep_token_states=(3,)))


def test_files_of_states_stand_beside_the_metrics_and_say_what_they_were_made_with(workdir):
    index = json.loads((states_folder(workdir, "sums.base") / "index.json").read_text())
    assert set(index["made_with"]) == {"models", "texts", "states"}
    assert [file["texts"] for file in index["files"]] == [2, 1]
