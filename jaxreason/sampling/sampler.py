"""Chooses the next token: greedy, temperature, top-k, top-p, min-p and a repetition penalty, all as values of one
program.

A draw depends only on the row's own (seed, sample, position) and on its logits. It departs from the usual Gumbel-max
draw, which needs a random number for every token of the vocabulary. Here two uniform numbers suffice: the first picks a
bucket of the vocabulary by its mass, the second a token in the bucket. Top-k and top-p find their threshold by
bisection, without sorting.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32


class SamplingTensors(NamedTuple):
    """The sampling parameters of each row. `key` is the raw key of (seed, sample); the rest is in `SamplingParams`."""

    key: UInt32[Array, "B 2"]
    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]
    min_p: Float[Array, " B"]
    penalty: Float[Array, " B"]


class SamplerOutput(NamedTuple):
    """The token of each row, its log-probability, whether its distribution was finite, and the most likely tokens."""

    token: Int[Array, " B"]
    logprob: Float[Array, " B"]
    finite: Bool[Array, " B"]
    top_tokens: Int[Array, "B K"]
    top_logprobs: Float[Array, "B K"]


def sequence_keys(seed: UInt32[Array, "B 2"], sample: Int[Array, " B"]) -> UInt32[Array, "B 2"]:
    """Returns the raw keys of sequences, from the (high, low) words of their seeds and their sample numbers."""

    def one(words: Array, index: Array) -> Array:
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        return jax.random.key_data(jax.random.fold_in(key, index))

    return jax.vmap(one)(seed, sample)


def sample_tokens(
    logits: Float[Array, "B V"],
    rule: SamplingTensors,
    position: Int[Array, " B"],
    seen: UInt32[Array, "B W"],
    forced: Int[Array, " B"] | None = None,
    num_top: int = 0,
) -> SamplerOutput:
    """Chooses the token at `position` of each row.

    Log-probabilities are log-softmax(logits / temperature) (greedy: temperature 1), before any other option applies.

    Args:
        logits: float32; -inf forbids a token. NaN or +inf makes the row not finite, and its token has no meaning.
        rule: the options of each row; rows with `temperature` 0 are greedy.
        position: index of the chosen token in its sequence; makes the draws of a sequence independent.
        seen: tokens that a row has, one bit each (see `add_token_bit`): the penalty applies to them.
        forced: a token that is taken instead of a drawn one; -1 for none.
        num_top: K, how many of the most likely tokens are returned.
    """
    # Every option is a value of one program, so that requests with different options share a batch. `lax.cond` over the
    # whole batch skips the passes over the vocabulary that no row needs.
    greedy = rule.temperature == 0
    by = jnp.where(greedy, 1.0, rule.temperature)[:, None]
    # The maximum is subtracted before the division: with a tiny temperature the other tokens then become -inf, and none
    # becomes +inf.
    scaled = (logits - jnp.max(logits, axis=-1, keepdims=True)) / by
    total = jnp.sum(jnp.exp(scaled), axis=-1)

    def penalised() -> Array:
        changed = _penalise(logits, rule.penalty, seen)
        return _pick_token((changed - changed.max(-1, keepdims=True)) / by, rule, position)

    token = jax.lax.cond(
        jnp.any(rule.penalty != 1.0),
        penalised,
        lambda: _pick_token(scaled, rule, position),
    )
    token = token if forced is None else jnp.where(forced >= 0, forced, token)
    at_token = jnp.take_along_axis(scaled, token[:, None], axis=-1)[:, 0]
    whole = jnp.log(total)
    values, tokens = jax.lax.top_k(scaled, num_top) if num_top else _no_columns(scaled)
    return SamplerOutput(
        token, at_token - whole, jnp.isfinite(total), tokens, values - whole[:, None]
    )


def add_token_bit(
    seen: UInt32[Array, "B W"], token: Int[Array, " B"], rows: Bool[Array, " B"]
) -> UInt32[Array, "B W"]:
    """Returns `seen` with the token's bit set in the rows that the mask marks: bit t % 32 of word t // 32."""
    index, word = jnp.arange(len(seen)), token // 32
    bit = jnp.where(rows, jnp.uint32(1) << (token % 32).astype(jnp.uint32), 0).astype(jnp.uint32)
    return seen.at[index, word].set(seen[index, word] | bit)


def token_bits(tokens: Sequence[int], vocab_size: int) -> UInt32[np.ndarray, " W"]:
    """Returns the bit mask of some tokens, made on the host."""
    bits = np.zeros(-(-vocab_size // 32) * 32, np.uint8)
    bits[list(tokens)] = 1
    return np.packbits(bits, bitorder="little").view("<u4").astype(np.uint32)


def _no_columns(scaled: Array) -> tuple[Array, Array]:
    return scaled[:, :0], jnp.zeros((len(scaled), 0), jnp.int32)


def _penalise(logits: Array, penalty: Array, seen: Array) -> Array:
    bits = (seen[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    has = bits.reshape(len(seen), -1)[:, : logits.shape[1]] > 0
    by = penalty[:, None]
    return jnp.where(has, jnp.where(logits > 0, logits / by, logits * by), logits)


def _pick_token(scaled: Array, rule: SamplingTensors, position: Array) -> Array:
    """Returns [B], the token of each row; the largest of `scaled` is 0."""
    return jax.lax.cond(
        jnp.all(rule.temperature == 0),
        lambda: find_largest(scaled),
        lambda: jnp.where(
            rule.temperature == 0, find_largest(scaled), _draw(scaled, rule, position)
        ),
    )


def find_largest(scaled: Float[Array, "B V"]) -> Int[Array, " B"]:
    """Returns the index of each row's largest value, the first of equal ones. The largest value must be 0."""
    whole = functools.partial(jax.lax.argmax, axis=1, index_dtype=jnp.int32)
    return jax.lax.platform_dependent(scaled, cpu=_find_largest_by_buckets, default=whole)


def _find_largest_by_buckets(scaled: Array) -> Array:
    # XLA's CPU compiler makes a maximum with vector instructions, but an argmax value by value. Over a vocabulary this
    # takes ten times as long. So the argmax is taken over the maxima of buckets, and then over one bucket. The zeros
    # that fill the last bucket come after the row's own zero, so they are never the first.
    buckets = _divide(scaled)
    bucket = jnp.argmax(jnp.max(buckets, axis=-1), axis=-1)
    inside = jnp.take_along_axis(buckets, bucket[:, None, None], axis=1)[:, 0]
    return (bucket * buckets.shape[-1] + jnp.argmax(inside, axis=-1)).astype(jnp.int32)


def _divide(values: Float[Array, "B V"]) -> Float[Array, "B N S"]:
    """Divides each row into buckets; the last one is filled up with zeros.

    N and S are about sqrt(V), so that a choice in either is short.
    """
    length = values.shape[-1]
    size = 1 << (max(length - 1, 1).bit_length() + 1) // 2
    padded = jnp.pad(values, ((0, 0), (0, -length % size)))
    return padded.reshape(len(values), -1, size)


def keep_likeliest(
    weights: Float[Array, "B V"], top_k: Int[Array, " B"], top_p: Float[Array, " B"]
) -> Float[Array, "B V"]:
    """Sets to zero the weights that top-k and then top-p (of the remaining ones) exclude.

    Args:
        weights: unnormalised probabilities in [0, 1].
        top_k: 0 is off; if it is off for all rows, no pass over the weights is made for it.
        top_p: 1.0 is off, with the same saving.
    """

    def by_count(weights: Array) -> Array:
        limit = jnp.where(top_k > 0, top_k, weights.shape[-1]).astype(jnp.float32)
        return jnp.where(
            weights >= _threshold(weights, jnp.ones_like(weights), limit)[:, None], weights, 0.0
        )

    def by_mass(weights: Array) -> Array:
        limit = jnp.where(top_p < 1.0, top_p * jnp.sum(weights, axis=-1), jnp.inf)
        return jnp.where(weights >= _threshold(weights, weights, limit)[:, None], weights, 0.0)

    weights = jax.lax.cond(jnp.any(top_k > 0), by_count, lambda w: w, weights)
    return jax.lax.cond(jnp.any(top_p < 1.0), by_mass, lambda w: w, weights)


def _threshold(weights: Array, amounts: Array, limit: Array) -> Array:
    """Returns [B], the smallest t >= 0 such that the amounts of all weights above t sum to less than `limit`.

    A weight w stays if and only if the amounts of all larger weights sum to less than the limit, that is, if w >= t.
    Non-negative floats have the same order as their bits, so 31 bisections find the exact float.
    """

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        above = weights > jax.lax.bitcast_convert_type(middle, jnp.float32)[:, None]
        enough = jnp.sum(jnp.where(above, amounts, 0.0), axis=-1) < limit
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    low = jnp.zeros(weights.shape[:1], jnp.int32)
    high = jax.lax.bitcast_convert_type(jnp.ones(weights.shape[:1], jnp.float32), jnp.int32)
    _, high = jax.lax.fori_loop(0, 31, halve, (low, high))
    return jax.lax.bitcast_convert_type(high, jnp.float32)


def _draw(scaled: Array, rule: SamplingTensors, position: Array) -> Array:
    """Returns [B], tokens drawn in proportion to the weights that top-k, top-p and min-p leave."""

    def from_some() -> Array:
        kept = keep_likeliest(jnp.exp(scaled), rule.top_k, rule.top_p)
        kept = jnp.where(kept >= rule.min_p[:, None], kept, 0.0)  # The largest weight is 1.
        return _draw_by_weight(kept, rule, position)

    # The choice is made around the draw and not around the weights: each result of a branch that is the same array as
    # its argument would be copied.
    restricted = (rule.top_k > 0) | (rule.top_p < 1.0) | (rule.min_p > 0.0)
    from_all = functools.partial(_draw_by_weight, rule=rule, position=position)
    return jax.lax.cond(jnp.any(restricted), from_some, lambda: from_all(jnp.exp(scaled)))


def _draw_by_weight(kept: Array, rule: SamplingTensors, position: Array) -> Array:
    # Two picks from about sqrt(V) weights each. Cumulative sums of so few terms lose little precision in float32.
    buckets = _divide(kept)
    uniform = jax.vmap(_uniforms)(rule.key, position)
    bucket = _pick(jnp.sum(buckets, axis=-1), uniform[:, 0])
    inside = jnp.take_along_axis(buckets, bucket[:, None, None], axis=1)[:, 0]
    return bucket * buckets.shape[-1] + _pick(inside, uniform[:, 1])


def _uniforms(key: Array, position: Array) -> Array:
    folded = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), position)
    return jax.random.uniform(folded, (2,), jnp.float32)


def _pick(weights: Array, uniform: Array) -> Array:
    """Returns [B], an index drawn by weight. It never has weight zero, even after rounding of the cumulative sum."""
    running = jnp.cumsum(weights, axis=-1)
    candidates = (running > (uniform * running[:, -1])[:, None]) & (weights > 0)
    last = jnp.max(jnp.where(weights > 0, jnp.arange(weights.shape[-1]), 0), axis=-1)
    return jnp.where(jnp.any(candidates, axis=-1), jnp.argmax(candidates, axis=-1), last).astype(
        jnp.int32
    )
