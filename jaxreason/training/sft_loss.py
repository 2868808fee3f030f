"""The losses of `train_step.make_train_step`, except for those of `rl`."""

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
    """Makes the loss `w . -log p + beta KL(p || reference)` of the tokens under the loss mask, in nats.

    Args:
      model: static description of the model.
      chunk: number of positions whose logits are in memory at the same time.
      packed: whether rows may hold several sequences. If not, attention need not separate them: causality alone keeps
        the padding behind a sequence from affecting it.
      aggregation: `token_mean` gives every token the same weight; `sequence_mean` every sequence, as
        the mean over its tokens.
      token_weight: w, a key of TOKEN_WEIGHTS; with "one" this is the cross-entropy.
      kl_coefficient: beta; with 0 there is no reference.

    Returns:
      A loss `(params, TokenBatch)`, or with a reference `(params, TokenBatch, its parameters)`. It returns the sum, the
      number of target tokens (or of sequences that have any), and sums of measurements over the target tokens:
      `entropy` of the predicted distribution; `cross_entropy` if the loss is not its mean; `token_weight`; `kl_ref`.
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
    """Returns positions and segments. In rows that are not packed, positions continue in the
    padding, which nothing sees.
    """
    if packed:
        return batch.positions, batch.segment_ids
    return jnp.broadcast_to(jnp.arange(batch.tokens.shape[1]), batch.tokens.shape), None
