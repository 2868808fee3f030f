"""Small pools of pages of either layout, and the library's own reference of its kernel for TPUs."""

import jax.numpy as jnp
import numpy as np

from jaxreason.models import paged_cache_tpu

LAYERS, ROWS, HEADS, KV_HEADS, HEAD_DIM, SIZE, COLUMNS = 2, 3, 4, 2, 128, 16, 4
LENGTH = SIZE * COLUMNS


def make_cache(kind, scales=None):
    """A pool with pages of every row in no order; float32, or int8 with scales."""
    number = 1 + ROWS * COLUMNS
    tables = np.random.default_rng(0).permutation(np.arange(1, number)).reshape(ROWS, -1)
    shape = kind.shape(LAYERS, number, 2 * KV_HEADS, SIZE, HEAD_DIM)
    dtype = jnp.float32 if scales is None else jnp.int8
    return kind(jnp.zeros(shape, dtype), jnp.asarray(tables, jnp.int32), scales)


def reference(*args, num_kv_pages_per_block, num_queries_per_block, **options):
    """As the kernel, which takes sizes of blocks too."""
    assert num_kv_pages_per_block >= 1 and num_queries_per_block >= 1
    return paged_cache_tpu.library.ref_ragged_paged_attention(*args, **options)
