"""How keys, values and kernels are kept in fewer bytes: as int8 with scales, and bfloat16 on CPU as its own bits.

int8 is round(x / scale), with a scale for each channel that is found from the highest |x|. For kernels a channel is an
output. For the keys and values of a cache it is a feature of a head in a layer: its scale can then be taken out of the
products that attention makes, k · q = (k / s) · (s q), so that attention over int8 is attention over whole numbers.
Scales by channel of the keys are what keeps their error small (KIVI, arXiv 2402.02750).

bfloat16 is kept on CPU as the uint16 of the same bits, since XLA's compiler for CPUs has no writes into a part of a
bfloat16 array: it converts the whole array to float32 and back for each of them, which for a pool of pages is most of a
decode step.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int8, Num

from jaxreason.sharding import platform

LEVELS = 127  # the highest number; -128 has no counterpart
BITS = jnp.dtype(jnp.uint16)


def kept_dtype(dtype: DTypeLike) -> Any:
    """The dtype in which an array of `dtype` is kept if parts of it are written."""
    return BITS if platform() == "cpu" and jnp.dtype(dtype) == jnp.bfloat16 else dtype


def to_kept(x: Num[Array, "..."], dtype: DTypeLike) -> Num[Array, "..."]:
    """Converts numbers to the form in which an array of `kept_dtype` `dtype` keeps them."""
    if dtype != BITS:
        return x.astype(dtype)
    return jax.lax.bitcast_convert_type(x.astype(jnp.bfloat16), BITS)


def from_kept(x: Num[Array, "..."], dtype: DTypeLike) -> Num[Array, "..."]:
    """Converts kept values back to numbers of `dtype`."""
    if x.dtype == BITS:
        x = jax.lax.bitcast_convert_type(x, jnp.bfloat16)
    return x.astype(dtype)


def scale_for(highest: Float[Array, "..."]) -> Float[Array, "..."]:
    """The scale under which |x| up to `highest` is kept; 1 where all is zero."""
    return jnp.where(highest > 0, highest / LEVELS, 1.0)


def to_int8(x: Float[Array, "..."], scale: Float[Array, "..."]) -> Int8[Array, "..."]:
    """round(x / scale), held within ±LEVELS."""
    whole = jnp.round(x.astype(jnp.float32) / scale)
    return jnp.clip(whole, -LEVELS, LEVELS).astype(jnp.int8)


def quantize_outputs(
    kernel: Float[Array, "*L I O"],
) -> tuple[Int8[Array, "*L I O"], Float[Array, "*L O"]]:
    """A kernel as int8 and the scale of each output: kernel ≈ int8 · scale."""
    wide = kernel.astype(jnp.float32)
    scale = scale_for(jnp.max(jnp.abs(wide), axis=-2))
    return to_int8(wide, scale[..., None, :]), scale


def stored(
    new: Float[Array, "B T C H"], dtype: DTypeLike, scales: Float[Array, "L C H"] | None, layer: Any
) -> Array:
    """Converts keys and values to the form in which a cache of `dtype` keeps them."""
    return to_kept(new, dtype) if scales is None else to_int8(new, scales[layer])


def attend_scaled(
    attend: Callable[[Array], Array],
    q: Float[Array, "B T N H"],
    scales: Float[Array, "L C H"] | None,
    layer: Any,
) -> Float[Array, "B T N H"]:
    """The result of `attend` over scaled keys and values, though `attend` itself reads them without their scales.

    Args:
      attend: attention of queries over keys and values without scales.
      q: queries.
      scales: those of keys and values, interleaved by head (C = 2K); None: all are 1.
      layer: the layer whose scales are used.
    """
    if scales is None:
        return attend(q)
    keys, values = jnp.moveaxis(scales[layer].reshape(-1, 2, scales.shape[-1]), 1, 0)
    return _times(attend(_times(q, keys)), values)


def _times(x: Float[Array, "B T N H"], scale: Float[Array, "K H"]) -> Array:
    wide = x.reshape(*x.shape[:2], len(scale), -1, x.shape[3]) * scale[:, None]
    return wide.reshape(x.shape).astype(x.dtype)
