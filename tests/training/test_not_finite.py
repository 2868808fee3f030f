"""A step that gives NaN: one message with the step, the first tensor and the examples, and the batch in files."""

import dataclasses
import json
import re
from pathlib import Path

import bucket
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from processes import run_processes
from tiny_sft import ADAMW, MODEL, make_recipe, train

from jaxreason.checkpoint import Checkpointer
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import static_model
from jaxreason.sharding import MeshConfig
from jaxreason.training import sft
from jaxreason.training.not_finite import Failed, FiniteCheck, NotFiniteStepError
from jaxreason.training.sft_data import load_data, make_batches
from jaxreason.verbs.endings import explain

HOT = dataclasses.replace(ADAMW, learning_rate=1e38, warmup_steps=3)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return make_recipe(tmp_path_factory.mktemp("inputs"), checkpoint_every=0)


def fail(recipe, workdir, **more):
    with pytest.raises(NotFiniteStepError) as caught:
        train(recipe, workdir, **more)
    assert not (workdir / "done.json").exists()
    return str(caught.value)


def why(workdir, step):
    return json.loads((workdir / "not_finite" / f"step_{step}" / "why.json").read_text())


def batch_of(recipe, step):
    """The ids of step `step` (from 1), and its rows."""
    data = load_data(recipe, load_tokenizer(recipe.tokenizer))
    batches = make_batches(recipe, data, (0, 1), seed=3)
    return [data.ids[i] for i in batches.members(step - 1)], batches.batch(step - 1)


def with_a_nan_from(step, monkeypatch):
    """From this step on a weight of the middle of the network is NaN before the step."""
    make, made = sft.make_step, []

    def broken(*arguments):
        real = make(*arguments)

        def train_step(state, *more):
            made.append(1)
            if len(made) >= step:
                layers = dict(state.params["layers"])
                layers["mlp"] = jax.tree.map(lambda x: x * jnp.nan, layers["mlp"])
                state = state._replace(params=state.params | {"layers": layers})
            return real(state, *more)

        train_step.lower = real.lower  # it is compiled while the weights are read
        return train_step

    monkeypatch.setattr(sft, "make_step", broken)


def test_a_rate_that_is_too_high_stops_the_run_before_anything_is_saved(recipe, tmp_path):
    message = fail(dataclasses.replace(recipe, optimizer=HOT), tmp_path)
    assert re.match(r"step 1: update_norm=(inf|nan)\. The first tensor whose update has", message)
    assert "in the order of the network: embed_tokens.embedding (" in message
    assert "No checkpoint was written" in message and "A lower learning rate" in message
    assert not list((tmp_path / "checkpoints").iterdir())
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert why(tmp_path, 1)["numbers"].keys() == {"update_norm"}


def test_the_batch_that_is_saved_is_that_of_the_step_however_late_it_is_noticed(
    recipe, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(recipe, log_every=6, checkpoint_every=3)
    with_a_nan_from(5, monkeypatch)
    message = fail(recipe, tmp_path)
    ids, rows = batch_of(recipe, 5)
    assert message.startswith("step 5: entropy=nan, grad_norm=nan, loss=nan, update_norm=nan. ")
    assert "gradient has no finite norm, in the order of the network: embed_tokens" in message
    assert f"In its batch: {', '.join(ids[:8])} and {len(ids) - 8} more. " in message
    assert str(tmp_path / "not_finite" / "step_5") in message
    assert "The newest checkpoint is that of step 3, nothing of this step was saved" in message
    saved = why(tmp_path, 5)
    assert (saved["ids"], saved["newest_checkpoint"]) == (ids, 3)
    assert saved["first_tensor"] == "embed_tokens.embedding"
    assert saved["tensors"]["gradient"][-1] == "norm.scale"
    arrays = np.load(tmp_path / "not_finite" / "step_5" / "batch.npz")
    for name, value in rows._asdict().items():
        np.testing.assert_array_equal(arrays[name], value)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert not any("not_finite" in line for line in lines)


def check_in(workdir, folder, step=7, flags=None, config=MODEL):
    """What is raised of a step whose loss is infinite, which has no arrays."""
    with Checkpointer(folder / "checkpoints", keep=1) as checkpoints:
        check = FiniteCheck(workdir, static_model(MODEL), config, checkpoints)
        check(step, {"loss": 1.0}, None)  # nothing is asked where all is well
        with pytest.raises(NotFiniteStepError) as caught:
            check(step, {"loss": np.inf, "reward": 1.0}, lambda: Failed(["a", "b"], None, flags))
    return caught.value


def test_a_base_that_is_not_finite_is_named_with_its_tensor(recipe, tmp_path):
    base, model = tmp_path / "base", static_model(MODEL)
    params = init_params(model, jax.random.key(0))
    tokenizer = Path(recipe.tokenizer)
    save_model(base, model, params, tokenizer_from=tokenizer, max_shard_bytes=1 << 30)
    file = base / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = np.nan
    safetensors.numpy.save_file(tensors, file)
    config = dataclasses.replace(MODEL, path=str(base), init="pretrained", architecture={})
    flags = np.ones((2, len(jax.tree.leaves(params))), bool)
    named = f"The model itself is not finite: {file}: model.layers.1.mlp.up_proj.weight holds 1"
    assert named in str(check_in(tmp_path, tmp_path, 1, flags, config))
    assert "The model itself" not in str(check_in(tmp_path, tmp_path, 2, flags, config))


def test_a_disk_without_room_for_the_batch_takes_nothing_from_the_message(tmp_path):
    (tmp_path / "not_finite").write_text("a file where the folder would be")
    error = check_in(tmp_path, tmp_path)
    assert str(error).startswith(
        "step 7: loss=inf. In its batch: a, b. The batch could not be saved: "
    )
    assert "not_finite" in str(error)


def test_it_is_one_message_to_the_user_and_the_files_may_be_on_a_bucket(tmp_path, monkeypatch):
    holder = bucket.use(monkeypatch)
    error = check_in(epath.Path("gs://bucket/run"), tmp_path)
    assert explain(error, None, ()) == str(error)
    saved = json.loads(holder.objects["bucket/run/not_finite/step_7/why.json"])
    assert (saved["numbers"], saved["ids"]) == ({"loss": "inf"}, ["a", "b"])


def train_to_the_end(inputs, workdir):
    recipe = make_recipe(epath.Path(inputs), optimizer=HOT)
    try:
        train(recipe, workdir, MeshConfig(data=2, fsdp=1, tensor=1, context=1))
    except NotFiniteStepError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_two_processes_say_the_same_and_save_the_whole_batch(recipe, tmp_path):
    inputs = epath.Path(recipe.tokenizer).parent
    one, other = run_processes(train_to_the_end, 2, str(inputs), str(tmp_path))
    ids, rows = batch_of(recipe, 1)
    assert one == other and "step 1: update_norm=" in one
    assert why(tmp_path, 1)["ids"] == ids
    arrays = np.load(tmp_path / "not_finite" / "step_1" / "batch.npz")
    np.testing.assert_array_equal(arrays["tokens"], rows.tokens)
