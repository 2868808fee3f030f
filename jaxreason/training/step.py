"""One optimizer step for any loss: gradients accumulated over micro-batches, divided once, applied.

A loss is `(params, batch, *frozen) -> (loss_sum, weight, measurements)`: sums over the rows it is given.
`measurements` are sums over tokens by name, one of which, `tokens`, is how many those were. `frozen` are parameters
that are read and not trained: of a reference, of a teacher.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxreason.training.micro_batches import split
from jaxreason.training.state import TrainState, wide

NOT_FINITE = "not_finite"  # a measurement that is no number: which tensors are none

LossFn = Callable[..., tuple[jax.Array, jax.Array, dict[str, jax.Array]]]


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    num_micro_batches: int,
    shardings: TrainState,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step `(state, batch, *frozen) -> (state, measurements)`; it donates the state and nothing else.

    Loss and gradient are those of the whole batch, however it is cut: the sums of all micro-batches
    are divided once by the sum of their weights. Besides the float32 accumulator, the gradient of
    one micro-batch exists at a time.

    Args:
      loss_fn: see above.
      optimizer: gets float32 gradients and parameters; its updates are added in float32.
      num_micro_batches: cuts the batch, any tree of [B, ...] arrays; micro-batch i has the rows
        i, i + num_micro_batches, ..., so that no row leaves its device. It must divide B.
      shardings: of the state (`state.state_shardings`); a step keeps them, so that the next one is
        not compiled again.

    Returns:
      The step. Its measurements are scalars: `loss`, `grad_norm` (before clipping), `update_norm`
      (of what was added to the parameters), `tokens`, and the loss's own as means over tokens. Besides, under
      NOT_FINITE, bool [2, N]: of each of the N leaves of the parameters, in the order of `jax.tree.leaves`,
      whether its gradient, and its update, has a squared norm that is not finite.
    """

    def step(state: TrainState, batch: Any, *frozen: Any):
        def loss_of(params, rows):
            return loss_fn(params, rows, *frozen)

        (loss, weight, sums), grads = _accumulate(
            loss_of, state.params, batch, num_micro_batches, shardings.params
        )
        # A batch without any target has weight 0 and gradient 0; its loss is 0, not NaN.
        divisor = jnp.where(weight > 0, weight, 1.0)
        grads = jax.tree.map(lambda g: g / divisor, grads)
        params = wide(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        new = jax.tree.map(
            lambda p, u, old: (p + u).astype(old.dtype), params, updates, state.params
        )
        measurements = {
            "loss": loss / divisor,
            "grad_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            **_means(sums),
            NOT_FINITE: _not_finite(grads, updates),
        }
        return TrainState(state.step + 1, new, opt_state), measurements

    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def _not_finite(grads: Any, updates: Any) -> jax.Array:
    """The sums are those that the two global norms are made of: the compiler has them already."""
    norms = [
        [optax.tree.norm(leaf, squared=True) for leaf in jax.tree.leaves(tree)]
        for tree in (grads, updates)
    ]
    return ~jnp.isfinite(jnp.array(norms))


def _means(sums: dict[str, jax.Array]) -> dict[str, jax.Array]:
    count = jnp.maximum(sums["tokens"], 1.0)
    return {name: total if name == "tokens" else total / count for name, total in sums.items()}


def _accumulate(loss_fn: LossFn, params: Any, batch: Any, num: int, shardings: Any):
    """Sums of `(loss, weight, measurements)` and of float32 gradients over `num` micro-batches."""

    def micro(rows):
        def sums(params):
            loss, weight, measurements = loss_fn(params, rows)
            return loss, (loss, weight, measurements)

        grads, found = jax.grad(sums, has_aux=True)(params)
        grads = jax.tree.map(jax.lax.with_sharding_constraint, grads, shardings)
        return _float32((found, grads))

    if num == 1:
        return micro(batch)

    def add(total, rows):
        return jax.tree.map(jnp.add, total, micro(rows)), None

    parts = jax.tree.map(lambda x: split(x, num), batch)
    shapes = jax.eval_shape(micro, jax.tree.map(lambda x: x[0], parts))
    found, grads = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    grads = jax.tree.map(jax.lax.with_sharding_constraint, grads, shardings)
    return jax.lax.scan(add, (found, grads), parts)[0]


def _float32(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)
