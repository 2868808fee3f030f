"""What a batch of one shape is cut into, and how the pieces that hold nothing cost nothing.

A batch has room for the most that a step can hold. It is dealt out in micro-batches, and those without a token are
passed over on the devices, so a step costs what it holds and nothing is compiled twice.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxreason.errors import UserError
from jaxreason.sharding import constrain

ROW_AXES = ("act_batch", "act_len")


def split(x: Array, num: int) -> Array:
    """[B, ...] as [num, B / num, ...], dealt out in turn, so that each device cuts its own rows.

    Raises:
      UserError: `num` does not divide B.
    """
    if x.shape[0] % num:
        raise UserError(f"num_micro_batches={num} does not divide a batch of {x.shape[0]} rows.")
    x = jnp.moveaxis(x.reshape(-1, num, *x.shape[1:]), 1, 0)
    return constrain(x, (None, "act_batch", *(None,) * (x.ndim - 2)))


def skip_empty(loss_fn: Callable[..., tuple], shardings: Any) -> Callable[..., tuple]:
    """The same loss; rows that are all padding cost neither a forward nor a backward pass.

    The gradient is made together with the value, inside the branch that an empty micro-batch does
    not take: JAX would otherwise keep, and fill with zeros, what the backward pass needs.

    Args:
      loss_fn: the loss, `(params, batch, *frozen)`.
      shardings: of the parameters, which are their gradients' too.
    """

    def value_and_grad(params, batch, frozen):
        def value(params):
            sums = loss_fn(params, batch, *frozen)
            return sums[0], sums

        grads, sums = jax.grad(value, has_aux=True)(params)
        return sums, jax.tree.map(jax.lax.with_sharding_constraint, grads, shardings)

    def forward_pass(params, batch, frozen):
        nothing = zeros_like(value_and_grad)
        return jax.lax.cond(holds_anything(batch), value_and_grad, nothing, params, batch, frozen)

    @jax.custom_vjp
    def loss(params, batch, frozen):
        return forward_pass(params, batch, frozen)[0]

    def backward_pass(grads, cotangents):
        return jax.tree.map(lambda g: (g * cotangents[0]).astype(g.dtype), grads), None, None

    loss.defvjp(forward_pass, backward_pass)
    return lambda params, batch, *frozen: loss(params, batch, frozen)


def holds_anything(batch: Any) -> Bool[Array, ""]:
    """Whether any row has a token that is not padding."""
    return jnp.any(batch.segment_ids > 0)


def zeros_like(function: Callable) -> Callable:
    """A function of the same arguments whose results are those of `function`, all zero."""

    def zeros(*args):
        shapes = jax.eval_shape(function, *args)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return zeros
