"""Log-probabilities, entropies, divergences and ranks of tokens from final hidden states, in chunks.

The logits of a whole sequence never exist: a chunk's are made in float32, reduced, and made again in the backward
pass. All results are aligned with `tokens`: entry [b, t] belongs to the distribution that predicts tokens[b, t],
which the hidden state at t - 1 gives; entry [b, 0] is 0. This is the one place where that shift happens.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from jaxreason.errors import UserError
from jaxreason.models.blockwise import cut_blocks, join_blocks
from jaxreason.models.vocab_logprobs import count_blocks, logprob_and_entropy
from jaxreason.sharding import axis_size, constrain


class TokenLogprobs(NamedTuple):
    """Log-probability and entropy of each token given those before it."""

    logprobs: Float[Array, "B T"]
    entropy: Float[Array, "B T"]


def logprobs(
    final: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    *,
    chunk: int,
    temperature: float | Float[Array, "..."] = 1.0,
    segment_ids: Int[Array, "B T"] | None = None,
) -> TokenLogprobs:
    """log softmax(logits / temperature) at each token, and the entropy of that distribution, float32, in nats.

    Args:
      final: hidden states after the final norm.
      head: output embedding.
      tokens: the tokens.
      chunk: how much memory logits may take: as many as these positions of each row have, [B, chunk, V]. What
        exists at a time is a part of the vocabulary for all positions (see `vocab_logprobs`).
      temperature: a number, or an array that broadcasts to [B, T, 1].
      segment_ids: if given, the first token of each segment gets 0, as that of each row always does.
    """
    if chunk < 1:
        raise UserError(f"chunk={chunk}: expected at least one position.")
    num_blocks = count_blocks(head.shape[1], -(-tokens.shape[1] // chunk))
    # The last position is computed too and not used: T divides into chunks better than T - 1.
    targets = jnp.roll(tokens, -1, axis=1)
    scale = _scale(temperature, tokens.shape)
    found = TokenLogprobs(*logprob_and_entropy(num_blocks, final, head, targets, scale))
    return _first_zero(jax.tree.map(lambda x: x[:, :-1], found), segment_ids)


def _scale(temperature: float | Array, shape: tuple[int, int]) -> Float[Array, "B T"] | None:
    if isinstance(temperature, (int, float)) and temperature == 1:
        return None
    scale = 1.0 / jnp.asarray(temperature, jnp.float32)
    return jnp.broadcast_to(scale, (*shape, 1))[..., 0]


def divergences(
    final_p: Float[Array, "B T D"],
    head_p: Float[Array, "D V"],
    final_q: Float[Array, "B T D"],
    head_q: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    *,
    chunk: int,
    segment_ids: Int[Array, "B T"] | None = None,
) -> dict[str, Shaped[Array, "B T"]]:
    """How two models' next-token distributions p and q differ, over the full vocabulary, in nats.

    Returns:
      float32: `kl_pq` = KL(p || q), `kl_qp`, `js` (Jensen-Shannon, at most log 2), `entropy_p`, `entropy_q`,
      `same_top`: 1 where both have the same most likely token; of each of `tokens` its log-probability and rank
      (1 + how many were more likely), `logprob_p`, `logprob_q`, `rank_p`, `rank_q`; the log-probabilities that both
      give to p's most likely token, `top_p_logprob_p`, `top_p_logprob_q`, and to q's, `top_q_logprob_p`,
      `top_q_logprob_q`. int32: the most likely tokens `top_p`, `top_q` (of equally likely ones the first), and the rank
      that each has under the other model, `top_p_rank_q`, `top_q_rank_p`. All [B, T], aligned like `logprobs`.
    """

    def reduce(states_p, states_q, targets):
        log_p, log_q = _log_softmax(states_p, head_p), _log_softmax(states_q, head_q)
        p, q = jnp.exp(log_p), jnp.exp(log_q)
        top_p, top_q = (jnp.argmax(x, axis=-1).astype(jnp.int32) for x in (log_p, log_q))
        return {
            "kl_pq": _kl(log_p, log_q),
            "kl_qp": _kl(log_q, log_p),
            "js": jensen_shannon(log_p, log_q),
            "entropy_p": -jnp.sum(p * log_p, axis=-1),
            "entropy_q": -jnp.sum(q * log_q, axis=-1),
            "same_top": (top_p == top_q).astype(jnp.float32),
            "logprob_p": _at(log_p, targets),
            "logprob_q": _at(log_q, targets),
            "rank_p": _rank(log_p, targets).astype(jnp.float32),
            "rank_q": _rank(log_q, targets).astype(jnp.float32),
            "top_p": top_p,
            "top_q": top_q,
            "top_p_logprob_p": jnp.max(log_p, axis=-1),
            "top_p_logprob_q": _at(log_q, top_p),
            "top_q_logprob_p": _at(log_p, top_q),
            "top_q_logprob_q": jnp.max(log_q, axis=-1),
            "top_p_rank_q": _rank(log_q, top_p),
            "top_q_rank_p": _rank(log_p, top_q),
        }

    parts = final_p[:, :-1], final_q[:, :-1], tokens[:, 1:]
    return _first_zero(_over_chunks(reduce, chunk, *parts), segment_ids)


def jensen_shannon(
    log_p: Float[Array, "... V"], log_q: Float[Array, "... V"]
) -> Float[Array, "..."]:
    """The Jensen-Shannon divergence of distributions given by their log-probabilities, in nats: at most log 2."""
    # `log_mean` is log((p + q) / 2), exactly log p where q = p. It is made from the difference, so that nothing cancels
    # where p and q are nearly equal, which is where drift is small.
    apart = -jnp.abs(log_p - log_q)
    log_mean = jnp.maximum(log_p, log_q) + jnp.log1p(jnp.expm1(apart) / 2)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return jnp.sum(p * (log_p - log_mean) + q * (log_q - log_mean), axis=-1) / 2


def full_kl(
    final_p: Float[Array, "B T D"],
    head_p: Float[Array, "D V"],
    final_q: Float[Array, "B T E"],
    head_q: Float[Array, "E W"],
    tokens: Int[Array, "B T"],
    *,
    chunk: int,
    temperature: float | Float[Array, "..."] = 1.0,
    segment_ids: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T"]:
    """KL(p || q) of the next-token distributions, over the whole vocabulary, float32, in nats, aligned like `logprobs`.

    Gradients flow to p's states and head; q is frozen. The two models may differ in width. If the heads have
    different numbers of tokens, as embeddings that are padded to different multiples do, both are cut to the smaller
    number: p and q are then distributions over the tokens that both have. The caller makes sure that a token means
    the same in both.

    Args:
      final_p: hidden states of p after the final norm.
      head_p: its output embedding.
      final_q: those of q.
      head_q: its output embedding.
      tokens: only their shape is read.
      chunk: positions whose logits exist at a time, in the forward and in the backward pass.
      temperature: divides the logits of both; a number, or an array that broadcasts to [B, T, 1].
      segment_ids: if given, the first token of each segment gets 0, as that of each row always does.
    """
    width = min(head_p.shape[1], head_q.shape[1])
    head_p, head_q = head_p[:, :width], jax.lax.stop_gradient(head_q[:, :width])
    scale = _scale(temperature, tokens.shape)

    def reduce(states_p, states_q, *scale):
        return _kl(_log_softmax(states_p, head_p, *scale), _log_softmax(states_q, head_q, *scale))

    parts = final_p, jax.lax.stop_gradient(final_q), *([] if scale is None else [scale])
    return _first_zero(_over_chunks(reduce, chunk, *(x[:, :-1] for x in parts)), segment_ids)


def top_entropy(
    final: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    *,
    k: int = 20,
    chunk: int,
    temperature: float | Float[Array, "..."] = 1.0,
    segment_ids: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T"]:
    """Entropy of the k likeliest tokens, their probabilities made to sum to 1, over ln k: 0 = sure, 1 = undecided.

    float32, aligned like `logprobs`; no gradient goes through it. A vocabulary of fewer tokens is taken whole.

    Args:
      final: hidden states after the final norm.
      head: output embedding.
      tokens: only their shape is read.
      k: how many, at least 2.
      chunk: positions whose logits exist at a time.
      temperature: divides the logits; a number, or an array that broadcasts to [B, T, 1].
      segment_ids: if given, the first token of each segment gets 0, as that of each row always does.

    Source: Diao et al. 2026 (EAFT, arXiv 2601.02151), equation 3, which has k = 20 and rounds ln 20 to 3.0.
    """
    if k < 2:
        raise UserError(f"k={k}: expected at least two tokens.")
    final, head = jax.lax.stop_gradient((final, head))
    count = min(k, head.shape[1])
    scale = _scale(temperature, tokens.shape)

    def reduce(states, *scale):
        highest = _highest(_logits(states, head), count)
        log_p = jax.nn.log_softmax(_scaled(highest, *scale))
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1) / math.log(count)

    parts = final, *([] if scale is None else [scale])
    return _first_zero(_over_chunks(reduce, chunk, *(x[:, :-1] for x in parts)), segment_ids)


def scored_targets(
    states: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    *,
    chunk: int,
) -> tuple[Float[Array, "B T"], Int[Array, "B T"]]:
    """log softmax at the target that each state itself predicts (no shift), and 1 + how many tokens are likelier."""

    def reduce(states, targets):
        scores = _logits(states, head)
        logprob = _at(scores, targets) - jax.nn.logsumexp(scores, axis=-1)
        return logprob, _rank(scores, targets)

    return _over_chunks(reduce, chunk, states, targets)


def _logits(states: Float[Array, "B C D"], head: Float[Array, "D V"]) -> Float[Array, "B C V"]:
    scores = jnp.einsum(
        "BCD,DV->BCV", states, head.astype(states.dtype), preferred_element_type=jnp.float32
    )
    return constrain(scores, ("act_batch", None, "act_vocab"))


def _log_softmax(
    states: Float[Array, "B C D"],
    head: Float[Array, "D V"],
    scale: Float[Array, "B C"] | None = None,
) -> Float[Array, "B C V"]:
    return jax.nn.log_softmax(_scaled(_logits(states, head), scale))


def _scaled(
    scores: Float[Array, "B C V"], scale: Float[Array, "B C"] | None = None
) -> Float[Array, "B C V"]:
    return scores if scale is None else scores * scale[..., None]


def _kl(log_p: Float[Array, "B C V"], log_q: Float[Array, "B C V"]) -> Float[Array, "B C"]:
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def _highest(scores: Float[Array, "B C V"], count: int) -> Float[Array, "B C K"]:
    """The highest score, from the highest of each device's part of the vocabulary, so that no part is gathered."""
    parts = axis_size("vocab")
    if parts > 1 and scores.shape[-1] % parts == 0:
        # The highest k of all are among the highest k of each part. So each device finds its own, and k of each travel.
        apart = scores.reshape(*scores.shape[:-1], parts, -1)
        apart = constrain(apart, ("act_batch", None, "act_vocab", None))
        scores = jax.lax.top_k(apart, min(count, apart.shape[-1]))[0]
        scores = scores.reshape(*scores.shape[:2], -1)
    return jax.lax.top_k(scores, count)[0]


def _at(scores: Float[Array, "B C V"], targets: Int[Array, "B C"]) -> Float[Array, "B C"]:
    """Each target's score, by a masked sum: a gather would collect a vocabulary that is split over devices."""
    columns = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 2)
    return jnp.sum(jnp.where(columns == targets[..., None], scores, 0.0), axis=-1)


def _rank(scores: Float[Array, "B C V"], targets: Int[Array, "B C"]) -> Int[Array, "B C"]:
    return 1 + jnp.sum(scores > _at(scores, targets)[..., None], axis=-1, dtype=jnp.int32)


def _over_chunks(reduce: Callable, chunk: int, *arrays: Array):
    """Applies `reduce` to `chunk` positions of [B, T, ...] arrays at a time and joins its results [B, C] to [B, T]."""
    if chunk < 1:
        raise UserError(f"chunk={chunk}: expected at least one position.")
    length = arrays[0].shape[1]
    chunk = min(chunk, max(length, 1))
    # Without the checkpoint the loop would keep the logits of every chunk for the backward pass, which is all of them.
    step = jax.checkpoint(lambda parts: reduce(*parts), prevent_cse=False)
    out = jax.lax.map(step, tuple(cut_blocks(chunk, x) for x in arrays))
    return jax.tree.map(lambda x: join_blocks(x, length), out)


def _first_zero(tree, segment_ids: Array | None):
    """Puts a 0 before position 1, and in place of each segment's first token."""

    def align(x):
        x = jnp.pad(x, ((0, 0), (1, 0)))
        if segment_ids is None:
            return x
        # The first token of a segment was predicted from the last state of the segment before it, which is not its own.
        continues = segment_ids == jnp.pad(segment_ids, ((0, 0), (1, 0)))[:, :-1]
        return jnp.where(continues, x, 0)

    return jax.tree.map(align, tree)
