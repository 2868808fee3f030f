"""One optimizer step for any loss: accumulates gradients over micro-batches, divides once, applies the update.

A loss is `(params, batch, *frozen) -> (loss_sum, weight, measurements)`: sums over the given rows. `measurements` are
sums over tokens by name; one of them, `tokens`, is the number of these tokens. `frozen` are parameters that are read
but not trained: those of a reference or a teacher.

A batch has room for the largest possible step. It is split into micro-batches, and those without a token are skipped on
the devices. So a step costs only what it holds, and nothing is compiled twice.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool

from jaxreason.data.batches import TokenBatch
from jaxreason.errors import UserError
from jaxreason.sharding import abstract_rows, constrain
from jaxreason.training.state import TrainState, wide

NOT_FINITE = "not_finite"  # A measurement: which tensors have a number that is not finite.

LossFn = Callable[..., tuple[jax.Array, jax.Array, dict[str, jax.Array]]]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    num_micro_batches: int,
    shardings: TrainState,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the jitted step `(state, batch, *frozen) -> (state, measurements)`; it donates only the state.

    Loss and gradient are those of the whole batch, however it is split: the sums of all micro-batches are divided once
    by the sum of their weights. Besides the float32 accumulator, the gradient of one micro-batch exists at a time.

    Args:
      loss_fn: see above.
      optimizer: gets float32 gradients and parameters; its updates are added in float32.
      num_micro_batches: number of parts of the batch, any tree of [B, ...] arrays; micro-batch i has the rows i, i +
        num_micro_batches, ..., so that no row leaves its device. It must divide B.
      shardings: shardings of the state (`state.state_shardings`). A step keeps them, so that the next
        step is not compiled again.

    Returns:
      The step. Its measurements are scalars: `loss`, `grad_norm` (before clipping), `update_norm` (of what was added to
      the parameters), `tokens`, and the loss's own measurements as means over tokens. Besides, NOT_FINITE is a bool [2,
      N]: for each of the N leaves of the parameters, in the order of `jax.tree.leaves`, whether the squared norm of its
      gradient, and of its update, is not finite.
    """

    def step(state: TrainState, batch: Any, *frozen: Any):
        (loss, weight, sums), grads = _accumulate(
            loss_fn, (state.params, batch, frozen), num_micro_batches, shardings.params
        )
        # A batch without any target has weight 0 and gradient 0; its loss is 0, not NaN.
        divisor = jnp.where(weight > 0, weight, 1.0)
        grads = jax.tree.map(lambda g: g / divisor, grads)
        params = wide(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        new = jax.tree.map(
            lambda p, u, old: (p + u).astype(old.dtype), params, updates, state.params
        )
        added = jax.tree.map(_added, new, params, updates)
        measurements = {
            "loss": loss / divisor,
            "grad_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(added),
            **_means(sums),
            NOT_FINITE: _not_finite(grads, added),
        }
        return TrainState(state.step + 1, new, opt_state), measurements

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def _added(new: Array, old: Array, update: Array) -> Array:
    """What a parameter gained. Stored in fewer bits, it gains less than the update, or nothing."""
    return update if new.dtype == update.dtype else new.astype(update.dtype) - old


def _not_finite(grads: Any, updates: Any) -> jax.Array:
    """The squared norms per tensor are terms of the two global norms, so the compiler computes them anyway."""
    norms = [
        [optax.tree.norm(leaf, squared=True) for leaf in jax.tree.leaves(tree)]
        for tree in (grads, updates)
    ]
    return ~jnp.isfinite(jnp.array(norms))


def _means(sums: dict[str, jax.Array]) -> dict[str, jax.Array]:
    count = jnp.maximum(sums["tokens"], 1.0)
    return {name: total if name == "tokens" else total / count for name, total in sums.items()}


def _accumulate(loss_fn: LossFn, given: tuple, num: int, shardings: Any):
    """Returns sums of `(loss, weight, measurements)` and of float32 gradients over `num` micro-batches.

    `given` are the parameters, the batch, and the frozen parameters.
    """
    params, batch, frozen = given

    # JAX asks for it twice, for shapes and for the loop. As a jitted function it is traced once. Inlined, it leaves the
    # program as it was.
    @functools.partial(jax.jit, inline=True)
    def micro(params, rows, frozen):
        def sums(params):
            loss, weight, measurements = loss_fn(params, rows, *frozen)
            return loss, (loss, weight, measurements)

        grads, found = jax.grad(sums, has_aux=True)(params)
        grads = jax.tree.map(jax.lax.with_sharding_constraint, grads, shardings)
        return wide((found, grads))

    if num == 1:  # No accumulator is needed, and nothing is added to it.
        return micro(params, batch, frozen)

    def add(total, rows):
        return jax.tree.map(jnp.add, total, micro(params, rows, frozen)), None

    # Sums and not means: a micro-batch with few tokens must not weigh as much as a full one. The caller divides once.
    # The accumulator is sharded as the parameters are, or the compiler may keep a whole copy of it on each device.
    parts = jax.tree.map(lambda x: split(x, num), batch)
    shapes = jax.eval_shape(micro, params, jax.tree.map(lambda x: x[0], parts), frozen)
    found, grads = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    grads = jax.tree.map(jax.lax.with_sharding_constraint, grads, shardings)
    return jax.lax.scan(add, (found, grads), parts)[0]


ROW_AXES = ("act_batch", "act_len")


def split(x: Array, num: int) -> Array:
    """Reshapes [B, ...] to [num, B / num, ...] by dealing out rows in turn, so that each device splits its own rows.

    Raises:
      UserError: `num` does not divide B.
    """
    if x.shape[0] % num:
        raise UserError(f"num_micro_batches={num} does not divide a batch of {x.shape[0]} rows.")
    x = jnp.moveaxis(x.reshape(-1, num, *x.shape[1:]), 1, 0)
    return constrain(x, (None, "act_batch", *(None,) * (x.ndim - 2)))


def skip_empty(loss_fn: Callable[..., tuple], shardings: Any) -> Callable[..., tuple]:
    """Returns the same loss, for which rows of padding alone cost neither a forward nor a backward pass.

    The gradient is computed together with the value, inside the branch that an empty micro-batch does not take.
    Otherwise JAX would keep what the backward pass needs, and fill it with zeros for an empty micro-batch.

    Args:
      loss_fn: the loss, `(params, batch, *frozen)`.
      shardings: shardings of the parameters, and so of their gradients.
    """

    # Under differentiation, `lax.cond` saves the residuals of both branches, so an empty micro-batch would still fill
    # the activations of a whole forward pass with zeros. Here the branch that runs computes the gradient at once. Only
    # that gradient is saved for the backward pass: one tree as large as the parameters.
    # JAX asks for it more than once while it traces a step: for shapes and for the loop over micro-batches. As a jitted
    # function it is traced once. Inlined, it leaves the program as it was.
    @functools.partial(jax.jit, inline=True)
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

    # The gradient is that of `loss_sum` alone. The step differentiates nothing else of the result (weight and
    # measurements are auxiliary), so their cotangents are zero and are left out; batch and frozen parameters get none.
    def backward_pass(grads, cotangents):
        return jax.tree.map(lambda g: (g * cotangents[0]).astype(g.dtype), grads), None, None

    loss.defvjp(forward_pass, backward_pass)
    return lambda params, batch, *frozen: loss(params, batch, frozen)


def holds_anything(batch: Any) -> Bool[Array, ""]:
    """Whether any row has a token that is not padding."""
    return jnp.any(batch.segment_ids > 0)


def zeros_like(function: Callable) -> Callable:
    """Returns a function with the same arguments that returns the results of `function`, all zero."""

    def zeros(*args):
        shapes = jax.eval_shape(function, *args)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return zeros


WHOLE_NUMBERS = ("tokens", "positions", "segment_ids")


def batch_of_rows(mesh: Mesh, rows: int, length: int) -> TokenBatch:
    """Returns the shapes of a batch of so many rows with so many tokens."""
    return TokenBatch(**row_arrays(mesh, (rows, length), TokenBatch._fields))


def row_arrays(
    mesh: Mesh, shape: tuple[int, int], names: tuple[str, ...]
) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns abstract arrays of a batch, by name."""
    return {
        name: abstract_rows(mesh, shape, jnp.int32 if name in WHOLE_NUMBERS else jnp.float32)
        for name in names
    }
