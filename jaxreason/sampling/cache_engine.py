"""The pool of pages on the device: creates it with its sharding, and copies and clears pages in place."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int, Num

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, init_cache
from jaxreason.models.paged_cache import PagedCache, by_parts
from jaxreason.models.quantization import from_kept, kept_dtype, scale_for
from jaxreason.sharding import axis_size, constrain, fitting_spec, num_parts, platform

Pages = Num[Array, "L N ..."]
CacheDtype = Literal["auto", "bfloat16", "int8"]  # "auto": the dtype of the activations.


def _of_gpus() -> type[PagedCache]:
    from jaxreason.models.paged_cache_gpu import PagedCacheGPU  # with JAX's parts for kernels

    return PagedCacheGPU


def _of_tpus() -> type[PagedCache]:
    from jaxreason.models.paged_cache_tpu import PagedCacheTPU  # with JAX's parts for kernels

    return PagedCacheTPU


# By platform; every other platform gets the reference implementation.
KINDS = {"gpu": _of_gpus, "tpu": _of_tpus}
PROBE_SHAPE = (
    8,
    128,
)  # Rows and positions of the random tokens from which the ranges of keys and values are found.
RANGE = 1.5  # The range of int8, as a multiple of the range that the probe found.


def init_paged_cache(
    model: Model,
    params: Any,
    rows: int,
    columns: int,
    number: int,
    size: int,
    dtype: CacheDtype,
) -> PagedCache:
    """Makes `number` empty pages of `size` positions and empty tables. int8 takes its scales from the parameters."""
    arch = model.architecture
    kind = KINDS.get(platform(), lambda: PagedCache)()
    channels = 2 * arch.num_key_value_heads
    shape = kind.shape(arch.num_hidden_layers, number, channels, size, arch.head_dim)
    names = kind.axes(channels, axis_size("act_kv_heads"))
    pages = jnp.zeros(shape, kept_dtype(model.dtype if dtype == "auto" else dtype))
    scales = find_scales(model, params) if dtype == "int8" else None
    return kind(constrain(pages, names), jnp.zeros((rows, columns), jnp.int32), scales)


def find_scales(model: Model, params: Any) -> Float[Array, "L C H"]:
    """Finds a scale for each feature of the keys and values, from their ranges on random tokens; C as in PagedCache.

    The scales depend on the parameters alone and not on the sampled text, so a reply does not depend on earlier ones.
    """
    tokens = jax.random.randint(jax.random.key(0), PROBE_SHAPE, 0, model.architecture.vocab_size)
    length = min(PROBE_SHAPE[1], model.architecture.max_position_embeddings)
    tokens = tokens[:, :length]
    positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    cache = init_cache(model, len(tokens), length)
    found = forward(model, params, tokens, positions, cache=cache).cache
    keys, values = (jnp.max(jnp.abs(from_kept(x, jnp.float32)), axis=(1, 3)) for x in found)
    highest = jnp.stack([keys, values], axis=2).reshape(len(keys), -1, keys.shape[-1])
    return scale_for(RANGE * highest)


def cache_sharding(mesh: Mesh, cache: PagedCache) -> PagedCache:
    """Returns the sharding of a cache: pages and tables over the batch axes, heads over the tensor axis."""
    channels = cache.pages.shape[type(cache).CHANNELS]
    tensor = num_parts(mesh, "act_kv_heads")
    names = type(cache).axes(channels, tensor)
    axes = type(cache)(names, ("act_batch", None), (None, names[type(cache).CHANNELS], None))

    def place(x: Any, names: tuple) -> NamedSharding:
        return NamedSharding(mesh, fitting_spec(mesh, names, x.shape))

    parts = zip(cache, axes, strict=True)
    return type(cache)(*(None if x is None else place(x, names) for x, names in parts))


def copy_pages(pages: Pages, source: Int[Array, " B"], target: Int[Array, " B"]) -> Pages:
    """Copies page source[b] to page target[b]; target 0 means no copy. Page numbers count within a part.

    It loops over the copies, so that no temporary array is larger than a page.
    """

    def copy(pages: Array, source: Array, target: Array) -> Array:
        order = jnp.argsort(target == 0, stable=True)

        def one(i: Array, pages: Array) -> Array:
            page = jax.lax.dynamic_slice_in_dim(pages, source[order[i]], 1, axis=1)
            return jax.lax.dynamic_update_slice_in_dim(pages, page, target[order[i]], axis=1)

        return jax.lax.fori_loop(0, jnp.sum(target > 0), one, pages)

    return by_parts(copy, (1, 0, 0), 1)(pages, source, target)


def clear_pages(pages: Pages, dirty: Bool[Array, " N"]) -> Pages:
    """Zeroes the pages that the mask marks."""

    def clear(pages: Array, dirty: Array) -> Array:
        order = jnp.argsort(~dirty, stable=True)
        empty = jnp.zeros_like(pages[:, :1])

        def one(i: Array, pages: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(pages, empty, order[i], axis=1)

        return jax.lax.fori_loop(0, jnp.sum(dirty), one, pages)

    return by_parts(clear, (1, 0), 1)(pages, dirty)
