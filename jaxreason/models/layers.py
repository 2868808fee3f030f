"""The parts of a decoder block: normalisation, linear map, gated MLP, and how parameters carry their axis names."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

INITIALIZERS = {
    "normal": lambda key, shape, scale: scale * jax.random.normal(key, shape, jnp.float32),
    "ones": lambda key, shape, scale: jnp.ones(shape, jnp.float32),
    "zeros": lambda key, shape, scale: jnp.zeros(shape, jnp.float32),
}


def make_param(
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    axes: tuple[str, ...],
    dtype: str,
    init: str,
    scale: float = 0.0,
) -> nnx.Param:
    """A parameter that knows the logical names of its dims.

    They are kept under a metadata name of our own: Flax's `sharding` metadata would want a mesh at creation.
    """
    return nnx.Param(INITIALIZERS[init](rngs.params(), shape, scale).astype(dtype), axes=axes)


def rms_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], eps: float
) -> Float[Array, "... D"]:
    """x / sqrt(mean(x²) + eps) · scale (arXiv 1910.07467); statistics in float32, result in the dtype of `x`."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + eps)
    return wide.astype(x.dtype) * scale.astype(x.dtype)


def swiglu(gate: Float[Array, "... F"], up: Float[Array, "... F"]) -> Float[Array, "... F"]:
    """silu(gate) · up (arXiv 2002.05202)."""
    return jax.nn.silu(gate) * up


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation with a learnt scale."""

    def __init__(self, size: int, axis: str, eps: float, param_dtype: str, rngs: nnx.Rngs):
        self.eps = eps
        self.scale = make_param(rngs, (size,), (axis,), param_dtype, "ones")

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return rms_norm(x, self.scale[...], self.eps)


class Linear(nnx.Module):
    """x @ kernel (+ bias); heads are kept flat in the kernel, so that it is one matrix product."""

    def __init__(
        self,
        sizes: tuple[int, int],
        axes: tuple[str, str],
        bias: bool,
        scale: float,
        param_dtype: str,
        rngs: nnx.Rngs,
    ):
        self.kernel = make_param(rngs, sizes, axes, param_dtype, "normal", scale)
        self.bias = make_param(rngs, sizes[1:], axes[1:], param_dtype, "zeros") if bias else None

    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        out = x @ self.kernel[...].astype(x.dtype)
        return out if self.bias is None else out + self.bias[...].astype(x.dtype)
