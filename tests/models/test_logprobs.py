"""Chunked log-probabilities, entropies, divergences and ranks against numpy over full logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxreason.models.logprobs import divergences, logprobs
from jaxreason.sharding import MeshConfig, make_mesh

B, T, D, V = 3, 11, 8, 29


def _draw(seed=0):
    rng = np.random.default_rng(seed)
    final = rng.normal(size=(B, T, D)).astype(np.float32)
    head = rng.normal(size=(D, V)).astype(np.float32)
    return final, head, rng.integers(0, V, (B, T)).astype(np.int32)


def _log_softmax(final, head, temperature=1.0):
    """[B, T, V] in float64: entry t predicts token t + 1."""
    return scipy.special.log_softmax(final.astype(np.float64) @ head / temperature, axis=-1)


def _expected(final, head, tokens, temperature=1.0):
    log_p = _log_softmax(final, head, temperature)[:, :-1]
    picked = np.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
    entropy = scipy.stats.entropy(np.exp(log_p), axis=-1)
    return np.pad(picked, ((0, 0), (1, 0))), np.pad(entropy, ((0, 0), (1, 0)))


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 64])
def test_logprobs_and_entropy_equal_those_of_full_logits_for_any_chunk(chunk):
    final, head, tokens = _draw()
    got = logprobs(final, head, tokens, chunk=chunk)
    picked, entropy = _expected(final, head, tokens)
    np.testing.assert_allclose(got.logprobs, picked, atol=2e-5)
    np.testing.assert_allclose(got.entropy, entropy, atol=2e-5)


def test_temperature_divides_the_logits_and_may_differ_by_row():
    final, head, tokens = _draw()
    temperatures = np.array([0.5, 1.0, 2.0], np.float32)
    got = logprobs(final, head, tokens, chunk=4, temperature=temperatures[:, None, None])
    for row, temperature in enumerate(temperatures):
        rows = slice(row, row + 1)
        picked, entropy = _expected(final[rows], head, tokens[rows], temperature)
        np.testing.assert_allclose(got.logprobs[rows], picked, atol=2e-5)
        np.testing.assert_allclose(got.entropy[rows], entropy, atol=2e-5)
    same = logprobs(final, head, tokens, chunk=4, temperature=2.0).logprobs[2]
    np.testing.assert_allclose(got.logprobs[2], same, atol=1e-6)


def test_first_tokens_of_rows_and_segments_get_zero():
    final, head, tokens = _draw()
    segments = np.repeat([[1, 1, 1, 1, 2, 2, 2, 3, 3, 0, 0]], B, axis=0).astype(np.int32)
    plain = logprobs(final, head, tokens, chunk=4)
    packed = logprobs(final, head, tokens, chunk=4, segment_ids=segments)
    starts = [0, 4, 7, 9]
    others = np.setdiff1d(np.arange(T), starts)
    np.testing.assert_array_equal(packed.logprobs[:, starts], 0)
    np.testing.assert_array_equal(packed.entropy[:, starts], 0)
    np.testing.assert_array_equal(packed.logprobs[:, others], plain.logprobs[:, others])
    found = divergences(final, head, final, head, tokens, chunk=4, segment_ids=segments)
    np.testing.assert_array_equal(found["rank_p"][:, starts], 0)


def _scalar(final, head, temperature, tokens, weights, chunk):
    got = logprobs(final, head, tokens, chunk=chunk, temperature=temperature)
    return jnp.sum(got.logprobs * weights[0] + got.entropy * weights[1])


def _scalar_from_full_logits(final, head, temperature, tokens, weights):
    log_p = jax.nn.log_softmax(final @ head / temperature)[:, :-1]
    picked = jnp.take_along_axis(log_p, tokens[:, 1:, None], axis=-1)[..., 0]
    entropy = -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
    return jnp.sum(picked * weights[0][:, 1:] + entropy * weights[1][:, 1:])


def test_gradient_equals_plain_autodiff_of_full_logits():
    final, head, tokens = _draw()
    weights = np.random.default_rng(1).normal(size=(2, B, T)).astype(np.float32)
    of = (0, 1, 2)
    got = jax.grad(_scalar, of)(final, head, 0.7, tokens, weights, 4)
    expected = jax.grad(_scalar_from_full_logits, of)(final, head, 0.7, tokens, weights)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5)


def test_gradient_equals_finite_differences():
    final, head, tokens = _draw()
    weights = np.random.default_rng(1).normal(size=(2, B, T)).astype(np.float32)
    rng = np.random.default_rng(2)
    direction = [rng.normal(size=x.shape).astype(np.float32) for x in (final, head)]
    gradient = jax.grad(_scalar, (0, 1))(final, head, 1.0, tokens, weights, 4)
    slope = sum(np.vdot(g, d) for g, d in zip(gradient, direction, strict=True))

    def moved(step):  # in float64, by numpy
        f, h = (
            x.astype(np.float64) + step * d for x, d in zip((final, head), direction, strict=True)
        )
        return sum((a * w).sum() for a, w in zip(_expected(f, h, tokens), weights, strict=True))

    assert slope == pytest.approx((moved(1e-5) - moved(-1e-5)) / 2e-5, rel=1e-4)


def test_logits_of_a_whole_sequence_never_exist():
    length, width, vocab, chunk = 512, 16, 4096, 32
    final = jax.ShapeDtypeStruct((1, length, width), jnp.float32)
    head = jax.ShapeDtypeStruct((width, vocab), jnp.float32)
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def loss(final, head, tokens):
        return jnp.sum(logprobs(final, head, tokens, chunk=chunk).logprobs)

    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(final, head, tokens).compile()
    whole = 4 * length * vocab
    assert step.memory_analysis().temp_size_in_bytes < whole / 2


def test_bfloat16_states_give_float32_logprobs_that_are_not_rounded_to_bfloat16():
    final, head, tokens = _draw()
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in (final, head)]
    got = logprobs(*rounded, tokens, chunk=4)
    picked, _ = _expected(*(np.asarray(x, np.float32) for x in rounded), tokens)
    assert got.logprobs.dtype == got.entropy.dtype == jnp.float32
    np.testing.assert_allclose(got.logprobs, picked, atol=2e-5)
    assert np.all(got.logprobs <= 0)


def test_divergences_equal_those_of_full_distributions():
    final_p, head_p, tokens = _draw(0)
    final_q, head_q, _ = _draw(1)
    got = divergences(final_p, head_p, final_q, head_q, tokens, chunk=4)
    p, q = (np.exp(_log_softmax(f, h)[:, :-1]) for f, h in ((final_p, head_p), (final_q, head_q)))
    m = (p + q) / 2
    expected = dict(
        kl_pq=scipy.stats.entropy(p, q, axis=-1),
        kl_qp=scipy.stats.entropy(q, p, axis=-1),
        js=(scipy.stats.entropy(p, m, axis=-1) + scipy.stats.entropy(q, m, axis=-1)) / 2,
        entropy_p=scipy.stats.entropy(p, axis=-1),
        entropy_q=scipy.stats.entropy(q, axis=-1),
        same_top=p.argmax(-1) == q.argmax(-1),
    )
    for name, x in (("p", p), ("q", q)):
        at = np.take_along_axis(x, tokens[:, 1:, None], axis=-1)
        expected |= {f"logprob_{name}": np.log(at[..., 0]), f"rank_{name}": 1 + (x > at).sum(-1)}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name][:, 0], 0)
        np.testing.assert_allclose(got[name][:, 1:], value, atol=2e-5, err_msg=name)


def test_a_distribution_does_not_diverge_from_itself():
    final, head, tokens = _draw()
    got = divergences(final, head, final, head, tokens, chunk=4)
    for name in ("kl_pq", "kl_qp", "js"):
        np.testing.assert_array_equal(got[name], 0)


def test_ranks_count_the_tokens_that_were_more_likely():
    final, head, tokens = _draw()
    got = divergences(final, head, final, head, tokens, chunk=4)["rank_p"]
    order = np.argsort(-_log_softmax(final, head)[:, :-1], axis=-1)
    expected = np.argmax(order == tokens[:, 1:, None], axis=-1) + 1
    np.testing.assert_array_equal(got, np.pad(expected, ((0, 0), (1, 0))))


def test_vocabulary_and_batch_split_over_devices_change_nothing():
    final, head, tokens = _draw()
    final, tokens = np.repeat(final, 4, axis=0), np.repeat(tokens, 4, axis=0)
    head = np.concatenate([head] * 2, axis=1)
    one = jax.jit(lambda *args: logprobs(*args, chunk=4))(final, head, tokens)
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    with jax.set_mesh(mesh):
        many = jax.jit(lambda *args: logprobs(*args, chunk=4))(final, head, tokens)
    np.testing.assert_allclose(many.logprobs, one.logprobs, atol=1e-5)
    np.testing.assert_allclose(many.entropy, one.entropy, atol=1e-5)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ValueError, match="chunk=0"):
        logprobs(*_draw(), chunk=0)
