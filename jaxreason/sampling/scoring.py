"""Log-likelihood of given continuations: prompts forwarded once each, continuations side by side after them."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.decoder import Model, forward, head, init_cache
from jaxreason.models.logprobs import logprobs, token_ranks
from jaxreason.sampling.kv_cache import replicated
from jaxreason.sharding import to_host

MOST_SIBLINGS = 8  # continuations that share one forward pass of their prompt
LOGPROB_CHUNK = 64  # positions of continuations whose logits exist at a time

Pair = tuple[Sequence[int], Sequence[int]]


@functools.lru_cache(maxsize=8)  # the models of a study share one
def _make_program(model: Model, mesh: Mesh, max_length: int) -> Callable:
    return jax.jit(functools.partial(_score, model, max_length), out_shardings=replicated(mesh))


@dataclass(frozen=True)
class Score:
    """Log-likelihood of one continuation: in nats at temperature 1, summed over its tokens.

    `greedy`: every token is a most likely one. With `error`, the other fields mean nothing.
    """

    logprob: float
    num_tokens: int
    greedy: bool
    error: str | None


class _Batch(NamedTuple):
    """One dispatch; sizes are padded to the bucket's."""

    prompt: Int[np.ndarray, "P T"]
    prompt_length: Int[np.ndarray, " P"]
    continuation: Int[np.ndarray, "P C U"]
    continuation_length: Int[np.ndarray, "P C"]


class _Entry(NamedTuple):
    """A prompt and at most MOST_SIBLINGS of its continuations, by their index in the call."""

    prompt: tuple[int, ...]
    indices: tuple[int, ...]


class Scorer:
    """Scores pairs of token ids in few compiled shapes: prompt lengths and continuation lengths come in buckets.

    Args:
      num_tokens: prompt tokens of one dispatch (rows × bucket length).
      row_multiple: the rows of a dispatch are a multiple of this (devices that share the rows).
    """

    def __init__(
        self, model: Model, mesh: Mesh, max_length: int, num_tokens: int, row_multiple: int
    ):
        self._max_length = max_length
        self._num_tokens = num_tokens
        self._row_multiple = row_multiple
        self._vocab_size = model.architecture.vocab_size
        self._program = _make_program(model, mesh, max_length)

    def score(self, params: Any, pairs: Sequence[Pair]) -> list[Score]:
        """The score of every pair, in order."""
        scores: list[Score | None] = [self._refusal(*pair) for pair in pairs]
        pending = None
        for indices, batch in self._batches(pairs, [i for i, s in enumerate(scores) if s is None]):
            result = self._program(params, batch)
            if pending is not None:
                _collect(scores, pairs, *pending)
            pending = (
                indices,
                result,
            )  # the next batch is prepared while the device works on this one
        if pending is not None:
            _collect(scores, pairs, *pending)
        return scores

    def _refusal(self, prompt: Sequence[int], continuation: Sequence[int]) -> Score | None:
        total = len(prompt) + len(continuation)
        reason = None
        if not prompt:
            reason = "the prompt is empty"
        elif total > self._max_length:
            reason = f"{total} tokens do not fit max_length={self._max_length}"
        elif not all(0 <= t < self._vocab_size for t in (*prompt, *continuation)):
            reason = f"a token id is outside the vocabulary of {self._vocab_size}"
        if reason is not None:
            return Score(float("nan"), len(continuation), False, reason)
        return None if continuation else Score(0.0, 0, True, None)

    def _batches(
        self, pairs: Sequence[Pair], indices: list[int]
    ) -> Iterator[tuple[np.ndarray, _Batch]]:
        """(index in the call of each [P, C] entry or -1, the batch), bucket by bucket."""
        entries = list(_entries(pairs, indices))
        siblings = _power_of_two(max((len(entry.indices) for entry in entries), default=1))
        buckets = defaultdict(list)
        for entry in entries:
            longest = max(len(pairs[i][1]) for i in entry.indices)
            buckets[length_bucket(len(entry.prompt)), _power_of_four(longest)].append(entry)
        for (length, width), members in sorted(buckets.items()):
            length, width = min(length, self._max_length), min(width, self._max_length)
            rows = max(self._num_tokens // length // self._row_multiple, 1) * self._row_multiple
            for begin in range(0, len(members), rows):
                yield _pad(pairs, members[begin : begin + rows], (rows, siblings), length, width)


def length_bucket(length: int) -> int:
    """The smallest of 16, 24, 32, 48, 64, 96 … that is at least `length`."""
    power = max(_power_of_two(length), 16)
    smaller = power * 3 // 4
    return smaller if smaller >= max(length, 17) else power


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _power_of_four(number: int) -> int:
    return max(4, 4 ** (((number - 1).bit_length() + 1) // 2))


def _entries(pairs: Sequence[Pair], indices: list[int]) -> Iterator[_Entry]:
    groups = defaultdict(list)
    for index in indices:
        groups[tuple(pairs[index][0])].append(index)
    for prompt, members in groups.items():
        for begin in range(0, len(members), MOST_SIBLINGS):
            yield _Entry(prompt, tuple(members[begin : begin + MOST_SIBLINGS]))


def _pad(
    pairs: Sequence[Pair], entries: list[_Entry], shape: tuple[int, int], length: int, width: int
) -> tuple[np.ndarray, _Batch]:
    batch = _Batch(
        np.zeros((shape[0], length), np.int32),
        np.ones(shape[0], np.int32),
        np.zeros((*shape, width), np.int32),
        np.zeros(shape, np.int32),
    )
    where = np.full(shape, -1)
    for row, entry in enumerate(entries):
        batch.prompt[row, : len(entry.prompt)] = entry.prompt
        batch.prompt_length[row] = len(entry.prompt)
        for column, index in enumerate(entry.indices):
            continuation = pairs[index][1]
            batch.continuation[row, column, : len(continuation)] = continuation
            batch.continuation_length[row, column] = len(continuation)
            where[row, column] = index
    return where, batch


def _score(
    model: Model, max_length: int, params: Any, batch: _Batch
) -> tuple[Float[Array, "P C"], Bool[Array, "P C"]]:
    """Summed log-probabilities of the continuations, and whether each is greedy.

    The prompt is run without its last token, which leads every continuation's row instead.
    """
    rows, siblings, width = batch.continuation.shape
    size = min(batch.prompt.shape[1] + width, max_length)
    offset = jnp.arange(batch.prompt.shape[1])
    positions = jnp.where(offset < batch.prompt_length[:, None] - 1, offset, size)
    cache = init_cache(model, rows, size)
    cache = forward(model, params, batch.prompt, positions, cache=cache).cache
    cache = jax.tree.map(lambda part: jnp.repeat(part, siblings, axis=1), cache)

    last = jnp.take_along_axis(batch.prompt, batch.prompt_length[:, None] - 1, axis=1)
    led = jnp.concatenate(
        [jnp.repeat(last, siblings, axis=0), batch.continuation.reshape(-1, width)], axis=1
    )
    offset = jnp.arange(width + 1)
    inside = offset <= batch.continuation_length.reshape(-1, 1)
    start = jnp.repeat(batch.prompt_length - 1, siblings)[:, None]
    final = forward(model, params, led, jnp.where(inside, start + offset, size), cache=cache).final

    matrix = head(model, params)
    values = logprobs(final, matrix, led, chunk=LOGPROB_CHUNK).logprobs
    likeliest = token_ranks(final, matrix, led, chunk=LOGPROB_CHUNK) <= 1
    total = jnp.sum(jnp.where(inside, values, 0.0), axis=1)
    return total.reshape(rows, siblings), jnp.all(likeliest | ~inside, axis=1).reshape(
        rows, siblings
    )


def _collect(
    scores: list[Score | None],
    pairs: Sequence[Pair],
    where: np.ndarray,
    result: tuple[Array, Array],
) -> None:
    total, greedy = to_host(result)
    for row, column in zip(*np.nonzero(where >= 0), strict=True):
        index, value = where[row, column], float(total[row, column])
        error = None if np.isfinite(value) else "non-finite logits"
        scores[index] = Score(value, len(pairs[index][1]), bool(greedy[row, column]), error)
