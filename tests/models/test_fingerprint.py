"""The name of exact weights: every value and its place count, the devices do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.models.fingerprint import fingerprint


def params(dtype=jnp.float32):
    values = np.random.default_rng(0).normal(size=(4, 8))
    return {"a": jnp.asarray(values, dtype), "b": jnp.asarray(values[:2], dtype)}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_one_bit_of_one_value_changes_it(dtype):
    before = fingerprint(params(dtype))
    assert fingerprint(params(dtype)) == before
    changed = params(dtype)
    value = changed["b"][1, 3]
    changed["b"] = changed["b"].at[1, 3].set(jnp.nextafter(value, jnp.asarray(9, dtype)))
    assert fingerprint(changed) != before


def test_values_that_change_places_change_it():
    one = params()
    flipped = {"a": one["a"][:, ::-1], "b": one["b"]}
    swapped = {"a": one["a"].at[:2].set(one["b"][::-1]), "b": one["b"]}
    named = {"a": one["b"], "b": one["a"]}
    found = {fingerprint(x) for x in (one, flipped, swapped, named)}
    assert len(found) == 4


def test_it_is_the_same_on_one_device_and_on_eight():
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    one = params()
    spread = {
        "a": jax.device_put(one["a"], NamedSharding(mesh, PartitionSpec("x", "y"))),
        "b": jax.device_put(one["b"], NamedSharding(mesh, PartitionSpec(None, "x"))),
    }
    assert fingerprint(spread) == fingerprint(one)
