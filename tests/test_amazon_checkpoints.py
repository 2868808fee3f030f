"""Checkpoints on s3://, which Orbax by itself refuses: with Amazon's own clients and a server of its interface."""

import bucket
import jax
import jax.numpy as jnp
import object_store
import pytest
from etils import epath
from orbax.checkpoint._src.serialization import tensorstore_utils

from jaxreason import amazon_checkpoints
from jaxreason.checkpoint import Checkpointer
from jaxreason.errors import UserError
from jaxreason.results.buckets import check_path

FOLDER = epath.Path("s3://bucket/run/checkpoints")


@pytest.fixture
def store(monkeypatch):
    pytest.importorskip("s3fs")
    held = bucket.Bucket()
    with object_store.served(held) as address:
        for name, value in object_store.amazon(address).items():
            monkeypatch.setenv(name, value)
        check_path(FOLDER)
        FOLDER._backend.fs(FOLDER).connect(refresh=True)  # the server of another test was elsewhere
        yield held


def state(step):
    return {"params": {"a": jnp.arange(12.0).reshape(3, 4) * step}, "step": jnp.int32(step)}


def test_checkpoints_on_s3_are_written_in_place_verified_and_restored(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpointer(FOLDER, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step))
    assert store.names("*/commit_success.txt") == [
        f"bucket/run/checkpoints/{step}/commit_success.txt" for step in (2, 3)
    ]
    for name in ("checksums.json", "commit_success.txt"):  # as a kill leaves what it was writing
        store.objects[f"bucket/run/checkpoints/4/{name[:3]}"] = b""
        del store.objects[f"bucket/run/checkpoints/3/{name}"]
    with Checkpointer(FOLDER, keep=2) as checkpoints:
        assert checkpoints.latest_step() == 2
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state(2)
        )
        found = checkpoints.restore(2, wanted)
        assert checkpoints.steps() == [2]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), found, state(2)))
    assert not store.refused and not store.names("bucket/run/checkpoints/[34]/*")
    assert not list(tmp_path.iterdir())  # such as a folder `s3:`


def test_an_orbax_that_asks_elsewhere_is_named(monkeypatch):
    monkeypatch.setattr(amazon_checkpoints, "_knows_amazon", lambda: False)
    monkeypatch.delattr(tensorstore_utils, "_use_gcs_driver")
    with pytest.raises(UserError, match="by this version of orbax-checkpoint"):
        amazon_checkpoints.teach_orbax()
