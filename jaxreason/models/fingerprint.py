"""A short name for the exact values of parameters, however they are split over devices."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def fingerprint(params: Any) -> str:
    """Eight hexadecimal digits that follow from every bit of every array: equal parameters have equal ones.

    The sums are of integers that wrap around, so their order and the number of devices make no difference. It tells
    whether weights are the same bit for bit; it gives no protection against weights that are made to collide.
    """
    return f"{int(_hash(params)):08x}"


@jax.jit
def _hash(params: Any) -> UInt32[Array, ""]:
    total = jnp.zeros((), jnp.uint32)
    for number, leaf in enumerate(jax.tree.leaves(params)):
        total = _mixed(total * jnp.uint32(0x9E3779B1) + _of_array(leaf, number))
    return total


def _of_array(x: Array, number: int) -> UInt32[Array, ""]:
    """Hashes one array: the sum over its values of each one's bits mixed with its place."""
    bits = jax.lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize]).astype(jnp.uint32)
    place = jnp.full(x.shape, number * 0x85EBCA6B & 0xFFFFFFFF, jnp.uint32)
    for dim in range(x.ndim):
        place = place * jnp.uint32(0x01000193) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, dim)
    return jnp.sum(_mixed(bits ^ _mixed(place)), dtype=jnp.uint32)


def _mixed(x: Array) -> Array:
    """MurmurHash3's last step: each bit of the argument turns about half of the result's."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
