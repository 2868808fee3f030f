"""The paged cache gives what the plain one gives, however its pages lie, and reads no further than it must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import counting, make_architecture, make_model, random_tokens
from tiny_models import run as run_jitted

from jaxreason.models.blockwise import add_keys, no_blocks
from jaxreason.models.decoder import forward, init_cache, init_params
from jaxreason.models.paged_cache import PagedCache
from jaxreason.sharding import MeshConfig, make_mesh

ROWS, LENGTH, PAGE = 4, 24, 5
COLUMNS = -(-LENGTH // PAGE)


def make_paged(model, parts=1, seed=0, fill=0.0):
    """A pool whose pages are dealt out at random, apart for each part of the rows."""
    arch, rng = model.architecture, np.random.default_rng(seed)
    mine = ROWS // parts * COLUMNS + 3
    heads = arch.num_key_value_heads
    shape = (arch.num_hidden_layers, parts * mine, 2 * heads, PAGE, arch.head_dim)
    pages = np.full(shape, fill, np.float32)
    pages[:, ::mine] = 0.0  # page 0 of each part
    numbers = [rng.permutation(np.arange(1, mine))[: mine - 3] for _ in range(parts)]
    return PagedCache(jnp.asarray(pages), jnp.asarray(np.concatenate(numbers)).reshape(ROWS, -1))


def run(model, params, cache, mesh=None):
    """Ragged prompts in two chunks, then a token; one row idle at the end. All logits that mean anything."""
    tokens, lengths = random_tokens((ROWS, 17)), np.array([[17], [9], [1], [12]])

    @jax.jit
    def step(params, tokens, positions, cache):
        out = forward(model, params, tokens, positions, cache=cache)
        return out.logits, out.cache

    found = []
    for begin, end in [(0, 10), (10, 17)]:
        positions = np.where(counting(tokens) < lengths, counting(tokens), -1)[:, begin:end]
        logits, cache = step(params, tokens[:, begin:end], positions, cache)
        found.append(np.asarray(logits)[positions >= 0])
    positions = np.where(np.arange(ROWS)[:, None] == 1, LENGTH * 2, lengths)
    logits, cache = step(params, tokens[:, :1], positions, cache)
    assert np.isfinite(logits).all()
    found.append(np.asarray(logits)[[0, 2, 3], 0])
    return np.concatenate(found)


@pytest.mark.parametrize("window", [None, 6])
def test_it_gives_the_logits_of_the_plain_cache(window):
    model = make_model(make_architecture(sliding_window=window))
    params = init_params(model, jax.random.key(0))
    plain = run(model, params, init_cache(model, ROWS, LENGTH))
    for seed in (0, 1):
        paged = run(model, params, make_paged(model, seed=seed))
        np.testing.assert_allclose(paged, plain, atol=2e-5)


def test_what_earlier_holders_left_in_a_page_is_not_seen():
    model = make_model(make_architecture())
    params = init_params(model, jax.random.key(0))
    clean, stale = (run(model, params, make_paged(model, fill=fill)) for fill in (0.0, 1e3))
    np.testing.assert_array_equal(stale, clean)


@pytest.mark.parametrize("sizes", [(2, 2, 2, 1), (1, 2, 4, 1)])
def test_rows_and_their_pages_can_lie_on_several_devices(sizes):
    model = make_model(make_architecture())
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[:8])
    expected = run(model, init_params(model, jax.random.key(0)), make_paged(model))
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        found = run(model, params, make_paged(model, parts=sizes[0] * sizes[1]))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_rows_may_share_pages():
    model = make_model(make_architecture())
    params = init_params(model, jax.random.key(0))
    tokens = np.tile(random_tokens((1, 12)), (ROWS, 1))
    cache = make_paged(model)
    apart = run_jitted(model, params, tokens, counting(tokens), None, cache)
    shared = apart.cache.tables.at[:, :2].set(apart.cache.tables[0, :2])
    last, position = random_tokens((ROWS, 1), seed=1), np.full((ROWS, 1), 12)
    alone, together = (
        run_jitted(model, params, last, position, None, c).logits
        for c in (apart.cache, apart.cache._replace(tables=shared))
    )
    np.testing.assert_array_equal(alone, together)


def test_tokens_without_a_page_are_dropped_and_page_zero_stays_empty():
    model = make_model(make_architecture())
    cache = make_paged(model)
    cache = cache._replace(tables=cache.tables.at[2].set(0))
    tokens = random_tokens((ROWS, LENGTH + 3))
    params = init_params(model, jax.random.key(0))
    after = run_jitted(model, params, tokens, counting(tokens), None, cache).cache.pages
    used = np.unique(cache.tables)
    assert used[0] == 0 and np.abs(after[:, 0]).max() == 0
    assert np.abs(np.delete(after, used, axis=1)).max() == 0
    assert (np.abs(after[:, used[1:]]).max(axis=(0, 2, 3, 4)) > 0).all()


def test_on_one_device_keys_and_values_of_a_page_are_copied_once():
    cache = make_paged(make_model(make_architecture()))
    layer, pages = jnp.int32(1), jnp.array([3, 7, 3], jnp.int32)
    take = jax.jit(PagedCache.take_page)
    k, v = take(cache.pages, layer, pages)
    np.testing.assert_array_equal(k, np.asarray(cache.pages)[1, [3, 7, 3]][:, 0::2])
    np.testing.assert_array_equal(v, np.asarray(cache.pages)[1, [3, 7, 3]][:, 1::2])
    text = take.lower(cache.pages, layer, pages).as_text()
    assert text.count('"stablehlo.gather"(') == 2
    assert f"tensor<3x{cache.pages.shape[2]}x" not in text  # keys with values


@pytest.mark.parametrize("queries", [1, 4])
def test_few_queries_meet_keys_as_numpy_has_it(queries):
    rng = np.random.default_rng(0)
    rows, keys = rng.normal(size=(2, 3, queries, 8)), rng.normal(size=(2, 3, 5, 8))
    values, seen = rng.normal(size=(2, 3, 5, 8)), rng.random((2, queries, 5)) < 0.7
    seen[..., 0] = True
    given = (jnp.asarray(x, jnp.float32) for x in (rows, keys, values))
    found = add_keys(no_blocks(rows.shape), *given, jnp.asarray(seen))
    scores = np.where(seen[:, None], rows @ np.swapaxes(keys, -1, -2) * 8**-0.5, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights @ values / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(found.values / found.total[..., None], expected, atol=1e-5)
