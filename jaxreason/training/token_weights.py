"""How much each token of a text counts: `(log-probs [B, T], top-k entropies [B, T] | None) -> weights [B, T]`.

They multiply `-log p(token)`, in SFT as in RL, and are numbers: no gradient goes through them.

And `Sequences`: sums, means and shares over the sequences of packed rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.models.logprobs import top_entropy

TokenWeight = Callable[
    [Float[Array, "B T"], Float[Array, "B T"] | None],
    Float[Array, "B T"],
]


def uniform(
    logprobs: Float[Array, "B T"], top_entropy: Float[Array, "B T"] | None = None
) -> Float[Array, "B T"]:
    """1: each token alike, the usual loss."""
    return jnp.ones_like(logprobs)


def dft(
    logprobs: Float[Array, "B T"], top_entropy: Float[Array, "B T"] | None = None
) -> Float[Array, "B T"]:
    """p(token): what the model finds unlikely counts little.

    Source: Wu et al. 2025 (Dynamic Fine-Tuning, arXiv 2508.05629), equation 9.
    """
    return jax.lax.stop_gradient(jnp.exp(logprobs))


def eaft(
    logprobs: Float[Array, "B T"], top_entropy: Float[Array, "B T"] | None = None
) -> Float[Array, "B T"]:
    """The normalised entropy of the 20 likeliest tokens: where the model is sure of itself, little is learned.

    Args:
      logprobs: of the tokens; unread.
      top_entropy: from 0 to 1, as `models.logprobs.top_entropy` makes it.

    Source: Diao et al. 2026 (Entropy-Adaptive Fine-Tuning, arXiv 2601.02151), equations 2 and 3; the weight is a number
    there too, in the code that its authors put into LLaMA-Factory.
    """
    assert top_entropy is not None, "eaft needs top_entropy"
    return jax.lax.stop_gradient(top_entropy)


TOKEN_WEIGHTS: dict[str, TokenWeight] = {"one": uniform, "dft": dft, "eaft": eaft}


def needs_top_entropy(name: str) -> bool:
    """Whether the weights of this name are made of top-k entropies, which cost a pass over the logits of their own."""
    return TOKEN_WEIGHTS[name] is eaft


def weights_of(
    name: str,
    found: Float[Array, "B T"],
    final: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    **options: Any,
) -> Float[Array, "B T"]:
    """The weights of a name, with the top-k entropies that they may need.

    Args:
      name: key of TOKEN_WEIGHTS.
      found: log-probs of the tokens.
      final: hidden states after the final norm.
      head: output embedding.
      tokens: the tokens.
      options: `chunk` and `segment_ids` of `models.logprobs.top_entropy`.
    """
    if not needs_top_entropy(name):
        return TOKEN_WEIGHTS[name](found, None)
    return TOKEN_WEIGHTS[name](found, top_entropy(final, head, tokens, **options))


class Sequences(NamedTuple):
    """Marks which tokens count, and the sequence of their row that each belongs to."""

    mask: Float[Array, "B T"]
    segment_ids: Int[Array, "B T"]

    def total(self, values: Float[Array, "B T"]) -> Float[Array, "B T"]:
        """The sum over its own sequence's counted tokens, at every token."""
        length = values.shape[1] + 1
        sums = jax.vmap(lambda v, s: jax.ops.segment_sum(v, s, num_segments=length)[s])
        return sums(values * self.mask, self.segment_ids)

    def mean(self, values: Float[Array, "B T"]) -> Float[Array, "B T"]:
        """The mean over its own sequence's counted tokens, at every token."""
        return self.total(values) / jnp.maximum(self.total(self.mask), 1.0)

    def shares(self) -> Float[Array, "B T"]:
        """1 / (its own sequence's counted tokens) at each of them: the sum counts the sequences that have any."""
        return self.mask / jnp.maximum(self.total(self.mask), 1.0)
