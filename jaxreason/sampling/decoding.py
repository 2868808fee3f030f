"""Choosing the next token: greedy, temperature, top-k, top-p, min-p and a repetition penalty, as values of one program.

A draw depends on a row's own (seed, sample, position) and its logits alone. It departs from the usual Gumbel-max
draw, which needs a random number for every token of the vocabulary: here two uniforms pick a bucket of the
vocabulary by its mass, then a token in the bucket. Top-k and top-p find their threshold by bisection, without a sort.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxreason.config import LEARNED, above, at_least, check_ranges, needed, within
from jaxreason.errors import UserError


@dataclass(frozen=True)
class Decoding:
    """How replies are chosen, and where they end.

    Raises:
        ValueError: A field is out of range; names the field.
    """

    temperature: Annotated[float, at_least(0), LEARNED]
    """Divides the logits; 0 means greedy."""
    top_k: Annotated[int, at_least(0), LEARNED] = 0
    """Only the k likeliest tokens may be drawn (ties with the k-th stay); 0 is off."""
    top_p: Annotated[float, within(0, 1), LEARNED] = 1.0
    """Only the smallest set of likeliest tokens with at least this probability may be drawn, counted after
    top-k as Hugging Face does (ties stay); 1.0 is off, 0 leaves the likeliest token alone.
    """
    max_tokens: Annotated[int, at_least(1), LEARNED] = needed()
    """Most tokens of a reply, stop token included."""
    stop: Annotated[tuple[str, ...], LEARNED] = ()
    """Strings that end a reply at the token that completes one of them."""
    min_p: Annotated[float, within(0, 1), LEARNED] = 0.0
    """Only tokens at least this times as likely as the likeliest may be drawn; 0 is off."""
    repetition_penalty: Annotated[float, above(0), LEARNED] = 1.0
    """Divides positive logits of tokens that prompt or reply have, and multiplies negative ones (CTRL, arXiv
    1909.05858); 1 is off.
    """
    think_budget: Annotated[int, at_least(0), LEARNED] = 0
    """Tokens after which a think block that is still open is closed; 0 is off."""

    def __post_init__(self) -> None:
        check_ranges(self, "decoding")
        if isinstance(self.stop, str) or any(not s for s in self.stop):
            raise UserError(
                f"decoding.stop: expected a tuple of non-empty strings, got {self.stop!r}"
            )


class Rule(NamedTuple):
    """How each row chooses. `key` is the raw key of (seed, sample); the rest is as in `Decoding`."""

    key: UInt32[Array, "B 2"]
    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]
    min_p: Float[Array, " B"]
    penalty: Float[Array, " B"]


class Choice(NamedTuple):
    """The token of each row, its log-probability, whether its distribution was finite, and the likeliest tokens."""

    token: Int[Array, " B"]
    logprob: Float[Array, " B"]
    finite: Bool[Array, " B"]
    top_tokens: Int[Array, "B K"]
    top_logprobs: Float[Array, "B K"]


def sequence_keys(seed: UInt32[Array, "B 2"], sample: Int[Array, " B"]) -> UInt32[Array, "B 2"]:
    """Raw keys of sequences from the (high, low) words of their seeds and their sample numbers."""

    def one(words: Array, index: Array) -> Array:
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        return jax.random.key_data(jax.random.fold_in(key, index))

    return jax.vmap(one)(seed, sample)


def choose(
    logits: Float[Array, "B V"],
    rule: Rule,
    position: Int[Array, " B"],
    seen: UInt32[Array, "B W"],
    forced: Int[Array, " B"] | None = None,
    num_top: int = 0,
) -> Choice:
    """Chooses the token at `position` of each row.

    Log-probs are log-softmax(logits / temperature) (greedy: temperature 1), before everything else.

    Args:
        logits: float32; -inf forbids a token, NaN or +inf makes the row not finite (its token means nothing).
        rule: Rows with `temperature` 0 are greedy.
        position: Index of the chosen token in its sequence; makes the draws of a sequence independent.
        seen: Tokens that a row has, a bit each (see `mark`): those that the penalty is for.
        forced: A token that is taken instead of a drawn one; -1 for none.
        num_top: K, how many of the likeliest tokens are told.
    """
    greedy = rule.temperature == 0
    by = jnp.where(greedy, 1.0, rule.temperature)[:, None]
    # The largest comes off before the division: a tiny temperature then makes the others -inf, and nothing +inf.
    scaled = (logits - jnp.max(logits, axis=-1, keepdims=True)) / by
    weights = jnp.exp(scaled)
    total = jnp.sum(weights, axis=-1)

    def penalised() -> Array:
        changed = _penalise(logits, rule.penalty, seen)
        changed = (changed - changed.max(-1, keepdims=True)) / by
        return _pick_token(changed, jnp.exp(changed), rule, position)

    token = jax.lax.cond(
        jnp.any(rule.penalty != 1.0),
        penalised,
        lambda: _pick_token(scaled, weights, rule, position),
    )
    token = token if forced is None else jnp.where(forced >= 0, forced, token)
    at_token = jnp.take_along_axis(scaled, token[:, None], axis=-1)[:, 0]
    whole = jnp.log(total)
    values, tokens = jax.lax.top_k(scaled, num_top) if num_top else _no_columns(scaled)
    return Choice(token, at_token - whole, jnp.isfinite(total), tokens, values - whole[:, None])


def mark(
    seen: UInt32[Array, "B W"], token: Int[Array, " B"], where: Bool[Array, " B"]
) -> UInt32[Array, "B W"]:
    """`seen` with the bit of a token more in the rows of a mask: bit t % 32 of word t // 32."""
    rows, word = jnp.arange(len(seen)), token // 32
    bit = jnp.where(where, jnp.uint32(1) << (token % 32).astype(jnp.uint32), 0).astype(jnp.uint32)
    return seen.at[rows, word].set(seen[rows, word] | bit)


def marks(tokens: Sequence[int], vocab_size: int) -> UInt32[np.ndarray, " W"]:
    """The bits of tokens, on the host."""
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


def _pick_token(scaled: Array, weights: Array, rule: Rule, position: Array) -> Array:
    """[B] the token of each row; `weights` are exp(scaled - max)."""
    return jax.lax.cond(
        jnp.all(rule.temperature == 0),
        lambda: jnp.argmax(scaled, axis=-1).astype(jnp.int32),
        lambda: jnp.where(
            rule.temperature == 0, jnp.argmax(scaled, axis=-1), _draw(weights, rule, position)
        ).astype(jnp.int32),
    )


def keep_likeliest(
    weights: Float[Array, "B V"], top_k: Int[Array, " B"], top_p: Float[Array, " B"]
) -> Float[Array, "B V"]:
    """Sets to zero the weights that top-k (first) and top-p (of what is left) rule out.

    Args:
        weights: Unnormalised probabilities in [0, 1].
        top_k: 0 is off; no pass over the weights is paid when it is off for all rows.
        top_p: 1.0 is off, likewise.
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
    """[B] the smallest t >= 0 such that the amounts of the weights above t sum to less than `limit`.

    A weight w stays iff what is likelier than it sums to less than the limit, which is w >= t. Non-negative floats
    are ordered as their bits are, so 31 halvings find the exact float.
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


def _draw(weights: Array, rule: Rule, position: Array) -> Array:
    """[B] tokens drawn with probability proportional to what top-k and top-p leave of the weights."""
    kept = keep_likeliest(weights, rule.top_k, rule.top_p)
    kept = jnp.where(kept >= rule.min_p[:, None], kept, 0.0)  # the largest weight is 1
    size = (
        1 << (max(kept.shape[-1] - 1, 1).bit_length() + 1) // 2
    )  # about sqrt(V): both picks are short
    buckets = jnp.pad(kept, ((0, 0), (0, -kept.shape[-1] % size))).reshape(kept.shape[0], -1, size)
    uniform = jax.vmap(_uniforms)(rule.key, position)
    bucket = _pick(jnp.sum(buckets, axis=-1), uniform[:, 0])
    inside = jnp.take_along_axis(buckets, bucket[:, None, None], axis=1)[:, 0]
    return bucket * size + _pick(inside, uniform[:, 1])


def _uniforms(key: Array, position: Array) -> Array:
    folded = jax.random.fold_in(jax.random.wrap_key_data(key, impl="threefry2x32"), position)
    return jax.random.uniform(folded, (2,), jnp.float32)


def _pick(weights: Array, uniform: Array) -> Array:
    """[B] index drawn by weight. Never one of weight zero, whatever rounding does to the running sum."""
    running = jnp.cumsum(weights, axis=-1)
    candidates = (running > (uniform * running[:, -1])[:, None]) & (weights > 0)
    last = jnp.max(jnp.where(weights > 0, jnp.arange(weights.shape[-1]), 0), axis=-1)
    return jnp.where(jnp.any(candidates, axis=-1), jnp.argmax(candidates, axis=-1), last).astype(
        jnp.int32
    )
