"""How much each token of a text counts: `(log-probs [B, T], top-k entropies [B, T] | None) -> weights [B, T]`.

They multiply `-log p(token)`, in SFT as in RL, and are numbers: no gradient goes through them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TokenWeight = Callable[
    [Float[Array, "B T"], Float[Array, "B T"] | None],
    Float[Array, "B T"],
]


def one(
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


TOKEN_WEIGHTS: dict[str, TokenWeight] = {"one": one, "dft": dft, "eaft": eaft}


def needs_top_entropy(name: str) -> bool:
    """Whether the weights of this name are made of top-k entropies, which cost a pass over the logits of their own."""
    return TOKEN_WEIGHTS[name] is eaft
