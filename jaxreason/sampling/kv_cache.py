"""The pool of pages on the device: making it where it lives, and copying and clearing pages in place."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.decoder import Model
from jaxreason.models.paged_cache import PagedCache, by_parts
from jaxreason.models.paged_cache_tpu import PagedCacheTPU
from jaxreason.sharding import RULES, axis_size, constrain, fitting_spec, platform

Pages = Float[Array, "L N ..."]


def init_cache(
    model: Model, rows: int, columns: int, number: int, size: int
) -> PagedCache | PagedCacheTPU:
    """`number` empty pages of `size` positions, and tables without a page, in the activations' dtype."""
    arch = model.architecture
    kind = PagedCacheTPU if platform() == "tpu" else PagedCache
    channels = 2 * arch.num_key_value_heads
    shape = kind.shape(arch.num_hidden_layers, number, channels, size, arch.head_dim)
    names = kind.axes(channels, axis_size("act_kv_heads"))
    pages = constrain(jnp.zeros(shape, model.dtype), names)
    return kind(pages, jnp.zeros((rows, columns), jnp.int32))


def page_sharding(mesh: Mesh, cache: PagedCache | PagedCacheTPU, channels: int) -> NamedSharding:
    """Where a pool lives: pages over the batch axes, heads over the tensor axis."""
    tensor = math.prod(mesh.shape[axis] for axis in RULES["act_kv_heads"])
    names = type(cache).axes(channels, tensor)
    return NamedSharding(mesh, fitting_spec(mesh, names, cache.pages.shape))


def copy_pages(pages: Pages, source: Int[Array, " B"], target: Int[Array, " B"]) -> Pages:
    """Page target[b] becomes as page source[b]; target 0 stands for no copy. Numbers count within a part.

    A loop over the copies, so that nothing larger than a page is made on the way.
    """

    def copy(pages: Array, source: Array, target: Array) -> Array:
        order = jnp.argsort(target == 0, stable=True)

        def one(i: Array, pages: Array) -> Array:
            page = jax.lax.dynamic_slice_in_dim(pages, source[order[i]], 1, axis=1)
            return jax.lax.dynamic_update_slice_in_dim(pages, page, target[order[i]], axis=1)

        return jax.lax.fori_loop(0, jnp.sum(target > 0), one, pages)

    return by_parts(copy, (1, 0, 0), 1)(pages, source, target)


def clear_pages(pages: Pages, dirty: Bool[Array, " N"]) -> Pages:
    """Zeroes the pages of a mask."""

    def clear(pages: Array, dirty: Array) -> Array:
        order = jnp.argsort(~dirty, stable=True)
        empty = jnp.zeros_like(pages[:, :1])

        def one(i: Array, pages: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(pages, empty, order[i], axis=1)

        return jax.lax.fori_loop(0, jnp.sum(dirty), one, pages)

    return by_parts(clear, (1, 0), 1)(pages, dirty)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what the host reads: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())
