"""Chunked log-probabilities, entropies, divergences and ranks against numpy over full logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxreason.models.logprobs import divergences, full_kl, logprobs, top_entropy
from jaxreason.sharding import MeshConfig, axis_size, make_mesh

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
        expected[f"top_{name}"] = x.argmax(-1)
    for name, x in (("p", p), ("q", q)):
        for top in ("top_p", "top_q"):
            at = np.take_along_axis(x, expected[top][..., None], axis=-1)
            expected[f"{top}_logprob_{name}"] = np.log(at[..., 0])
            if top != f"top_{name}":
                expected[f"{top}_rank_{name}"] = 1 + (x > at).sum(-1)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name][:, 0], 0)
        if value.dtype.kind == "i" and name.startswith("top"):
            assert got[name].dtype == jnp.int32
            np.testing.assert_array_equal(got[name][:, 1:], value, err_msg=name)
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


def test_ranks_of_the_other_models_first_choice_are_places_in_torchs_order():
    """Another library's order of the whole vocabulary, not our count of likelier tokens."""
    torch = pytest.importorskip("torch")
    final_p, head_p, tokens = _draw(2)
    final_q, head_q, _ = _draw(3)
    got = divergences(final_p, head_p, final_q, head_q, tokens, chunk=3)
    scores = [torch.tensor(f.astype(np.float64) @ h) for f, h in ((final_p, head_p), (final_q, head_q))]  # fmt: skip
    order_p, order_q = (torch.topk(x[:, :-1], V, dim=-1).indices for x in scores)
    place = (order_p == order_q[..., :1]).int().argmax(-1) + 1
    np.testing.assert_array_equal(got["top_q"][:, 1:], order_q[..., 0])
    np.testing.assert_array_equal(got["top_q_rank_p"][:, 1:], place)
    np.testing.assert_array_equal(
        got["top_p_rank_q"][:, 1:], (order_q == order_p[..., :1]).int().argmax(-1) + 1
    )
    assert len(np.unique(place)) > 3  # not a case in which all are alike


def test_divergences_are_the_same_where_the_vocabulary_is_split_over_devices():
    final_p, head_p, tokens = _draw(0)
    final_q, head_q, _ = _draw(1)
    states = [np.repeat(x, 4, axis=0) for x in (final_p, final_q)]
    heads = [np.concatenate([x, 1.1 * x], axis=1) for x in (head_p, head_q)]  # an even vocabulary
    arguments = states[0], heads[0], states[1], heads[1], np.repeat(tokens, 4, axis=0)
    compare = jax.jit(lambda *args: divergences(*args, chunk=4))
    one = compare(*arguments)
    with jax.set_mesh(make_mesh(MeshConfig(1, 4, 2, 1))):
        many = jax.jit(lambda *args: divergences(*args, chunk=4))(*arguments)
    for name, value in one.items():
        if value.dtype == jnp.int32:
            np.testing.assert_array_equal(many[name], value, err_msg=name)
        else:
            np.testing.assert_allclose(many[name], value, atol=1e-5, err_msg=name)


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


WIDER, MORE = (
    6,
    5,
)  # q's hidden states are narrower than p's by 2, its head has that many more columns


def _two_models(seed=4):
    """p's states, head; q's states, head; the tokens. q has a width and a padded vocabulary of its own."""
    final_p, head_p, tokens = _draw(seed)
    rng = np.random.default_rng(seed + 1)
    final_q = rng.normal(size=(B, T, WIDER)).astype(np.float32)
    head_q = rng.normal(size=(WIDER, V + MORE)).astype(np.float32)
    return final_p, head_p, final_q, head_q, tokens


def _kl_by_torch(torch, final_p, head_p, final_q, head_q, weights, temperature=1.0):
    """The weighted sum of F.kl_div and its gradients for p, in float64."""
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (final_p, head_p)]
    scores_q = torch.tensor(final_q.astype(np.float64) @ head_q[:, :V] / temperature)
    log_p = torch.log_softmax(leaves[0] @ leaves[1] / temperature, -1)
    kl = torch.nn.functional.kl_div(
        torch.log_softmax(scores_q, -1), log_p, log_target=True, reduction="none"
    )
    total = (kl.sum(-1)[:, :-1] * torch.tensor(weights[:, 1:], dtype=torch.float64)).sum()
    total.backward()
    return total.item(), [x.grad.numpy() for x in leaves]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_the_full_kl_and_its_gradient_for_p_equal_those_of_torch(chunk, temperature):
    *arrays, tokens = _two_models()
    weights = np.random.default_rng(1).normal(size=(B, T)).astype(np.float32)

    def total(*arrays):
        kl = full_kl(*arrays, tokens, chunk=chunk, temperature=temperature)
        return jnp.sum(kl * weights)

    value, gradients = jax.value_and_grad(total, (0, 1, 2, 3))(*arrays)
    expected, of_p = _kl_by_torch(pytest.importorskip("torch"), *arrays, weights, temperature)
    np.testing.assert_allclose(value, expected, rtol=2e-5)
    for got, wanted in zip(gradients[:2], of_p, strict=True):
        np.testing.assert_allclose(got, wanted, atol=5e-5, rtol=1e-4)
    for frozen in gradients[2:]:
        np.testing.assert_array_equal(frozen, 0)


def test_the_full_kl_of_heads_of_two_sizes_is_over_the_tokens_that_both_have():
    final_p, head_p, final_q, head_q, tokens = _two_models()
    p, q = (np.exp(_log_softmax(f, h)) for f, h in ((final_p, head_p), (final_q, head_q[:, :V])))
    expected = np.pad(scipy.stats.entropy(p, q, axis=-1)[:, :-1], ((0, 0), (1, 0)))
    got = full_kl(final_p, head_p, final_q, head_q, tokens, chunk=4)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    swapped = full_kl(final_q, head_q, final_p, head_p, tokens, chunk=4)
    expected = np.pad(scipy.stats.entropy(q, p, axis=-1)[:, :-1], ((0, 0), (1, 0)))
    np.testing.assert_allclose(swapped, expected, atol=2e-5)


def test_the_full_kl_is_that_of_the_divergences_and_zero_at_the_start_of_segments():
    final_p, head_p, tokens = _draw(0)
    final_q, head_q, _ = _draw(1)
    segments = np.repeat([[1, 1, 1, 1, 2, 2, 2, 3, 3, 0, 0]], B, axis=0).astype(np.int32)
    models = final_p, head_p, final_q, head_q, tokens
    got = full_kl(*models, chunk=4, segment_ids=segments)
    expected = divergences(*models, chunk=4, segment_ids=segments)["kl_pq"]
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(got[:, [0, 4, 7, 9]], 0)
    assert np.all(got[:, [1, 5, 8]] > 0)


def test_the_gradient_of_a_full_kl_never_has_the_logits_of_a_whole_sequence():
    length, width, vocab, chunk = 512, 16, 4096, 32
    final = jax.ShapeDtypeStruct((1, length, width), jnp.float32)
    head = jax.ShapeDtypeStruct((width, vocab), jnp.float32)
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def loss(*args):
        return jnp.sum(full_kl(*args, chunk=chunk))

    grad = jax.jit(jax.value_and_grad(loss, (0, 1)))
    step = grad.lower(final, head, final, head, tokens).compile()
    assert step.memory_analysis().temp_size_in_bytes < 4 * length * vocab


def test_the_full_kl_is_finite_where_the_two_models_could_not_be_farther_apart():
    final_p, head_p, final_q, head_q, tokens = _two_models()
    value, slope = jax.value_and_grad(
        lambda f: jnp.sum(full_kl(f, head_p, 300 * final_q, head_q, tokens, chunk=4))
    )(300 * final_p)
    assert np.isfinite(value) and value > 1e3 and np.all(np.isfinite(slope))


def _top_entropy(final, head, k):
    p = np.sort(np.exp(_log_softmax(final, head)[:, :-1]), axis=-1)[..., -k:]
    entropy = scipy.stats.entropy(p, axis=-1)  # which makes them sum to 1
    return np.pad(entropy / np.log(p.shape[-1]), ((0, 0), (1, 0)))


@pytest.mark.parametrize("k", [2, 20, V, 50])
def test_top_entropy_is_that_of_the_likeliest_tokens_over_its_largest_value(k):
    final, head, tokens = _draw()
    got = top_entropy(final, head, tokens, k=k, chunk=4)
    np.testing.assert_allclose(got, _top_entropy(final, head, k), atol=2e-5)
    assert np.all((got >= 0) & (got <= 1 + 1e-6))
    flat = top_entropy(0 * final, head, tokens, k=k, chunk=4)
    np.testing.assert_allclose(flat[:, 1:], 1.0, rtol=1e-5)


def test_top_entropy_takes_twenty_tokens_if_not_told_and_carries_no_gradient():
    final, head, tokens = _draw()
    got, slope = jax.value_and_grad(lambda f: jnp.sum(top_entropy(f, head, tokens, chunk=4)))(final)
    assert got == pytest.approx(_top_entropy(final, head, 20).sum(), rel=1e-5)
    np.testing.assert_array_equal(slope, 0)
    with pytest.raises(ValueError, match="k=1"):
        top_entropy(final, head, tokens, k=1, chunk=4)


@pytest.mark.parametrize("columns", [24, 29])
def test_a_vocabulary_split_over_devices_changes_neither_full_kl_nor_top_entropy(columns):
    final_p, head_p, final_q, head_q, tokens = _two_models()
    final_p, final_q, tokens = (np.repeat(x, 4, axis=0) for x in (final_p, final_q, tokens))
    arrays = final_p, head_p[:, :columns], final_q, head_q

    def both(*arrays):
        kl = full_kl(*arrays, tokens, chunk=4)
        return jnp.sum(kl * jnp.cos(kl)), (kl, top_entropy(*arrays[:2], tokens, k=7, chunk=4))

    compute = jax.value_and_grad(both, (0, 1), has_aux=True)
    one = jax.jit(compute)(*arrays)
    with jax.set_mesh(make_mesh(MeshConfig(1, 4, 2, 1))):
        assert axis_size("vocab") == 2
        many = jax.jit(compute)(*arrays)
    check = functools.partial(np.testing.assert_allclose, atol=5e-5, rtol=1e-5)
    jax.tree.map(check, many, one)
