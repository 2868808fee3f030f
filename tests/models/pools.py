"""Small pools of pages of any layout, what is asked of them, and the library's reference of its kernel for TPUs."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.models import paged_cache_tpu
from jaxreason.models.attention_mask import attention_mask

LAYERS, ROWS, HEADS, KV_HEADS, HEAD_DIM, SIZE, COLUMNS = 2, 3, 4, 2, 128, 16, 4
LENGTH = SIZE * COLUMNS


def chunks_and_tokens():
    """Positions of two chunks of prompts, one of them shorter, with an idle row each, then of two tokens."""
    first = np.arange(20) + np.array([[0], [0], [LENGTH]])
    first[1, 13:] = LENGTH
    second = np.arange(20) + np.array([[20], [LENGTH], [0]])
    last = np.array([[40], [13], [20]])
    return [first, second, last, last + 1]


def make_cache(kind, scales=None):
    """A pool with pages of every row in no order; float32, or int8 with scales."""
    number = 1 + ROWS * COLUMNS
    tables = np.random.default_rng(0).permutation(np.arange(1, number)).reshape(ROWS, -1)
    shape = kind.shape(LAYERS, number, 2 * KV_HEADS, SIZE, HEAD_DIM)
    dtype = jnp.float32 if scales is None else jnp.int8
    return kind(jnp.zeros(shape, dtype), jnp.asarray(tables, jnp.int32), scales)


def flat_runs():
    """Blocks of 8 tokens of two dispatches: (row of the pool, first position, tokens); a row has several of them."""
    first = [(0, 0, 8), (0, 8, 8), (0, 16, 5), (2, 0, 8), (2, 8, 2), (1, 0, 0)]
    return [first, [(0, 21, 8), (0, 29, 8), (0, 37, 1), (1, 0, 8), (1, 8, 8), (2, 10, 3)]]


def attend_runs(kind, runs, window, scales=None):
    """Writes and attends in layer 1, dispatch after dispatch: what each token of the runs gets, by (row, position)."""
    names, found = jax.random.split(jax.random.key(0), 3), {}
    heads = HEADS, KV_HEADS, KV_HEADS
    q, k, v = (
        jax.random.normal(key, (ROWS, LENGTH, n, HEAD_DIM))
        for key, n in zip(names, heads, strict=True)
    )
    cache = make_cache(kind, scales)
    own = cache.tables
    for blocks in runs:
        rows, begin, count = (jnp.array(part) for part in zip(*blocks, strict=True))
        offset = jnp.arange(8)
        positions = jnp.where(offset < count[:, None], begin[:, None] + offset, LENGTH)
        take = lambda x: x[rows[:, None], jnp.minimum(positions, LENGTH - 1)]  # noqa: B023, E731
        where = attention_mask(positions, jnp.zeros((len(rows), 1), jnp.int32), None, None, window)
        cache = cache._replace(tables=jnp.where(count[:, None] > 0, own[rows], 0))
        cache = cache.write(1, positions, take(k), take(v))
        out = np.asarray(cache.attend(take(q), 1, where))
        assert np.isfinite(out).all()
        for index, (row, start, number) in enumerate(blocks):
            found |= {(row, start + i): out[index, i] for i in range(number)}
    return found


def reference(*args, num_kv_pages_per_block, num_queries_per_block, **options):
    """As the kernel, which takes sizes of blocks too."""
    assert num_kv_pages_per_block >= 1 and num_queries_per_block >= 1
    return paged_cache_tpu.library.ref_ragged_paged_attention(*args, **options)


def attend_calls(kind, calls, window):
    """Writes and attends in layer 1, call after call; what queries inside the cache get."""

    def step(cache, positions, q, k, v):
        where = attention_mask(positions, jnp.zeros((ROWS, 1), jnp.int32), None, None, window)
        cache = cache.write(1, positions, k, v)
        return cache, cache.attend(q, 1, where)

    cache, found = make_cache(kind), []
    for seed, positions in enumerate(calls):
        keys, places = jax.random.split(jax.random.key(seed), 3), positions.shape
        q = jax.random.normal(keys[0], (*places, HEADS, HEAD_DIM))
        k, v = (jax.random.normal(key, (*places, KV_HEADS, HEAD_DIM)) for key in keys[1:])
        cache, out = step(cache, jnp.asarray(positions), q, k, v)
        assert np.isfinite(out).all()
        found.append(np.asarray(out)[positions < LENGTH])
    return np.concatenate(found)
