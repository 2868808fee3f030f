"""Log-likelihood of given continuations. What prompts and continuations share is computed once (`token_trees`)."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, head, init_cache
from jaxreason.models.kv_cache import KVCache
from jaxreason.models.logprobs import scored_targets
from jaxreason.models.prefix_tree import empty_tree
from jaxreason.sampling.token_trees import (
    LONGEST_SHARED_ROW,
    Branch,
    PrefixGroup,
    TreeRow,
    best_row_length,
    make_groups,
    tree_rows,
)
from jaxreason.sharding import replicated, to_host

LOGPROB_CHUNK = 64  # Places of each row whose logits exist at the same time.

Pair = tuple[Sequence[int], Sequence[int]]


class _Programs(NamedTuple):
    """The programs of one model: the keys and values of a prefix, and the scores of rows that follow it."""

    prefix: Callable
    rows: Callable


@functools.lru_cache(maxsize=8)  # The models of a study share one.
def _make_programs(model: Model, mesh: Mesh) -> _Programs:
    rows = jax.jit(functools.partial(_score, model), out_shardings=replicated(mesh))
    return _Programs(jax.jit(functools.partial(_prefix, model)), rows)


@dataclass(frozen=True)
class Score:
    """Log-likelihood of one continuation: in nats at temperature 1, summed over its tokens.

    `greedy` says that every token is a most likely one. If there is an `error`, the other fields have no meaning.
    """

    logprob: float
    num_tokens: int
    greedy: bool
    error: str | None


class _Batch(NamedTuple):
    """The rows of one dispatch as padded arrays."""

    prefix_length: Int[np.ndarray, ""]
    tokens: Int[np.ndarray, "R T"]
    positions: Int[np.ndarray, "R T"]
    ends: Int[np.ndarray, "R T"]
    places: Int[np.ndarray, "R E"]
    targets: Int[np.ndarray, "R E"]


class _Found(NamedTuple):
    """The results so far: sums of log-probabilities, and which pairs are greedy."""

    logprob: Float[np.ndarray, " N"]
    greedy: np.ndarray


class Scorer:
    """Scores pairs of token ids with few compiled shapes: the lengths of rows and of prefixes are rounded up to
    buckets.

    Args:
      num_tokens: tokens of one dispatch (rows × their length).
      row_multiple: the number of rows of a dispatch is a multiple of this (the devices that share the rows).
    """

    def __init__(
        self, model: Model, mesh: Mesh, max_length: int, num_tokens: int, row_multiple: int
    ):
        self._max_length = max_length
        self._num_tokens = num_tokens
        self._row_multiple = row_multiple
        self._vocab_size = model.architecture.vocab_size
        self._programs = _make_programs(model, mesh)
        self._lengths = row_lengths(max_length)

    def score(self, params: Any, pairs: Sequence[Pair]) -> list[Score]:
        """Returns the score of every pair, in order."""
        refused = [self._refusal(*pair) for pair in pairs]
        branches = [_branch(i, *pair) for i, pair in enumerate(pairs) if refused[i] is None]
        found = _Found(np.zeros(len(pairs)), np.ones(len(pairs), bool))
        pending = None
        for rows, result in self._dispatches(params, branches):
            if pending is not None:  # The device works on the next rows meanwhile.
                _collect(found, *pending)
            pending = rows, result
        if pending is not None:
            _collect(found, *pending)
        return [score or _score_of(found, i, len(pairs[i][1])) for i, score in enumerate(refused)]

    def _refusal(self, prompt: Sequence[int], continuation: Sequence[int]) -> Score | None:
        tokens = np.asarray([*prompt, *continuation], np.int64)
        reason = None
        if not len(prompt):
            reason = "the prompt is empty"
        elif len(tokens) - 1 > self._max_length:  # The last token is predicted, but never read.
            reason = f"{len(tokens)} tokens do not fit max_length={self._max_length}"
        elif np.min(tokens) < 0 or np.max(tokens) >= self._vocab_size:
            reason = f"a token id is outside the vocabulary of {self._vocab_size}"
        if reason is not None:
            return Score(float("nan"), len(continuation), False, reason)
        return None if len(continuation) else Score(0.0, 0, True, None)

    def _dispatches(
        self, params: Any, branches: list[Branch]
    ) -> Iterator[tuple[list[TreeRow], tuple[Array, Array]]]:
        """Yields rows, with the results that the device computes for them."""
        for group in make_groups(branches, self._num_tokens // 2) if branches else ():
            prefix = self._forward_prefix(params, group)
            size = best_row_length(group, self._lengths)
            rows = list(tree_rows(group, size))
            edges = length_bucket(max(len(row.places) for row in rows))
            most = max(self._num_tokens // size // self._row_multiple, 1) * self._row_multiple
            for begin in range(0, len(rows), most):
                some = rows[begin : begin + most]
                parts = _power_of_two(-(-len(some) // self._row_multiple))
                shape = min(parts * self._row_multiple, most), size, edges
                batch = _pad(some, group.prefix, shape)
                yield some, self._programs.rows(params, prefix, batch)

    def _forward_prefix(self, params: Any, group: PrefixGroup) -> KVCache | None:
        if not group.prefix:
            return None
        size = min(length_bucket(group.prefix), self._max_length)
        tokens = np.zeros((1, size), np.int32)
        tokens[0, : group.prefix] = group.branches[0].tokens[: group.prefix]
        return self._programs.prefix(params, tokens)


def length_bucket(length: int) -> int:
    """Returns the smallest of 16, 24, 32, 48, 64, 96 … that is at least `length`."""
    power = max(_power_of_two(length), 16)
    smaller = power * 3 // 4
    return smaller if smaller >= max(length, 17) else power


def row_lengths(longest: int) -> list[int]:
    """Returns the possible lengths of rows, up to one that holds `longest` tokens; finer between 96 and 512."""
    buckets = {length_bucket(length) for length in range(1, longest + 1)}
    fine = (length for length in range(128, LONGEST_SHARED_ROW, 32) if length < longest)
    return sorted(buckets.union(fine))


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _branch(index: int, prompt: Sequence[int], continuation: Sequence[int]) -> Branch:
    tokens = np.asarray([*prompt, *continuation], np.int32)
    return Branch(index, tokens[:-1], len(prompt) - 1, tokens[len(prompt) :])


def _pad(rows: list[TreeRow], prefix_length: int, shape: tuple[int, int, int]) -> _Batch:
    """Returns the rows in arrays of `shape` (rows, tokens, scored places). Nothing reads what padding predicts."""
    number, length, edges = shape
    tokens, positions, ends = (np.zeros((number, length), np.int32) for _ in range(3))
    places, targets = (np.zeros((number, edges), np.int32) for _ in range(2))
    for index, row in enumerate(rows):
        for array, values in zip((tokens, positions, ends), row[:3], strict=True):
            array[index, : len(values)] = values
        for array, values in zip((places, targets), row[3:5], strict=True):
            array[index, : len(values)] = values
    return _Batch(np.asarray(prefix_length, np.int32), tokens, positions, ends, places, targets)


def _prefix(model: Model, params: Any, tokens: Int[Array, "1 T"]) -> KVCache:
    """Returns keys and values of a prefix. The padding after its tokens gets some too, but no row attends to it."""
    cache = init_cache(model, 1, tokens.shape[1])
    filled = forward(model, params, tokens, jnp.arange(tokens.shape[1])[None], cache=cache).cache
    assert isinstance(filled, KVCache)  # The same class that was passed in.
    return filled


def _score(
    model: Model, params: Any, prefix: KVCache | None, batch: _Batch
) -> tuple[Float[Array, "R E"], Int[Array, "R E"]]:
    """Returns the log-probability of each target, and its rank."""
    arch = model.architecture
    heads = arch.num_key_value_heads, arch.head_dim
    tree = empty_tree(prefix, batch.prefix_length, batch.ends, heads, model.dtype)
    final = forward(model, params, batch.tokens, batch.positions, cache=tree).final
    states = jnp.take_along_axis(final, batch.places[:, :, None], axis=1)
    return scored_targets(states, head(model, params), batch.targets, chunk=LOGPROB_CHUNK)


def _collect(found: _Found, rows: list[TreeRow], result: tuple[Array, Array]) -> None:
    values, ranks = to_host(result)
    for row, logprobs, rank in zip(rows, values, ranks, strict=False):  # Padded rows follow.
        number = len(row.owners)
        np.add.at(found.logprob, row.owners, logprobs[:number].astype(np.float64))
        np.logical_and.at(found.greedy, row.owners, rank[:number] <= 1)


def _score_of(found: _Found, index: int, num_tokens: int) -> Score:
    value = float(found.logprob[index])
    error = None if np.isfinite(value) else "non-finite logits"
    return Score(value, num_tokens, bool(found.greedy[index]), error)
