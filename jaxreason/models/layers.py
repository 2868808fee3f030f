"""The parts of a decoder block: normalisation, linear map, gated MLP, and how parameters carry their axis names."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from jaxreason.sharding import axis_size, constrain, platform

MLP_BLOCKS = 4  # parts of a feed-forward layer's inside that `swiglu_by_blocks` makes in turn
FEW_ROWS = 64  # from here on a product's orientation makes no difference on CPU
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

    They are kept under a metadata name of our own, since Flax's `sharding` metadata needs a mesh at creation.
    """
    return nnx.Param(INITIALIZERS[init](rngs.params(), shape, scale).astype(dtype), axes=axes)


def rms_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], eps: float
) -> Float[Array, "... D"]:
    """x / sqrt(mean(x²) + eps) · scale (arXiv 1910.07467); statistics in float32, result in the dtype of `x`."""
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + eps)
    return wide.astype(x.dtype) * scale.astype(x.dtype)


def multiply_rows(
    x: Float[Array, "... I"], kernel: Float[Array, "I O"], dtype: DTypeLike | None = None
) -> Float[Array, "... O"]:
    """x @ kernel in `dtype` (None: that of x).

    On CPU all rows are one matrix, or XLA copies both operands of the kernel's gradient.
    """
    if platform() != "cpu" or axis_size("act_len") > 1:  # rows that lie apart cannot be one dim
        return jnp.matmul(x, kernel, preferred_element_type=dtype)
    rows = x.reshape(-1, x.shape[-1])
    out = jnp.matmul(rows, kernel, preferred_element_type=dtype or _product_dtype(x))
    return out.astype(dtype or x.dtype).reshape(*x.shape[:-1], -1)


def _product_dtype(x: Array) -> DTypeLike | None:
    """The dtype to ask of a product.

    XLA's CPU compiler casts both operands of a bfloat16 product unless the result is float32.
    """
    return jnp.float32 if platform() == "cpu" and x.dtype == jnp.bfloat16 else None


def multiply_rows_by_outputs(
    x: Float[Array, "B T I"], kernel: Float[Array, "O I"], dtype: DTypeLike | None = None
) -> Float[Array, "B T O"]:
    """x @ kernel.T in `dtype` (None: that of x), for a kernel kept output by output.

    With few rows, XLA's CPU compiler takes half the time for the product kernel @ x.T; unless something stands between
    that and its transposition, it makes them one product again.
    """
    made = dtype or _product_dtype(x)
    out = jnp.einsum("OI,BTI->OBT", kernel, x, preferred_element_type=made)
    if x.shape[0] * x.shape[1] < FEW_ROWS:
        out = jax.lax.optimization_barrier(out)
    return jnp.einsum("OBT->BTO", out).astype(dtype or x.dtype)


def join_outputs(kernels: Sequence[Num[Array, "... O"]], parts: int) -> Num[Array, "... S"]:
    """Kernels (or biases) with the same input as one: in each of `parts` parts, a part of each kernel's outputs.

    Devices that split outputs evenly between them then have their own outputs of each kernel.
    """
    split = [x.reshape(*x.shape[:-1], parts, -1) for x in kernels]
    return jnp.concatenate(split, axis=-1).reshape(*kernels[0].shape[:-1], -1)


def split_outputs(
    out: Float[Array, "... S"], sizes: Sequence[int], parts: int
) -> list[Float[Array, "... O"]]:
    """The results of the kernels of these sizes, from that of the one that `join_outputs` made of them."""
    apart = out.reshape(*out.shape[:-1], parts, -1)
    ends = np.cumsum(sizes)[:-1] // parts
    return [x.reshape(*out.shape[:-1], -1) for x in jnp.split(apart, ends, axis=-1)]


def swiglu(gate: Float[Array, "... F"], up: Float[Array, "... F"]) -> Float[Array, "... F"]:
    """silu(gate) · up (arXiv 2002.05202)."""
    return jax.nn.silu(gate) * up


def swiglu_by_blocks(
    x: Float[Array, "B T D"],
    gate: Float[Array, "D F"],
    up: Float[Array, "D F"],
    down: Float[Array, "F D"],
) -> Float[Array, "B T D"]:
    """swiglu(x @ gate, x @ up) @ down, MLP_BLOCKS parts of F one after the other.

    Each part is made again in the backward pass, which also finishes that part's gradients: of F's activations and
    their gradients only a part exists at a time, and no product is made more often than when the layer is recomputed.
    """
    parts = axis_size("mlp")
    count = MLP_BLOCKS if gate.shape[1] % (parts * MLP_BLOCKS) == 0 else 1

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add(total, block):
        gate, up, down = block
        columns, rows = ("embed", "mlp", None), ("mlp", None, "embed")
        gate, up = (constrain(w, columns).astype(x.dtype) for w in (gate, up))
        down = constrain(down, rows).astype(x.dtype)
        inner = swiglu(*(jnp.einsum("BTD,DSW->BTSW", x, w) for w in (gate, up)))
        inner = constrain(inner, ("act_batch", "act_len", "act_mlp", None))
        return total + _wide_product(inner, down), None

    # a part has columns of every device, so that none moves
    columns = [jnp.moveaxis(w.reshape(len(w), parts, count, -1), 2, 0) for w in (gate, up)]
    rows = jnp.moveaxis(down.reshape(parts, count, -1, down.shape[1]), 1, 0)
    total, _ = jax.lax.scan(add, jnp.zeros(x.shape, jnp.float32), (*columns, rows))
    return total.astype(x.dtype)


@jax.custom_vjp
def _wide_product(inner: Float[Array, "B T S W"], down: Float[Array, "S W D"]):
    """A product in float32. Its gradients are products in the operands' dtype; plain ones would run in float32."""
    return jnp.einsum("BTSW,SWD->BTD", inner, down, preferred_element_type=jnp.float32)


def _wide_product_backward(operands, d_out):
    inner, down = operands
    d_out = d_out.astype(inner.dtype)
    d_inner = jnp.einsum("BTD,SWD->BTSW", d_out, down)
    return d_inner, jnp.einsum("BTSW,BTD->SWD", inner, d_out)


_wide_product.defvjp(lambda *operands: (_wide_product(*operands), operands), _wide_product_backward)


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation with a learnt scale."""

    def __init__(self, size: int, axis: str, eps: float, param_dtype: str, rngs: nnx.Rngs):
        self.eps = eps
        self.scale = make_param(rngs, (size,), (axis,), param_dtype, "ones")

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return rms_norm(x, self.scale[...], self.eps)


class Linear(nnx.Module):
    """x @ kernel (+ bias); heads are kept flat in the kernel, so that it is one matrix product.

    With `output_first` the kernel is kept as its transpose; with `int8` as whole numbers and a scale of each output.
    """

    def __init__(
        self,
        sizes: tuple[int, int],
        axes: tuple[str, str],
        bias: bool,
        scale: float,
        param_dtype: str,
        rngs: nnx.Rngs,
        output_first: bool,
        int8: bool,
    ):
        order = slice(None, None, -1 if output_first else 1)
        dtype = "int8" if int8 else param_dtype
        self.kernel = make_param(rngs, sizes[order], axes[order], dtype, "normal", scale)
        self.kernel_scale = (
            make_param(rngs, sizes[1:], axes[1:], "float32", "ones") if int8 else None
        )
        self.bias = make_param(rngs, sizes[1:], axes[1:], param_dtype, "zeros") if bias else None
        self.multiply = multiply_rows_by_outputs if output_first else multiply_rows

    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        scaled = self.kernel_scale is not None
        # The sum is over whole numbers, and may be too large for float16 where the scaled one is not.
        wide = jnp.float32 if scaled and x.dtype == jnp.float16 else None
        out = self.multiply(x, self.kernel[...].astype(x.dtype), wide)
        if scaled:
            out = (out * self.kernel_scale[...]).astype(x.dtype)
        return out if self.bias is None else out + self.bias[...].astype(x.dtype)
