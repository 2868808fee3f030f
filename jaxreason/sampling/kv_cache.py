"""Rows of the key/value cache: making, clearing and copying them, in place on the device.

The entry of position p of a row is at index p (`models.cache.Cache`). What a sequence may not see is masked
by the attention, but a masked NaN still poisons the sum, so rows are zeroed where their sequence has not written.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from jaxreason.models.cache import CACHE_AXES, Cache
from jaxreason.models.decoder import Model, init_cache
from jaxreason.sharding import fitting_spec


def cache_shardings(model: Model, mesh: Mesh, rows: int, length: int) -> Cache:
    """Where both parts of a cache of `rows` rows live: rows over the batch axes, heads over the tensor axis."""
    shapes = jax.eval_shape(lambda: init_cache(model, rows, length))
    return jax.tree.map(
        lambda x: NamedSharding(mesh, fitting_spec(mesh, CACHE_AXES, x.shape)), shapes
    )


def make_maker(model: Model, mesh: Mesh, rows: int, length: int) -> Callable[[], Cache]:
    """A compiled function that gives an empty cache, made where it lives."""
    return jax.jit(
        lambda: init_cache(model, rows, length),
        out_shardings=cache_shardings(model, mesh, rows, length),
    )


def clear_from(cache: Cache, start: Int[Array, " B"]) -> Cache:
    """Zeroes every row from index `start` on."""
    written = (jnp.arange(cache.length) < start[:, None])[None, :, None, :, None]
    return jax.tree.map(lambda part: jnp.where(written, part, 0), cache)


def copy_rows(
    cache: Cache,
    source: Cache,
    count: Int[Array, ""],
    row: Int[Array, " N"],
    slot: Int[Array, " N"],
    length: Int[Array, " N"],
) -> Cache:
    """For i < count, overwrites row slot[i] of `cache` with the first length[i] entries of row row[i] of `source`.

    A loop over the copies, and not one scatter of them all, so that nothing larger than a row is made on the way.
    """

    def copy(i: Array, cache: Cache) -> Cache:
        entries = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row[i], 1, axis=1), source)
        entries = clear_from(entries, length[i, None])
        return jax.tree.map(lambda x, new: x.at[:, slot[i]].set(new[:, 0]), cache, entries)

    return jax.lax.fori_loop(0, count, copy, cache)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what the host reads: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())
