"""Log-prob and entropy over blocks of the vocabulary: values and gradients against plain ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxreason.models.vocab_logprobs import count_blocks, logprob_and_entropy
from jaxreason.sharding import MeshConfig, make_mesh

ROWS, LENGTH, WIDTH = 8, 6, 16


def draw(vocab_size, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(ROWS, LENGTH, WIDTH)).astype(np.float32) * spread
    head = rng.normal(size=(WIDTH, vocab_size)).astype(np.float32)
    targets = rng.integers(vocab_size, size=(ROWS, LENGTH)).astype(np.int32)
    scale = rng.uniform(0.5, 2, size=(ROWS, LENGTH)).astype(np.float32)
    return states, head, targets, scale


def plain(states, head, targets, scale):
    log_p = jax.nn.log_softmax((states @ head) * scale[..., None])
    picked = jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    return picked, -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def weighted(function, targets, weights):
    """A scalar of states, head and scale in which every result has a weight of its own."""

    def scalar(states, head, scale):
        found = function(states, head, targets, scale)
        return sum(jnp.sum(x * w) for x, w in zip(found, weights, strict=True))

    return scalar


def in_blocks(count):
    return lambda *arguments: logprob_and_entropy(count, *arguments)


@pytest.mark.parametrize("count", [1, 4])
def test_no_scale_is_a_scale_of_one(count):
    states, head, targets, _ = draw(37)
    weights = np.random.default_rng(1).normal(size=(2, ROWS, LENGTH)).astype(np.float32)

    def value(scale, states, head):
        found = logprob_and_entropy(count, states, head, targets, scale)
        return sum(jnp.sum(x * w) for x, w in zip(found, weights, strict=True))

    found, expected = (
        jax.value_and_grad(lambda *xs, scale=scale: value(scale, *xs), (0, 1))(states, head)
        for scale in (None, np.ones((ROWS, LENGTH), np.float32))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


@pytest.mark.parametrize(
    ("vocab_size", "count"), [(37, 1), (37, 4), (64, 8), (101, 7), (5, 5), (5003, 3), (5003, 4)]
)
def test_values_and_gradients_equal_those_of_the_whole_softmax(vocab_size, count):
    states, head, targets, scale = draw(vocab_size)
    for got, expected in zip(
        in_blocks(count)(states, head, targets, scale),
        plain(states, head, targets, scale),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    weights = np.random.default_rng(1).normal(size=(2, ROWS, LENGTH)).astype(np.float32)
    got, expected = (
        jax.grad(weighted(f, targets, weights), (0, 1, 2))(states, head, scale)
        for f in (in_blocks(count), plain)
    )
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-5, rtol=1e-5)


def test_values_are_scipys_where_scores_are_far_apart():
    states, head, targets, scale = draw(50, spread=30.0)
    logprob, entropy = in_blocks(4)(states, head, targets, scale)
    logits = states.astype(np.float64) @ head * scale[..., None]
    log_p = scipy.special.log_softmax(logits, axis=-1)
    picked = np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(logprob, picked, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(entropy, scipy.stats.entropy(np.exp(log_p), axis=-1), atol=1e-3)


def test_a_uniform_distribution_has_the_entropy_log_v_and_no_gradient_of_it():
    states, head, targets, scale = draw(48)
    states = np.zeros_like(states)
    logprob, entropy = in_blocks(5)(states, head, targets, scale)
    np.testing.assert_allclose(entropy, np.log(48), rtol=1e-6)
    np.testing.assert_allclose(logprob, -np.log(48), rtol=1e-6)
    of_entropy = jax.grad(lambda s: jnp.sum(in_blocks(5)(s, head, targets, scale)[1]))(states)
    np.testing.assert_allclose(of_entropy, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("vocab_size", "count"), [(96, 3), (5000, 2)], ids=["small blocks", "blocks of whole tiles"]
)
def test_eight_devices_give_the_numbers_of_one(vocab_size, count):
    states, head, targets, scale = draw(vocab_size)
    weights = np.random.default_rng(1).normal(size=(2, ROWS, LENGTH)).astype(np.float32)
    scalar = jax.value_and_grad(weighted(in_blocks(count), targets, weights), (0, 1, 2))
    one = jax.jit(scalar)(states, head, scale)
    with jax.set_mesh(make_mesh(MeshConfig(1, 4, 2, 1))):
        many = jax.jit(lambda *arguments: scalar(*arguments))(states, head, scale)
    for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5)


def test_memory_grows_with_a_block_of_the_vocabulary_and_not_with_all_of_it():
    def temporary(vocab_size, count):
        shapes = [(4, 256, 16), (16, vocab_size), (4, 256), (4, 256)]
        kinds = [jnp.float32, jnp.float32, jnp.int32, jnp.float32]
        states, head, targets, scale = map(jax.ShapeDtypeStruct, shapes, kinds)

        def scalar(states, head, targets, scale):
            return sum(map(jnp.sum, in_blocks(count)(states, head, targets, scale)))

        program = jax.jit(jax.grad(scalar, (0, 1))).lower(states, head, targets, scale).compile()
        return program.memory_analysis().temp_size_in_bytes

    small, large = temporary(8192, 8), temporary(32768, 32)
    heads = 4 * 16 * (32768 - 8192)  # the head's copy and its gradient do grow
    assert large - small < 4 * heads
    assert large < 4 * 4 * 256 * 32768 / 4  # a quarter of all logits


@pytest.mark.parametrize(("count", "products"), [(1, 3), (4, 4)])
def test_a_whole_vocabulary_that_is_one_block_is_not_made_again(count, products):
    states, head, targets, scale = draw(37)
    scalar = weighted(in_blocks(count), targets, np.ones((2, ROWS, LENGTH), np.float32))
    traced = jax.make_jaxpr(jax.grad(scalar, (0, 1)))(states, head, scale)
    assert str(traced).count("dot_general[") == products


def test_bfloat16_states_get_gradients_in_bfloat16_and_the_head_in_its_own_dtype():
    states, head, targets, scale = draw(37)
    scalar = weighted(in_blocks(3), targets, np.ones((2, ROWS, LENGTH), np.float32))
    of_states, of_head = jax.grad(scalar, (0, 1))(jnp.asarray(states, jnp.bfloat16), head, scale)
    exact = jax.grad(scalar, (0, 1))(
        np.asarray(jnp.asarray(states, jnp.bfloat16), np.float32), head, scale
    )
    assert (of_states.dtype, of_head.dtype) == (jnp.bfloat16, jnp.float32)
    for got, expected in zip((of_states, of_head), exact, strict=True):
        error = np.linalg.norm(np.asarray(got, np.float32) - expected) / np.linalg.norm(expected)
        assert error < 0.02


@pytest.mark.parametrize(
    ("vocab_size", "wanted", "expected"),
    [(64, 4, 4), (48, 5, 6), (151_936, 16, 16), (151_936, 22, 22), (7, 3, 3), (5, 9, 5)],
)
def test_a_number_of_blocks_that_divides_the_vocabulary_is_preferred(vocab_size, wanted, expected):
    assert count_blocks(vocab_size, wanted) == expected


@pytest.mark.parametrize(("count", "width"), [(2, 76_032), (22, 6_912), (32, 4_864), (200, 760)])
def test_large_blocks_are_whole_tiles(count, width):
    head = jax.ShapeDtypeStruct((4, 151_936), jnp.float32)
    states, targets = (jax.ShapeDtypeStruct(s, t) for s, t in (((1, 8, 4), "f4"), ((1, 8), "i4")))
    traced = jax.make_jaxpr(in_blocks(count))(states, head, targets, None)
    assert f"f32[{count},4,1,{width}]" in str(traced)


def test_a_tied_embedding_gets_its_gradient_in_bfloat16_too():
    states, head, targets, _ = draw(vocab_size=64)
    embedding = jnp.asarray(head.T)

    def loss(embedding, dtype):
        found = logprob_and_entropy(1, states.astype(dtype), embedding.T, targets, None)
        return jnp.sum(found[0])

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    exact, rounded = gradient(embedding, "float32"), gradient(embedding, "bfloat16")
    assert np.linalg.norm(rounded - exact) < 0.02 * np.linalg.norm(exact)
