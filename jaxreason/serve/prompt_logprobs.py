"""Computes log-probabilities of a prompt's own tokens, for clients that score texts with `echo`."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, head
from jaxreason.sharding import num_parts, replicated, to_host

# Logits are computed for so many positions at a time: those of a whole prompt in float32 can be larger than the model.
CHUNK = 64
# Prompts are padded to this length or to a power of two, so that few lengths are compiled.
SHORTEST = 64


class PromptLogprobs(NamedTuple):
    """Log-probabilities of every token except the first, which has none.

    `top`: the most likely tokens at each place as (token, log-probability), the most likely first.
    """

    logprobs: tuple[float, ...]
    top: tuple[tuple[tuple[int, float], ...], ...]

    @property
    def are_numbers(self) -> bool:
        """Whether the logits were finite."""
        return not any(math.isnan(value) for value in self.logprobs)


class PromptScorer:
    """Scores one prompt at a time, at temperature 1. Call it under `jax.set_mesh(mesh)`.

    Args:
      model: the network.
      params: returns its current parameters, in any layout that `forward` accepts.
      mesh: the devices of the parameters.
      max_length: length of the longest prompt.
      num_top: how many of the most likely tokens are returned at each place.
    """

    def __init__(
        self,
        model: Model,
        params: Callable[[], Any],
        mesh: Mesh,
        max_length: int,
        num_top: int,
    ):
        self._params, self._max_length = params, max_length
        self._rows = num_parts(mesh, "act_batch")
        program = functools.partial(_score, model, max(num_top, 1))
        self._program = jax.jit(program, out_shardings=replicated(mesh))

    def score(self, tokens: tuple[int, ...]) -> PromptLogprobs:
        """Returns the scores of a prompt, which must not be longer than `max_length`."""
        length = min(max(SHORTEST, 1 << (len(tokens) - 1).bit_length()), self._max_length)
        padded = np.zeros(
            (self._rows, length), np.int32
        )  # One equal row for each device that shares the rows.
        padded[:, : len(tokens)] = tokens
        logprobs, ids, values = to_host(self._program(self._params(), padded))
        count = len(tokens) - 1
        top = [
            tuple(zip(some.tolist(), theirs.tolist(), strict=True))
            for some, theirs in zip(ids[:count], values[:count], strict=True)
        ]
        return PromptLogprobs(tuple(logprobs[:count].tolist()), tuple(top))


def _score(
    model: Model, num_top: int, params: Any, tokens: Int[Array, "B T"]
) -> tuple[Float[Array, " T"], Int[Array, "T K"], Float[Array, "T K"]]:
    """Scores the first row. Entry t belongs to the token at t + 1; the last entry means nothing."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    states = forward(model, params, tokens, positions).final[0]
    embedding, targets = head(model, params), jnp.roll(tokens[0], -1)

    def reduce(part: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        state, target = part
        weights = embedding.astype(state.dtype)
        logits = jnp.einsum("D,DV->V", state, weights, preferred_element_type=jnp.float32)
        scores = jax.nn.log_softmax(logits)
        values, ids = jax.lax.top_k(scores, num_top)
        return scores[target], ids, values

    return jax.lax.map(reduce, (states, targets), batch_size=CHUNK)
