"""Rows cut into blocks of tokens and joined again, for what goes over them a block at a time."""

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def cut(size: int, x: Shaped[Array, "B T ..."], **filling) -> Shaped[Array, "n B L ..."]:
    """[B, T, ...] as [n, B, L, ...] with L = size, T padded up to a multiple, as jnp.pad's `filling` says."""
    pad = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, pad, **filling)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def lengthen(x: Shaped[Array, "B T ..."], pad: int, value: int) -> Shaped[Array, "B U ..."]:
    """Rows with `pad` more tokens at their end, filled with `value`."""
    widths = [(0, 0), (0, pad)] + [(0, 0)] * (x.ndim - 2)
    return jnp.pad(x, widths, constant_values=value) if pad else x


def join(x: Shaped[Array, "n B L ..."], length: int) -> Shaped[Array, "B T ..."]:
    """What `cut` has cut, with T = length."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])[:, :length]
