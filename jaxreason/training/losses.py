"""The losses that `step.make_train_step` takes, but for those of `rl`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.models.decoder import Model, forward, head
from jaxreason.models.logprobs import logprobs


def make_sft_loss(model: Model, chunk: int, packed: bool = True) -> Callable[[Any, Any], tuple]:
    """Cross-entropy in nats of the tokens under the loss mask, each counted alike.

    Args:
      model: static description.
      chunk: positions whose logits exist at a time.
      packed: whether rows may hold several sequences. If not, attention need not tell them apart: causality alone
        keeps the padding behind a sequence out of it.

    Returns:
      A loss on a TokenBatch: summed cross-entropy, number of target tokens, and sums of the
      measurements over those tokens (`entropy` of the predicted distribution).
    """

    def loss(params, batch):
        out = forward(model, params, batch.tokens, *_places(batch, packed))
        found = logprobs(
            out.final,
            head(model, params),
            batch.tokens,
            chunk=chunk,
            segment_ids=batch.segment_ids,
        )
        tokens = jnp.sum(batch.loss_mask)
        entropy = jnp.sum(jax.lax.stop_gradient(found.entropy) * batch.loss_mask)
        return (
            -jnp.sum(found.logprobs * batch.loss_mask),
            tokens,
            {
                "tokens": tokens,
                "entropy": entropy,
            },
        )

    return loss


def _places(batch: Any, packed: bool) -> tuple[jax.Array, jax.Array | None]:
    """Positions and segments; where no rows are packed the padding counts on, and no token sees it."""
    if packed:
        return batch.positions, batch.segment_ids
    return jnp.broadcast_to(jnp.arange(batch.tokens.shape[1]), batch.tokens.shape), None
