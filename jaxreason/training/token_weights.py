"""Token weights: `(log-probs [B, T], top-k entropies [B, T] | None) -> weights [B, T]`.

They multiply `-log p(token)`, in SFT and in RL. They are constants: no gradient flows through them.

Also `Sequences`: sums, means and shares over the sequences of packed rows.
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
    """1 for every token: the usual loss."""
    return jnp.ones_like(logprobs)


def dft(
    logprobs: Float[Array, "B T"], top_entropy: Float[Array, "B T"] | None = None
) -> Float[Array, "B T"]:
    """p(token): a token that the model finds unlikely counts little.

    Source: Wu et al. 2025 (Dynamic Fine-Tuning, arXiv 2508.05629), equation 9.
    """
    return jax.lax.stop_gradient(jnp.exp(logprobs))


def eaft(
    logprobs: Float[Array, "B T"], top_entropy: Float[Array, "B T"] | None = None
) -> Float[Array, "B T"]:
    """The normalised entropy of the 20 most likely tokens: where the model is certain, little is learned.

    Args:
      logprobs: log-probs of the tokens; not used.
      top_entropy: from 0 to 1, as `models.logprobs.top_entropy` returns it.

    Source: Diao et al. 2026 (Entropy-Adaptive Fine-Tuning, arXiv 2601.02151), equations 2 and 3. In the authors' code
    in LLaMA-Factory, too, no gradient flows through the weight.
    """
    assert top_entropy is not None, "eaft needs top_entropy"
    return jax.lax.stop_gradient(top_entropy)


TOKEN_WEIGHTS: dict[str, TokenWeight] = {"one": uniform, "dft": dft, "eaft": eaft}


def needs_top_entropy(name: str) -> bool:
    """Whether weights of this name need top-k entropies, which cost an extra pass over the logits."""
    return TOKEN_WEIGHTS[name] is eaft


def weights_of(
    name: str,
    found: Float[Array, "B T"],
    final: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    **options: Any,
) -> Float[Array, "B T"]:
    """Returns the weights of a name; computes the top-k entropies if they are needed.

    Args:
      name: key of TOKEN_WEIGHTS.
      found: log-probs of the tokens.
      final: hidden states after the final norm.
      head: output embedding.
      tokens: the tokens.
      options: `chunk`, `temperature` and `segment_ids` of `models.logprobs.top_entropy`.
    """
    if not needs_top_entropy(name):
        return TOKEN_WEIGHTS[name](found, None)
    return TOKEN_WEIGHTS[name](found, top_entropy(final, head, tokens, **options))


class Sequences(NamedTuple):
    """Says which tokens count, and to which sequence of its row each token belongs."""

    mask: Float[Array, "B T"]
    segment_ids: Int[Array, "B T"]

    def total(self, values: Float[Array, "B T"]) -> Float[Array, "B T"]:
        """Returns, at every token, the sum over the counted tokens of its own sequence."""
        length = values.shape[1] + 1
        sums = jax.vmap(lambda v, s: jax.ops.segment_sum(v, s, num_segments=length)[s])
        return sums(values * self.mask, self.segment_ids)

    def mean(self, values: Float[Array, "B T"]) -> Float[Array, "B T"]:
        """Returns, at every token, the mean over the counted tokens of its own sequence."""
        return self.total(values) / jnp.maximum(self.total(self.mask), 1.0)

    def shares(self) -> Float[Array, "B T"]:
        """Returns 1 / (number of counted tokens of its sequence) at each counted token.

        The sum of these is the number of sequences that have counted tokens.
        """
        return self.mask / jnp.maximum(self.total(self.mask), 1.0)
