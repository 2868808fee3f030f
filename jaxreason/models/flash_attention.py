"""Attention in plain XLA, a block of queries against a block of keys at a time, with its own backward pass.

As FlashAttention-2 does it (Dao, arXiv 2307.08691): an online softmax forward, scores made again from the kept
log-sum-exp backward, so that memory is linear in the length. Pairs of blocks in which
no query sees a key are skipped: nearly half of them by causality, and more where a row packs several sequences.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.attention_mask import attention_mask
from jaxreason.models.blockwise import LOWEST, add_block, cut_blocks, no_blocks
from jaxreason.sharding import axis_size, platform

BLOCK = {"cpu": 256, "gpu": 128, "tpu": 512}  # most queries, and keys, of a block
# The same where rows hold several segments, many of them shorter than a large block.
PACKED = {"cpu": 64}
MULTIPLE = {"cpu": 16, "gpu": 128, "tpu": 128}  # of which a block is that is not the whole row
NEVER = 2**30  # position of the keys that fill up the last block: nobody sees it


class _Places(NamedTuple):
    """Positions and segments of the tokens of each block, [n, B, L] each."""

    positions: Int[Array, "n B L"]
    segments: Int[Array, "n B L"]


class _Blocks(NamedTuple):
    """The operands cut into blocks; M = G·L rows of queries share a key/value head."""

    q: Float[Array, "n B K M H"]
    k: Float[Array, "n B K L H"]
    v: Float[Array, "n B K L H"]


def attend_by_blocks(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B T"],
    segments: Int[Array, "B T"] | None,
    window: int | None,
) -> Float[Array, "B T N H"]:
    """Softmax attention under the rule of `attention_mask`.

    A query that sees no key gets finite numbers.
    """
    size = block_size(q.shape[1], packed=segments is not None)
    if segments is None:
        segments = jnp.zeros(query_positions.shape, jnp.int32)
    queries = _Places(
        cut_blocks(size, query_positions), cut_blocks(size, segments, segments[:, -1:])
    )
    keys = _Places(cut_blocks(size, key_positions, NEVER), queries.segments)
    groups = cut_blocks(size, q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[-1]))
    rows = jnp.einsum("nBLKGH->nBKGLH", groups)
    rows = rows.reshape(*rows.shape[:3], -1, q.shape[-1])  # [n, B, K, M, H]
    k, v = (jnp.einsum("nBLKH->nBKLH", cut_blocks(size, x)) for x in (k, v))
    out = _attend_parts(window, _Blocks(rows, k, v), queries, keys)
    out = out.reshape(*out.shape[:3], -1, size, out.shape[-1])
    return jnp.einsum("nBKGLH->BnLKGH", out).reshape(q.shape[0], -1, *q.shape[2:])[:, : q.shape[1]]


def block_size(length: int, packed: bool) -> int:
    """Tokens of a block for rows of `length` tokens: blocks of about the same size, so that little is filled up."""
    most = BLOCK.get(platform(), BLOCK["tpu"])
    if packed:
        most = min(most, PACKED.get(platform(), most))
    if length <= most:
        return length
    part, multiple = -(-length // -(-length // most)), MULTIPLE.get(platform(), MULTIPLE["tpu"])
    return min(most, -(-part // multiple) * multiple)


def _attend_parts(window: int | None, *operands: _Blocks | _Places) -> Float[Array, "n B K M H"]:
    """Attention of all rows.

    Where one CPU has them all, two loops share them, which XLA runs at the same time on its threads.
    """
    num_rows = operands[0].q.shape[1]
    if platform() != "cpu" or axis_size("act_batch") > 1 or num_rows == 1:
        return _attend(window, *operands)
    # The turns of one loop come one after the other; two loops that do not depend on each other run side by side.
    # Cut by `split`: its gradient joins the halves, while that of slices fills each up with zeros and adds them.
    leaves, tree = jax.tree.flatten(operands)
    parts = zip(*(jnp.split(x, [num_rows // 2], axis=1) for x in leaves), strict=True)
    outs = [_attend(window, *jax.tree.unflatten(tree, part)) for part in parts]
    return jnp.concatenate(outs, axis=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(window: int | None, blocks: _Blocks, queries: _Places, keys: _Places):
    return _forward(window, blocks, queries, keys)[0]


def _forward(window, blocks, queries, keys):
    # What depends on positions alone is the same in all layers. JAX would make it once, before a loop over layers, for
    # all pairs of blocks and keep it: memory of the length's square. Behind a barrier with q it depends on q too.
    q, queries, keys = jax.lax.optimization_barrier((blocks.q, queries, keys))
    blocks = blocks._replace(q=q)
    # Decided for all pairs of blocks before the loops: inside them a block that sees nothing costs one branch.
    meets = _meetings(window, queries, keys)

    def of_query_block(index):
        q, here = blocks.q[index], _at(queries, index)

        def add(j, carry):
            k, v, there = blocks.k[j], blocks.v[j], _at(keys, j)
            scores = jnp.where(_seen(window, here, there, q), _scores(q, k), LOWEST)
            return add_block(carry, scores, v)

        found = _over_meetings(meets[index], add, no_blocks(q.shape))
        # A row that met no block at all, as padding may, has total 0: divide by 1, so that it gets 0 and not NaN.
        total = jnp.where(found.total > 0, found.total, 1.0)
        out = (found.values / total[..., None]).astype(q.dtype)
        return out, found.maximum + jnp.log(total)

    out, normalizer = jax.lax.map(of_query_block, jnp.arange(len(blocks.q)))
    # Kept for the backward pass: a log-sum-exp a row in place of the scores, which are T times as large.
    return out, (blocks, queries, keys, meets, out, normalizer)


def _backward(window, kept, d_out):
    """The gradients, with p = softmax(s): dv = pᵀ·do, ds = p·(do·vᵀ - Σ do·o), dq = ds·k, dk = dsᵀ·q (eq. 4 to 10).

    Scores are made transposed, keys by queries. So every product sums over the last dimension of its first operand:
    XLA's CPU compiler has fast batched products for those alone.
    """
    blocks, queries, keys, meets, out, normalizer = kept
    # Σ_j p_j · (do·v_j) = do · Σ_j p_j v_j = do·o: the softmax's gradient needs this mean of each row, and the output
    # that was kept gives it without another pass over the keys.
    mean = jnp.sum(out.astype(jnp.float32) * d_out.astype(jnp.float32), axis=-1)
    scale = blocks.q.shape[-1] ** -0.5
    transposed_k = jnp.swapaxes(blocks.k, -1, -2)

    def of_query_block(carry, index):
        q, here, d = blocks.q[index], _at(queries, index), d_out[index]
        row_normalizer, row_mean = (x[index][:, :, None] for x in (normalizer, mean))

        def add(j, sums):
            dq, dk, dv = sums
            seen = jnp.swapaxes(_seen(window, here, _at(keys, j), q), 2, 3)
            scores = _product("BKLH,BKMH->BKLM", blocks.k[j], q) * scale
            # exp(score - log-sum-exp) is the softmax itself: no maximum and no sum are needed a second time.
            p = jnp.where(seen, jnp.exp(scores - row_normalizer), 0.0)
            d_p = _product("BKLH,BKMH->BKLM", blocks.v[j], d)
            # Cast before the products, which then run in bfloat16 as the forward ones do, and sum in float32.
            d_s = (p * (d_p - row_mean) * scale).astype(q.dtype)
            dv = dv.at[j].add(_product("BKLM,BKMH->BKLH", p.astype(d.dtype), d))
            dk = dk.at[j].add(_product("BKLM,BKMH->BKLH", d_s, q))
            return dq + _product("BKHL,BKLM->BKHM", transposed_k[j], d_s), dk, dv

        start = jnp.zeros((*q.shape[:2], q.shape[3], q.shape[2]), jnp.float32)
        dq, dk, dv = _over_meetings(meets[index], add, (start, *carry))
        return (dk, dv), jnp.swapaxes(dq, -1, -2).astype(q.dtype)

    # The outer loop goes over queries, so dq is finished in one turn; dk and dv of all keys are carried along and grow,
    # in float32, since each gets a sum of as many terms as there are query blocks.
    zeros = jnp.zeros(blocks.k.shape, jnp.float32)
    (dk, dv), dq = jax.lax.scan(of_query_block, (zeros, zeros), jnp.arange(len(blocks.q)))
    return _Blocks(dq, dk.astype(blocks.k.dtype), dv.astype(blocks.v.dtype)), None, None


_attend.defvjp(_forward, _backward)


def _product(subscripts: str, a: Array, b: Array) -> Array:
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _scores(q: Float[Array, "B K M H"], k: Float[Array, "B K L H"]) -> Float[Array, "B K M L"]:
    return _product("BKMH,BKLH->BKML", q, k) * q.shape[-1] ** -0.5


def _at(places: _Places, index: Array) -> _Places:
    return _Places(*(x[index] for x in places))


def _seen(window: int | None, here: _Places, there: _Places, q: Array) -> Bool[Array, "B 1 M S"]:
    seen = attention_mask(
        here.positions, there.positions, here.segments, there.segments, window
    ).mask
    return jnp.tile(seen, (1, q.shape[2] // seen.shape[1], 1))[:, None]


def _meetings(window: int | None, queries: _Places, keys: _Places) -> Bool[Array, "n n"]:
    """Whether, in any row, queries of block i may see keys of block j, by the ranges of positions and segments."""
    (first, last), (low, high) = (_range(x, 1) for x in queries)
    (key_first, key_last), (key_low, key_high) = (_range(x, 0) for x in keys)
    # From ranges alone, so it may say yes where no pair sees each other: that costs time. It never says no wrongly.
    may = (last >= key_first) & (high >= key_low) & (low <= key_high)
    if window is not None:
        may &= first - key_last < window
    return may.any(-1)


def _range(x: Int[Array, "n B L"], axis: int) -> tuple[Int[Array, "..."], Int[Array, "..."]]:
    """Smallest and largest value of each block and row, [n, 1, B] (axis 1) or [1, n, B] (axis 0)."""
    return jnp.expand_dims(x.min(2), axis), jnp.expand_dims(x.max(2), axis)


def _over_meetings(meets: Bool[Array, " n"], add, start):
    def step(j, carry):
        return jax.lax.cond(meets[j], lambda carry: add(j, carry), lambda carry: carry, carry)

    return jax.lax.fori_loop(0, len(meets), step, start)
