"""The pool of pages on the device: making, copying and clearing them in place."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.decoder import Model
from jaxreason.models.paged_cache import by_parts, page_axes
from jaxreason.sharding import RULES, axis_size, constrain, fitting_spec

Pages = Float[Array, "L N C S H"]


def init_pages(model: Model, number: int, size: int) -> Pages:
    """`number` empty pages of `size` positions, in the activations' dtype."""
    arch = model.architecture
    shape = (arch.num_hidden_layers, number, 2 * arch.num_key_value_heads, size, arch.head_dim)
    names = page_axes(5, shape[2], axis_size("act_kv_heads"))
    return constrain(jnp.zeros(shape, model.dtype), names)


def page_sharding(mesh: Mesh, pages: jax.ShapeDtypeStruct) -> NamedSharding:
    """Where a pool lives: pages over the batch axes, heads over the tensor axis."""
    tensor = math.prod(mesh.shape[axis] for axis in RULES["act_kv_heads"])
    names = page_axes(5, pages.shape[2], tensor)
    return NamedSharding(mesh, fitting_spec(mesh, names, pages.shape))


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
