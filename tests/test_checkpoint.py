"""Checkpoints: another mesh, half-written ones, and how many are kept."""

import os
import random
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import ProcessError, run_processes

from jaxreason import checkpoint_trees
from jaxreason.checkpoint import Checkpointer
from jaxreason.errors import UserError
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
        checkpoints.save(5, on_mesh(1, 8, 1, 1, num_devices=8))
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        assert checkpoints.latest_step() == 5
        found = checkpoints.restore(5, abstract(wanted))
    assert_same(found)
    assert jax.tree.map(lambda x: x.sharding, found) == jax.tree.map(lambda x: x.sharding, wanted)


def test_a_folder_may_be_given_relative_to_where_the_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpointer("runs/one", keep=1) as checkpoints:
        checkpoints.save(3, {"x": jnp.arange(4)})
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["3"]


@pytest.mark.parametrize(
    "name", ["lr[1e-3]", "run*", "who?", "50%20", "two\nlines", "ünï文", "a#b|c: d", "{x}"]
)
def test_a_folder_may_have_any_name(name, tmp_path):
    state = on_mesh(1, 1, 1, 1, num_devices=1)
    with Checkpointer(tmp_path / name, keep=1) as checkpoints:
        checkpoints.save(3, state)
        assert_same(checkpoints.restore(3, abstract(state)))


def test_the_newest_are_kept_and_older_ones_removed(tmp_path):
    state = on_mesh(1, 1, 1, 1, num_devices=1)
    with Checkpointer(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 10):
            checkpoints.save(step, state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "3"]


def test_a_pinned_one_is_kept_until_the_one_that_is_pinned_instead_is_complete(tmp_path):
    state = {"x": jnp.ones(4)}
    there = lambda: sorted(int(path.name) for path in tmp_path.iterdir())  # noqa: E731
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.pin(1)
        checkpoints.save(2, state)
        checkpoints.save(3, state)
        checkpoints.pin(4)  # Better, and not yet written: a kill may come now.
        checkpoints.wait()
        assert there() == [1, 3]
        checkpoints.save(4, state)
        checkpoints.wait()
        assert there() == [4]
        checkpoints.save(5, state)
    assert there() == [4, 5]


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
        checkpoints.save(1, state)
        found = checkpoints.restore_params(1, part)["weight"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, VALUES["weight"].astype(jnp.bfloat16))


def test_another_model_is_refused_by_the_name_of_the_array(tmp_path):
    state = on_mesh(1, 1, 1, 1, num_devices=1)
    wanted = abstract(state)
    sharding = wanted["scale"].sharding
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state)
        with pytest.raises(ValueError, match=r"scale has shape \(64,\), expected \(65,\)"):
            changed = jax.ShapeDtypeStruct((65,), jnp.float32, sharding=sharding)
            checkpoints.restore(1, wanted | {"scale": changed})
        with pytest.raises(ValueError, match="holds no bias"):
            checkpoints.restore(1, {"bias": wanted["scale"]})


def save_and_die(folder):
    state = {"x": jnp.ones((64, 1024, 1024))}
    checkpoints = Checkpointer(folder, keep=2)
    checkpoints.save(1, {"x": jnp.ones(4)})
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
        checkpoints.save(2, {"x": jnp.ones(4)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def save_and_die_before_the_checksums(folder):
    def die(path, files):
        if path.name == "checksums.json":
            os._exit(9)
        write(path, files)

    checkpoints = Checkpointer(folder, keep=1)
    checkpoints.save(1, {"x": jnp.ones(4)})
    checkpoints.wait()
    write, checkpoint_trees.write_checksums = checkpoint_trees.write_checksums, die
    checkpoints.save(2, {"x": jnp.ones(4)})
    checkpoints.wait()


def test_a_kill_before_the_checksums_are_written_costs_no_older_checkpoint(tmp_path):
    with pytest.raises(ProcessError, match=r"exit codes \[9\]"):
        run_processes(save_and_die_before_the_checksums, 1, str(tmp_path))
    assert not (tmp_path / "2").exists()
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        assert checkpoints.latest_step() == 1
        x = checkpoints.restore(1, {"x": abstract(jnp.ones(4))})["x"]
    np.testing.assert_array_equal(x, np.ones(4))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def save_over_all_processes(folder):
    """Saves VALUES from a mesh over the devices of all processes."""
    with Checkpointer(folder, keep=1) as checkpoints:
        checkpoints.save(4, _over_all_devices())


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


SMALL = {"params": {"x": np.arange(5000, dtype=np.float32), "y": np.ones((3, 7), np.float32)}}
UNREAD = {"_CHECKPOINT_METADATA", "commit_success.txt"}


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """Steps 1 and 2, each with its step added to all numbers."""
    folder = tmp_path_factory.mktemp("two")
    with Checkpointer(folder, keep=0) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, jax.tree.map(lambda x, step=step: jnp.asarray(x + step), SMALL))
    return folder


@pytest.fixture
def pair(two_checkpoints, tmp_path):
    shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def files_of(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def newest_of(folder, keep=None):
    """The step that is taken, after its numbers are looked at."""
    with Checkpointer(folder, keep) as checkpoints:
        step = checkpoints.latest_step()
        found = checkpoints.restore(step, abstract(jax.tree.map(jnp.asarray, SMALL)))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + step), found, SMALL)
    return step


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_flipped_bit_in_any_file_is_found_and_the_checkpoint_before_is_used(
    two_checkpoints, caplog
):
    rng = random.Random(0)
    names = files_of(two_checkpoints / "2")
    assert len(names) > 6 and any("ocdbt.process_0/d/" in name for name in names)
    for name in names:
        path = two_checkpoints / "2" / name
        whole = path.read_bytes()
        for bit in rng.sample(range(8 * len(whole)), 12):
            flip(path, bit)
            caplog.clear()
            expected = 2 if name in UNREAD else 1
            assert newest_of(two_checkpoints) == expected, (name, bit)
            assert expected == 2 or name in caplog.text
            path.write_bytes(whole)
    assert newest_of(two_checkpoints) == 2


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_is_cut_emptied_zeroed_or_missing_is_named(kind, pair, caplog):
    for name in set(files_of(pair / "2")) - UNREAD:
        shutil.copytree(pair / "2", pair / "copy")
        DAMAGE[kind](pair / "2" / name)
        caplog.clear()
        assert newest_of(pair) == 1
        assert name in caplog.text and str(pair / "1") in caplog.text
        shutil.rmtree(pair / "2")
        (pair / "copy").rename(pair / "2")


def test_what_orbax_writes_last_is_not_needed(pair):
    for name in UNREAD:
        for damage in DAMAGE.values():
            whole = (pair / "2" / name).read_bytes()
            damage(pair / "2" / name)
            assert newest_of(pair) == newest_of(pair, keep=0) == 2
            shutil.rmtree(pair / "2" / name, ignore_errors=True)
            (pair / "2" / name).write_bytes(whole)


def test_who_writes_moves_a_damaged_checkpoint_away_and_who_reads_changes_nothing(pair):
    flip(pair / "2" / "checksums.json", 99)
    before = files_of(pair)
    assert newest_of(pair) == 1
    assert files_of(pair) == before
    assert newest_of(pair, keep=2) == 1
    assert sorted(path.name for path in pair.iterdir()) == ["1", "2.damaged"]
    with Checkpointer(pair, keep=2) as checkpoints:
        checkpoints.save(2, jax.tree.map(lambda x: jnp.asarray(x + 2), SMALL))
    assert newest_of(pair) == 2
    assert sorted(path.name for path in pair.iterdir()) == ["1", "2", "2.damaged"]


def test_when_every_checkpoint_is_damaged_the_error_names_the_files_and_nothing_changes(pair):
    flip(pair / "1" / "manifest.ocdbt", 5)
    (pair / "2" / "checksums.json").unlink()
    before = files_of(pair)
    with (
        Checkpointer(pair, keep=1) as checkpoints,
        pytest.raises(UserError, match=r"2: checksums\.json is missing; 1: manifest\.ocdbt holds"),
    ):
        checkpoints.latest_step()
    assert files_of(pair) == before
    with (
        Checkpointer(pair, keep=None) as checkpoints,
        pytest.raises(UserError, match=r"manifest\.ocdbt holds other bytes than were written"),
    ):
        checkpoints.restore(1, abstract(jax.tree.map(jnp.asarray, SMALL)))
    with (
        Checkpointer(pair, keep=None) as checkpoints,
        pytest.raises(UserError, match="3: never finished"),
    ):
        checkpoints.restore(3, abstract(jax.tree.map(jnp.asarray, SMALL)))


def test_no_folder_is_trusted_for_its_name(pair):
    for name in ("99", "007", "step_98", "-5", "1e9", "٣", "junk", "9" * 400):
        with_name = pair / name[:200]
        with_name.mkdir()
    (pair / "98").write_text("a file")
    assert newest_of(pair) == 2
    assert (pair / "99").exists()
    with Checkpointer(pair, keep=0) as checkpoints:
        assert checkpoints.latest_step() == 2
        checkpoints.save(3, jax.tree.map(lambda x: jnp.asarray(x + 3), SMALL))
    assert newest_of(pair) == 3


def test_with_empty_folders_alone_a_run_starts_anew(tmp_path):
    (tmp_path / "99").mkdir()
    with Checkpointer(tmp_path, keep=1) as checkpoints:
        assert checkpoints.latest_step() is None
        checkpoints.save(1, jax.tree.map(lambda x: jnp.asarray(x + 1), SMALL))
    assert newest_of(tmp_path) == 1


def agree_on_the_newest(folder):
    with Checkpointer(folder, keep=0) as checkpoints:
        return checkpoints.latest_step()


def refuse_all(folder):
    with Checkpointer(folder, keep=0) as checkpoints:
        try:
            return checkpoints.latest_step()
        except UserError as error:
            return str(error)


def test_two_processes_hash_what_they_wrote_and_agree_on_what_is_damaged(tmp_path):
    run_processes(save_over_all_processes, 2, str(tmp_path), num_devices=2)
    names = files_of(tmp_path / "4")
    assert {name.split("/")[0] for name in names} >= {"ocdbt.process_0", "ocdbt.process_1"}
    assert "checksums.json" in names and not any("checksums.json." in name for name in names)
    assert agree_on_the_newest(str(tmp_path)) == 4
    shutil.copytree(tmp_path / "4", tmp_path / "9")
    biggest = max((tmp_path / "9").rglob("ocdbt.process_1/d/*"), key=os.path.getsize)
    flip(biggest, 8 * biggest.stat().st_size // 2)
    shutil.copytree(tmp_path / "9", tmp_path / "only" / "9")
    assert run_processes(agree_on_the_newest, 2, str(tmp_path)) == [4, 4]
    said = run_processes(refuse_all, 2, str(tmp_path / "only"))
    assert said[0] == said[1] and biggest.name in said[0]


def test_the_steps_that_are_listed_are_those_that_were_finished_and_identity_tells_them_apart(
    tmp_path,
):
    with Checkpointer(tmp_path, keep=0) as checkpoints:
        for step in (10, 9):
            checkpoints.save(step, {"x": jnp.full(4, step)})
    (tmp_path / "11").mkdir()  # as on a bucket, where an unfinished one has its name already
    with Checkpointer(tmp_path, keep=None) as reader:
        assert reader.steps() == [9, 10]
        assert reader.identity(9) == reader.identity(9) != reader.identity(10)
        assert reader.fault(9) is None and reader.fault(11) == "not there"
        with pytest.raises(ValueError, match="checksums"):
            reader.identity(12)
