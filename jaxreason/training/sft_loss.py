"""The losses that `step.make_train_step` takes, but for those of `rl`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, head
from jaxreason.models.logprobs import full_kl, logprobs
from jaxreason.training.token_weights import Sequences, weights_of


def make_sft_loss(
    model: Model,
    chunk: int,
    packed: bool = True,
    *,
    aggregation: str = "token_mean",
    token_weight: str = "one",
    kl_coefficient: float = 0.0,
) -> Callable[..., tuple]:
    """`w . -log p + beta KL(p || reference)` of the tokens under the loss mask, in nats.

    Args:
      model: static description.
      chunk: positions whose logits exist at a time.
      packed: whether rows may hold several sequences. If not, attention need not tell them apart: causality alone
        keeps the padding behind a sequence out of it.
      aggregation: `token_mean` counts each token alike; `sequence_mean` each sequence, as the mean over its tokens.
      token_weight: w, key of TOKEN_WEIGHTS; with "one" this is the cross-entropy.
      kl_coefficient: beta; with 0 there is no reference.

    Returns:
      A loss `(params, TokenBatch)`, or with a reference `(params, TokenBatch, its parameters)`: the sum, the number of
      target tokens (of sequences that have any), and sums of the measurements over the target tokens: `entropy` of the
      predicted distribution; where the loss is not the mean of it, `cross_entropy`; `token_weight`; `kl_ref`.
    """

    def loss(params, batch, *reference):
        places = _places(batch, packed)
        out = forward(model, params, batch.tokens, *places)
        final = out.final, head(model, params)
        options = {"chunk": chunk, "segment_ids": batch.segment_ids}
        found = logprobs(*final, batch.tokens, **options)
        weights = weights_of(token_weight, found.logprobs, *final, batch.tokens, **options)
        losses, terms = -weights * found.logprobs, {"entropy": found.entropy}
        if token_weight != "one":
            terms["token_weight"] = weights
        if kl_coefficient:
            other = forward(model, reference[0], batch.tokens, *places)
            frozen = other.final, head(model, reference[0])
            terms["kl_ref"] = full_kl(*final, *frozen, batch.tokens, **options)
            losses += kl_coefficient * terms["kl_ref"]
        if len(terms) > 1 or aggregation != "token_mean":
            terms["cross_entropy"] = -found.logprobs
        shares = batch.loss_mask
        if aggregation == "sequence_mean":
            shares = Sequences(batch.loss_mask, batch.segment_ids).shares()
        terms = {"tokens": jnp.ones_like(batch.loss_mask), **jax.lax.stop_gradient(terms)}
        sums = {name: jnp.sum(value * batch.loss_mask) for name, value in terms.items()}
        return jnp.sum(losses * shares), jnp.sum(shares), sums

    return loss


def _places(batch: Any, packed: bool) -> tuple[jax.Array, jax.Array | None]:
    """Positions and segments; where no rows are packed the padding counts on, and no token sees it."""
    if packed:
        return batch.positions, batch.segment_ids
    return jnp.broadcast_to(jnp.arange(batch.tokens.shape[1]), batch.tokens.shape), None
