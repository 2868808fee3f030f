"""bfloat16 kept on CPU as the uint16 of the same bits.

XLA's compiler for CPUs has no writes into a part of a bfloat16 array: it converts the whole array to float32 and back
for each of them, which for a pool of pages is most of a decode step.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Num

from jaxreason.sharding import platform

BITS = jnp.dtype(jnp.uint16)


def kept_dtype(dtype: DTypeLike) -> Any:
    """In which an array of `dtype` that is written in parts is kept."""
    return BITS if platform() == "cpu" and jnp.dtype(dtype) == jnp.bfloat16 else dtype


def to_kept(x: Num[Array, "..."], dtype: DTypeLike) -> Num[Array, "..."]:
    """Numbers as an array whose `kept_dtype` is `dtype` keeps them."""
    if dtype != BITS:
        return x.astype(dtype)
    return jax.lax.bitcast_convert_type(x.astype(jnp.bfloat16), BITS)


def from_kept(x: Num[Array, "..."], dtype: DTypeLike) -> Num[Array, "..."]:
    """What is kept, as numbers of `dtype`."""
    if x.dtype == BITS:
        x = jax.lax.bitcast_convert_type(x, jnp.bfloat16)
    return x.astype(dtype)
