"""Log-probability and entropy over a vocabulary, computed block by block, with their gradient.

The softmax's sums run over the blocks and are rescaled whenever a larger score comes up (Milakov and Gimelshein,
arXiv 1805.02867). The backward pass makes each block's scores again, finishes that block's gradient of the head, and
goes on: neither all logits nor the whole head or its gradient ever exist on a device that owns a part of them. A block
that is the whole vocabulary is kept instead, which takes no more memory than making it again.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxreason.sharding import axis_size, constrain, platform

SCORES = ("act_batch", "act_len", "act_vocab", None)
TILE = 128  # Columns that units for products take at a time, on GPUs and TPUs.
SMALL = 8 * TILE  # Columns of a block that is not worth filling up to whole tiles.
LOWEST = np.finfo(np.float32).min
NO_TOKEN = np.iinfo(np.int32).min  # Of a column that only fills up a block; no target is it.


class _Sums(NamedTuple):
    """Sums over the blocks so far, s relative to the highest: Σ exp(s), Σ exp(s)·s; and the target's own score."""

    highest: Float[Array, "B T"]
    total: Float[Array, "B T"]
    weighted: Float[Array, "B T"]
    target: Float[Array, "B T"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def logprob_and_entropy(
    num_blocks: int,
    states: Float[Array, "B T D"],
    head: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    scale: Float[Array, "B T"] | None,
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """log p(target) and the entropy of p = softmax(scale · states @ head), float32, in nats.

    Args:
      num_blocks: of the vocabulary; scores of [B, T, V / num_blocks] exist at a time.
      states: what the head is applied to; products are made in its dtype and added up in float32.
      head: output embedding; cast block by block.
      targets: one token of each distribution.
      scale: of the logits, float32; None: 1, and no pass over them for it.
    """
    return _forward(num_blocks, states, head, targets, scale)[0]


def count_blocks(vocab_size: int, wanted: int) -> int:
    """About `wanted`: large blocks are whole tiles, and of small ones up to twice as many if that leaves no padding."""
    parts, part = _parts(vocab_size)
    wanted = max(1, min(wanted, vocab_size // parts))
    if part >= wanted * SMALL:
        return -(-part // _width(part, wanted))
    fitting = (n for n in range(wanted, 2 * wanted) if vocab_size % (n * parts) == 0)
    return next(fitting, wanted)


def _width(part: int, count: int) -> int:
    """Columns of a block of one device, which has `part` of the vocabulary in `count` blocks.

    Large blocks are whole tiles: GPUs have no fast products for others (151,936 / 32 = 4,748 columns took 2.3 times
    as long on an H200), and TPUs fill them up by themselves.
    """
    width = -(-part // count)
    return width if count == 1 or width < SMALL else -(-width // TILE) * TILE


def _forward(num_blocks, states, head, targets, scale):
    padded = _is_padded(head.shape[1], num_blocks)

    def add(sums: _Sums, block) -> tuple[_Sums, Array]:
        columns = _columns(block, head.shape[1])
        scores = _scores(states, block, columns, padded, scale)
        highest = jnp.maximum(sums.highest, jnp.max(scores, axis=(2, 3)))
        relative = scores - highest[..., None, None]
        weights = jnp.exp(relative)
        # What was summed so far, relative to the new highest score.
        shift = sums.highest - highest
        shrink = jnp.exp(shift)
        is_target = columns == targets[..., None, None]
        new = _Sums(
            highest,
            shrink * sums.total + jnp.sum(weights, axis=(2, 3)),
            shrink * (sums.weighted + shift * sums.total)
            + jnp.sum(weights * relative, axis=(2, 3)),
            sums.target + jnp.sum(jnp.where(is_target, scores, 0.0), axis=(2, 3)),
        )
        return new, scores

    zeros = jnp.zeros(targets.shape, jnp.float32)
    start = _Sums(jnp.full(targets.shape, LOWEST), zeros, zeros, zeros)
    sums, scores = _over_blocks(add, start, _blocks(head, num_blocks))
    log_total = jnp.log(sums.total)
    normalizer = sums.highest + log_total
    entropy = log_total - sums.weighted / sums.total
    found = sums.target - normalizer, entropy
    return found, (states, head, targets, scale, normalizer, entropy, scores)


def _over_blocks(add, start: _Sums, blocks: tuple[Array, Array]) -> tuple[_Sums, Array | None]:
    """The sums over all blocks, and the scores if there is but one."""
    if len(blocks[1]) == 1:
        return add(start, jax.tree.map(lambda x: x[0], blocks))
    return jax.lax.scan(lambda sums, block: (add(sums, block)[0], None), start, blocks)


def _backward(num_blocks, kept, cotangents):
    """ds = g·(1[target] - p) - h·p·(s - mean of s), for cotangents g of the log-prob and h of the entropy."""
    states, head, targets, scale, normalizer, entropy, made = kept
    padded = _is_padded(head.shape[1], num_blocks)
    of_logprob, of_entropy = (x[..., None, None] for x in cotangents)
    mean = (normalizer - entropy)[..., None, None]

    def add(sums, block):
        d_states, d_scale = sums
        columns, scores = _columns(block, head.shape[1]), made
        if scores is None:
            scores = _scores(states, block, columns, padded, scale)
        # With p from the kept normaliser no second pass over the vocabulary is needed before the gradient.
        p = jnp.exp(scores - normalizer[..., None, None])
        is_target = columns == targets[..., None, None]
        d_scores = jnp.where(is_target, of_logprob, 0.0) - p * (
            of_logprob + of_entropy * (scores - mean)
        )
        # Columns that only fill up the last block have p = 0. LOWEST times a cotangent may overflow; 0 · inf is NaN.
        if padded:
            d_scores = jnp.where(columns != NO_TOKEN, d_scores, 0.0)
        if scale is not None:
            # `scores` are scaled already; the sum is divided by the scale once, at the end.
            d_scale += jnp.sum(d_scores * scores, axis=(2, 3))
            d_scores *= scale[..., None, None]
        d_logits = constrain(d_scores.astype(states.dtype), SCORES)
        d_states += jnp.einsum(
            "BTSW,DSW->BTD", d_logits, _whole(block[0], states), preferred_element_type=jnp.float32
        )
        d_block = jnp.einsum("BTD,BTSW->DSW", states, d_logits, preferred_element_type=jnp.float32)
        return (d_states, d_scale), constrain(_apart(d_block, states), ("embed", "vocab", None))

    start = jnp.zeros(states.shape, jnp.float32), jnp.zeros(targets.shape, jnp.float32)
    (d_states, d_scale), d_blocks = jax.lax.scan(add, start, _blocks(head, num_blocks))
    d_head = _joined(d_blocks, head.shape[1])
    none = np.zeros(targets.shape, jax.dtypes.float0)
    d_scale = None if scale is None else d_scale / scale
    return d_states.astype(states.dtype), d_head.astype(head.dtype), none, d_scale


def _apart(d_block: Array, states: Array) -> Array:
    """Keeps a tied embedding's transposition out of the product.

    XLA's CPU compiler would turn that into a program that fails at run time in bfloat16.
    """
    refused = platform() == "cpu" and states.dtype == jnp.bfloat16
    return jax.lax.optimization_barrier(d_block) if refused else d_block


logprob_and_entropy.defvjp(_forward, _backward)


def _blocks(head: Float[Array, "D V"], count: int):
    """Blocks [count, D, S, W] and their numbers; S is the devices that the vocabulary is split over.

    Each block has W columns of every device, so that none moves; zeros fill up the last ones.
    """
    parts, part = _parts(head.shape[1])
    width = _width(part, count)
    head = jnp.pad(head, ((0, 0), (0, parts * part - head.shape[1])))
    head = constrain(head.reshape(head.shape[0], parts, part), ("embed", "vocab", None))
    head = jnp.pad(head, ((0, 0), (0, 0), (0, count * width - part)))
    blocks = head.reshape(head.shape[0], parts, count, width)
    blocks = constrain(blocks, ("embed", "vocab", None, None))
    return jnp.moveaxis(blocks, 2, 0), jnp.arange(count, dtype=jnp.int32)


def _parts(vocab_size: int) -> tuple[int, int]:
    """The devices that the vocabulary is split over, and the columns that each has."""
    parts = axis_size("vocab")
    return parts, -(-vocab_size // parts)


def _joined(blocks: Float[Array, "n D S W"], vocab_size: int) -> Float[Array, "D V"]:
    """The inverse of `_blocks`."""
    parts, part = _parts(vocab_size)
    head = jnp.einsum("nDSW->DSnW", blocks).reshape(blocks.shape[1], parts, -1)[..., :part]
    return head.reshape(len(head), -1)[:, :vocab_size]


def _whole(block: Float[Array, "D S W"], states: Array) -> Float[Array, "D S W"]:
    """The head gathered from the devices that each have a part of dim D, in the dtype of the products."""
    return constrain(block.astype(states.dtype), (None, "act_vocab", None))


def _columns(block, vocab_size: int) -> Int[Array, "S W"]:
    """The token of each column of a block, or `NO_TOKEN`."""
    values, index = block
    _, part = _parts(vocab_size)
    device, place = (jax.lax.broadcasted_iota(jnp.int32, values.shape[1:], d) for d in (0, 1))
    own = index * values.shape[2] + place
    token = device * part + own
    return jnp.where((own < part) & (token < vocab_size), token, NO_TOKEN)


def _scores(states, block, columns, padded: bool, scale) -> Float[Array, "B T S W"]:
    """Scores of a block; columns that are no token get the lowest number."""
    values, _ = block
    logits = jnp.einsum(
        "BTD,DSW->BTSW", states, _whole(values, states), preferred_element_type=jnp.float32
    )
    logits = constrain(logits, SCORES)
    scores = logits if scale is None else logits * scale[..., None, None]
    return jnp.where(columns != NO_TOKEN, scores, LOWEST) if padded else scores


def _is_padded(vocab_size: int, count: int) -> bool:
    """Whether some columns of the blocks are no token."""
    parts, part = _parts(vocab_size)
    return parts * count * _width(part, count) != vocab_size
