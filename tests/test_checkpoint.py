"""Checkpoints: another mesh, half-written ones, and how many are kept."""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import ProcessError, run_processes

from jaxreason.checkpoint import Checkpointer
from jaxreason.sharding import MeshConfig, make_mesh, tree_shardings

AXES = {"weight": ("embed", "mlp"), "scale": ("embed",), "count": ()}
VALUES = {
    "weight": np.arange(64 * 32, dtype=np.float32).reshape(64, 32),
    "scale": np.linspace(-1, 1, 64, dtype=np.float32),
    "count": np.int32(7),
}


def on_mesh(*sizes, num_devices):
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[:num_devices])
    return jax.device_put(VALUES, tree_shardings(mesh, AXES))


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def assert_same(tree):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(tree), VALUES)


@pytest.mark.parametrize("sizes", [(1, 2, 2, 1), (1, 1, 1, 1), (2, 4, 1, 1)])
def test_a_state_saved_on_eight_fsdp_devices_is_restored_onto_another_mesh(tmp_path, sizes):
    wanted = on_mesh(*sizes, num_devices=int(np.prod(sizes)))
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        checkpoints.save(5, on_mesh(1, 8, 1, 1, num_devices=8), wait=True)
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        assert checkpoints.latest_step() == 5
        found = checkpoints.restore(5, abstract(wanted))
    assert_same(found)
    assert jax.tree.map(lambda x: x.sharding, found) == jax.tree.map(lambda x: x.sharding, wanted)


def test_a_folder_may_be_given_relative_to_where_the_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpointer("runs/one", keep=1) as checkpoints:
        checkpoints.save(3, {"x": jnp.arange(4)}, wait=True)
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["3"]


def test_the_newest_are_kept_and_older_ones_removed(tmp_path):
    state = on_mesh(1, 1, 1, 1, num_devices=1)
    with Checkpointer(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 10):
            checkpoints.save(step, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "3"]


def test_a_saved_state_may_be_donated_while_it_is_being_written(tmp_path):
    add_one = jax.jit(lambda x: x + 1, donate_argnums=0)
    state = {"x": jnp.zeros((512, 1024))}
    with Checkpointer(tmp_path, keep=0) as checkpoints:
        for step in range(4):
            checkpoints.save(step, state)
            state = {"x": add_one(state["x"])}
        for step in range(4):
            found = checkpoints.restore(step, abstract(state))["x"]
            np.testing.assert_array_equal(found, np.full((512, 1024), step))


def test_a_part_of_a_checkpoint_can_be_restored_alone_and_in_another_dtype(tmp_path):
    state = {"params": on_mesh(1, 1, 1, 1, num_devices=1), "step": jnp.zeros((), jnp.int32)}
    part = {"weight": abstract(state["params"])["weight"]}
    part = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16, sharding=x.sharding), part
    )
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state, wait=True)
        found = checkpoints.restore_params(1, part)["weight"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, VALUES["weight"].astype(jnp.bfloat16))


def test_another_model_is_refused_by_the_name_of_the_array(tmp_path):
    state = on_mesh(1, 1, 1, 1, num_devices=1)
    wanted = abstract(state)
    sharding = wanted["scale"].sharding
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state, wait=True)
        with pytest.raises(ValueError, match=r"scale has shape \(64,\), expected \(65,\)"):
            changed = jax.ShapeDtypeStruct((65,), jnp.float32, sharding=sharding)
            checkpoints.restore(1, wanted | {"scale": changed})
        with pytest.raises(ValueError, match="holds no bias"):
            checkpoints.restore(1, {"bias": wanted["scale"]})


def save_and_die(folder):
    state = {"x": jnp.ones((64, 1024, 1024))}
    checkpoints = Checkpointer(folder, keep=2)
    checkpoints.save(1, {"x": jnp.ones(4)}, wait=True)
    checkpoints.save(2, state)
    while len(os.listdir(folder)) < 2:  # Orbax's thread has not begun to write
        time.sleep(0.001)
    os._exit(9)  # as a SIGKILL would: nothing is finished or cleaned up


def test_a_checkpoint_that_a_kill_cut_short_is_never_read(tmp_path):
    with pytest.raises(ProcessError, match=r"exit codes \[9\]"):
        run_processes(save_and_die, 1, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2, "the kill should leave something half-written"
    with Checkpointer(tmp_path, keep=None) as reader:  # as one may while a run is writing
        assert reader.latest_step() == 1
    assert len(list(tmp_path.iterdir())) == 2
    with Checkpointer(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest_step() == 1
        x = checkpoints.restore(1, {"x": abstract(jnp.ones(4))})["x"]
        np.testing.assert_array_equal(x, np.ones(4))
        checkpoints.save(2, {"x": jnp.ones(4)}, wait=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def save_over_all_processes(folder):
    """Saves VALUES from a mesh over the devices of all processes."""
    with Checkpointer(folder, keep=1) as checkpoints:
        checkpoints.save(4, _over_all_devices(), wait=True)


def restore_over_all_processes(folder):
    """The largest difference from VALUES in what this process holds of the restored arrays."""
    with Checkpointer(folder, keep=1) as checkpoints:
        found = checkpoints.restore(4, abstract(_over_all_devices()))
    assert len(found["weight"].addressable_shards) == jax.local_device_count()
    return max(
        float(np.abs(np.asarray(shard.data) - VALUES[name][shard.index]).max())
        for name, x in found.items()
        for shard in x.addressable_shards
    )


def _over_all_devices():
    mesh = make_mesh(MeshConfig(1, jax.device_count(), 1, 1), jax.devices())
    shardings = tree_shardings(mesh, AXES)
    return {
        name: jax.make_array_from_callback(np.shape(x), shardings[name], lambda i, x=x: x[i])
        for name, x in VALUES.items()
    }


def test_what_two_processes_saved_is_restored_by_one_and_by_four(tmp_path):
    run_processes(save_over_all_processes, 2, str(tmp_path), num_devices=2)
    assert restore_over_all_processes(str(tmp_path)) == 0
    assert run_processes(restore_over_all_processes, 4, str(tmp_path)) == [0.0] * 4
