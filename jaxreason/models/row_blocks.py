"""Rows cut into blocks of tokens and joined again, for what goes over them a block at a time.

Everything that makes rows longer does it here, with zeros, and puts other values in their place afterwards. Where the
length is split over devices, the partitioner of jaxlib 0.10.2 gives all paddings of an array that reach equally far the
value of the first of them: `jnp.pad` with two values in one program gives one of them twice.
"""

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def cut(
    size: int, x: Shaped[Array, "B T ..."], value: int | Shaped[Array, "B 1 ..."] = 0
) -> Shaped[Array, "n B L ..."]:
    """[B, T, ...] as [n, B, L, ...] with L = size; `value` fills the places of the last block that lie past T."""
    x = lengthen(x, -x.shape[1] % size, value)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def lengthen(
    x: Shaped[Array, "B T ..."], pad: int, value: int | Shaped[Array, "B 1 ..."] = 0
) -> Shaped[Array, "B U ..."]:
    """Rows with `pad` more tokens at their end, filled with `value`."""
    if not pad:
        return x
    longer = jnp.pad(x, [(0, 0), (0, pad)] + [(0, 0)] * (x.ndim - 2))
    if isinstance(value, int) and value == 0:
        return longer
    is_filling = jnp.arange(longer.shape[1]) >= x.shape[1]
    return jnp.where(is_filling.reshape(1, -1, *[1] * (x.ndim - 2)), value, longer)


def join(x: Shaped[Array, "n B L ..."], length: int) -> Shaped[Array, "B T ..."]:
    """What `cut` has cut, with T = length."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])[:, :length]
