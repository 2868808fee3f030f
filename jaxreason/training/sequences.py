"""Sums and means over the sequences of packed rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Sequences(NamedTuple):
    """Which tokens count, and to which sequence of their row they belong."""

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
