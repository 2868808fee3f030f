"""Choosing tokens, against exact distributions and thresholds worked out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreason.sampling import sampler, sampling_params

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0, 1.5, -np.inf, 0.25], np.float32)


def choose(logits, rule, position, seen=(), **options):
    """`decoding.choose` for rows that all have the tokens `seen`."""
    words = np.tile(sampler.token_bits(seen, logits.shape[1]), (len(logits), 1))
    return sampler.sample_tokens(logits, rule, position, words, **options)


def rule(rows, temperature=1.0, top_k=0, top_p=1.0, seed=0, min_p=0.0, penalty=1.0):
    """One rule for `rows` samples of one seed."""
    words = np.tile(np.array([0, seed], np.uint32), (rows, 1))
    return sampler.SamplingTensors(
        key=sampler.sequence_keys(words, jnp.arange(rows)),
        temperature=jnp.full(rows, temperature, jnp.float32),
        top_k=jnp.full(rows, top_k, jnp.int32),
        top_p=jnp.full(rows, top_p, jnp.float32),
        min_p=jnp.full(rows, min_p, jnp.float32),
        penalty=jnp.full(rows, penalty, jnp.float32),
    )


def softmax(logits):
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def kept_probabilities(logits, temperature, top_k, top_p, min_p, penalty, seen):
    """Hugging Face's order in float64: penalty, temperature, top-k, top-p of the rest, min-p of that."""
    logits = logits.astype(np.float64)
    for token in seen:
        logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    p = softmax(logits / temperature)
    if top_k:
        p = np.where(p >= np.sort(p)[-top_k], p, 0)
        p /= p.sum()
    order = np.argsort(-p)
    before = np.cumsum(p[order]) - p[order]
    keep = np.zeros(len(p), bool)
    keep[order[before < top_p]] = True
    keep &= p >= min_p * p.max()
    return np.where(keep, p, 0) / p[keep].sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p", "penalty"),
    [
        (1.0, 0, 1.0, 0.0, 1.0),
        (0.6, 0, 1.0, 0.0, 1.0),
        (1.7, 4, 1.0, 0.0, 1.0),
        (1.0, 0, 0.8, 0.0, 1.0),
        (1.0, 5, 0.7, 0.0, 1.0),
        (1.0, 1, 1.0, 0.0, 1.0),
        (1.0, 0, 1.0, 0.15, 1.0),
        (1.3, 6, 0.95, 0.3, 1.0),
        (1.0, 0, 1.0, 0.0, 1.8),
        (0.8, 6, 0.9, 0.1, 0.7),
    ],
)
def test_100k_samples_follow_the_exact_distribution(temperature, top_k, top_p, min_p, penalty):
    rows = 100_000
    logits = jnp.broadcast_to(LOGITS, (rows, len(LOGITS)))
    seen = (0, 5, 6)
    rules = rule(rows, temperature, top_k, top_p, min_p=min_p, penalty=penalty)
    chosen = jax.jit(choose, static_argnums=3)(logits, rules, jnp.full(rows, 7), seen)
    counts = np.bincount(chosen.token, minlength=len(LOGITS))
    expected = kept_probabilities(LOGITS, temperature, top_k, top_p, min_p, penalty, seen)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    if possible.sum() > 1:
        assert stats.chisquare(counts[possible], expected[possible] * rows).pvalue > 1e-3


def test_positions_of_one_sequence_are_drawn_independently():
    rows = 100_000
    logits = jnp.broadcast_to(LOGITS, (rows, len(LOGITS)))
    one_sequence = jax.tree.map(lambda x: jnp.repeat(x[:1], rows, axis=0), rule(rows, seed=3))
    tokens = np.asarray(jax.jit(choose)(logits, one_sequence, jnp.arange(rows)).token)
    pairs = np.bincount(tokens[:-1] * len(LOGITS) + tokens[1:], minlength=len(LOGITS) ** 2)
    expected = np.outer(softmax(LOGITS), softmax(LOGITS)).ravel()
    possible = expected > 0
    assert stats.chisquare(pairs[possible], expected[possible] * (rows - 1)).pvalue > 1e-3


def test_a_large_vocabulary_is_drawn_from_its_distribution_in_the_tail_too():
    rows, vocab = 10_000, 2_003
    logits = np.random.default_rng(0).normal(size=vocab).astype(np.float32) * 2
    tokens = jax.jit(choose)(
        jnp.broadcast_to(logits, (rows, vocab)), rule(rows), jnp.full(rows, 1)
    ).token
    order = np.argsort(logits)
    groups = np.array_split(order, 40)  # from the least likely tokens to the likeliest
    expected = np.array([softmax(logits)[g].sum() for g in groups]) * rows
    counts = np.array([np.isin(tokens, g).sum() for g in groups])
    large = expected > 5
    assert large.sum() > 20
    assert (
        stats.chisquare(
            counts[large], expected[large] / expected[large].sum() * counts[large].sum()
        ).pvalue
        > 1e-3
    )


def test_greedy_takes_the_largest_logit_and_its_logprob_is_at_temperature_one():
    logits = np.random.default_rng(1).normal(size=(6, 300)).astype(np.float32)
    chosen = choose(
        jnp.asarray(logits), rule(6, temperature=0.0, top_k=3, top_p=0.5), jnp.arange(6)
    )
    np.testing.assert_array_equal(chosen.token, logits.argmax(-1))
    expected = [np.log(softmax(row).max()) for row in logits]
    np.testing.assert_allclose(chosen.logprob, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 61, 256, 4097])
def test_the_largest_value_is_the_first_of_equal_ones_wherever_it_is(size):
    rng = np.random.default_rng(size)
    values = rng.integers(-3, 3, (64, size)).astype(np.float32)  # ties in every row of some length
    values[:4, : size // 2] = -np.inf
    values[np.arange(size) % 64, np.arange(size)] += np.where(rng.random(size) < 0.1, 9, 0)
    values[1::5, -1] = 20  # the last one, right before what fills its bucket
    expected = np.argmax(values, axis=-1)
    scaled = values - values.max(axis=-1, keepdims=True)
    assert (jax.jit(sampler.find_largest)(scaled) == expected).all()
    assert len(set(expected.tolist())) > 8 or size < 9


@pytest.mark.parametrize(("platform", "reductions"), [("tpu", 1), ("cuda", 1), ("cpu", 3)])
def test_only_on_a_cpu_the_largest_value_is_found_by_buckets(platform, reductions):
    traced = jax.jit(sampler.find_largest).trace(jnp.zeros((2, 61)))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.reduce") == reductions
    assert ("stablehlo.pad" in text) == (platform == "cpu")


def test_logprobs_are_after_temperature_and_before_top_k_and_top_p():
    logits = np.random.default_rng(2).normal(size=(50, 300)).astype(np.float32) * 3
    chosen = choose(
        jnp.asarray(logits), rule(50, temperature=0.7, top_k=5, top_p=0.6), jnp.arange(50)
    )
    expected = [np.log(softmax(row / 0.7)[t]) for row, t in zip(logits, chosen.token, strict=True)]
    np.testing.assert_allclose(chosen.logprob, expected, rtol=1e-5, atol=1e-5)


def test_rows_are_decoded_each_by_its_own_rule():
    logits = jnp.broadcast_to(LOGITS, (4000, len(LOGITS)))
    mixed = rule(4000)._replace(
        temperature=jnp.tile(jnp.array([0.0, 1.0, 1.0, 1.0]), 1000),
        top_k=jnp.tile(jnp.array([0, 2, 0, 0]), 1000),
        top_p=jnp.tile(jnp.array([1.0, 1.0, 0.3, 1.0]), 1000),
    )
    tokens = np.asarray(choose(logits, mixed, jnp.full(4000, 2)).token).reshape(1000, 4)
    assert set(tokens[:, 0]) == {0}
    assert set(tokens[:, 1]) == {0, 7}
    assert set(tokens[:, 2]) == {0}
    alone = np.asarray(choose(logits, rule(4000), jnp.full(4000, 2)).token).reshape(1000, 4)
    np.testing.assert_array_equal(tokens[:, 3], alone[:, 3])


def test_the_penalty_goes_to_the_tokens_that_are_marked_and_leaves_logprobs_alone():
    logits = np.random.default_rng(5).normal(size=(4, 100)).astype(np.float32)
    rules, position = rule(4, temperature=0.0, penalty=3.0), jnp.arange(4)
    words, step = jnp.zeros((4, 4), jnp.uint32), jax.jit(sampler.sample_tokens)
    for count in range(1, 60):
        chosen = step(logits, rules, position, words)
        words = sampler.add_token_bit(words, chosen.token, jnp.array([True, True, True, False]))
        for row in range(4):
            number = seen_of(words)[row].sum()
            assert number <= count and (number == 0) == (row == 3)
    penalised = np.where(seen_of(words), np.where(logits > 0, logits / 3, logits * 3), logits)
    chosen = step(logits, rules, position, words)
    np.testing.assert_array_equal(chosen.token, penalised.argmax(-1))
    expected = [np.log(softmax(row)[t]) for row, t in zip(logits, chosen.token, strict=True)]
    np.testing.assert_allclose(chosen.logprob, expected, rtol=1e-5, atol=1e-5)


def seen_of(words):
    return np.unpackbits(np.asarray(words).view(np.uint8), axis=1, bitorder="little")[:, :100] > 0


def test_the_likeliest_tokens_come_in_order_with_their_logprobs():
    logits = np.random.default_rng(6).normal(size=(5, 300)).astype(np.float32)
    chosen = choose(
        jnp.asarray(logits), rule(5, temperature=0.5, top_k=2), jnp.arange(5), num_top=4
    )
    expected = np.log([softmax(row / 0.5) for row in logits])
    np.testing.assert_array_equal(chosen.top_tokens, np.argsort(-expected, axis=-1)[:, :4])
    np.testing.assert_allclose(
        chosen.top_logprobs, -np.sort(-expected, axis=-1)[:, :4], rtol=1e-5, atol=1e-5
    )


def test_a_forced_token_is_taken_with_its_own_logprob():
    logits = np.random.default_rng(7).normal(size=(3, 50)).astype(np.float32)
    free = choose(jnp.asarray(logits), rule(3), jnp.arange(3))
    chosen = choose(jnp.asarray(logits), rule(3), jnp.arange(3), forced=jnp.array([-1, 9, -1]))
    np.testing.assert_array_equal(chosen.token, [free.token[0], 9, free.token[2]])
    np.testing.assert_allclose(chosen.logprob[1], np.log(softmax(logits[1])[9]), rtol=1e-5)


def test_a_draw_is_the_same_whatever_the_row_and_its_neighbours():
    logits = np.random.default_rng(3).normal(size=(64, 999)).astype(np.float32)
    rules = rule(64)
    step = jax.jit(choose)
    tokens, logprobs, *_ = step(logits, rules, jnp.arange(64))
    order = np.random.default_rng(4).permutation(64)
    shuffled = step(logits[order], jax.tree.map(lambda x: x[order], rules), jnp.arange(64)[order])
    np.testing.assert_array_equal(shuffled.token, np.asarray(tokens)[order])
    np.testing.assert_array_equal(shuffled.logprob, np.asarray(logprobs)[order])


def test_changing_the_options_compiles_nothing():
    step = jax.jit(lambda *args: choose(*args))  # a function of its own has a count of its own
    logits = jnp.zeros((4, 50))
    for temperature, top_k, top_p in [(0.0, 0, 1.0), (1.0, 0, 1.0), (0.3, 7, 0.5)]:
        step(logits, rule(4, temperature, top_k, top_p), jnp.arange(4))
    assert step._cache_size() == 1


def test_ties_at_the_threshold_all_stay():
    weights = jnp.array([[1.0, 0.5, 0.5, 0.25, 0.0]])
    kept = sampler.keep_likeliest(weights, jnp.array([2]), jnp.array([1.0]))
    np.testing.assert_array_equal(kept, [[1.0, 0.5, 0.5, 0.0, 0.0]])
    kept = sampler.keep_likeliest(
        weights, jnp.array([0]), jnp.array([0.5])
    )  # 1 / 2.25 < 0.5 <= 1.5 / 2.25
    np.testing.assert_array_equal(kept, [[1.0, 0.5, 0.5, 0.0, 0.0]])


def test_non_finite_rows_are_marked_and_leave_the_others_alone():
    logits = np.zeros((4, 8), np.float32)
    logits[1, 3] = np.nan
    logits[2, 3] = np.inf
    logits[3, 3] = -np.inf
    chosen = choose(jnp.asarray(logits), rule(4), jnp.arange(4))
    np.testing.assert_array_equal(chosen.finite, [True, False, False, True])
    np.testing.assert_allclose(
        chosen.logprob[np.array([0, 3])], [-np.log(8), -np.log(7)], rtol=1e-6
    )


def test_seeds_of_more_than_32_bits_give_sequences_of_their_own():
    words = np.array([[0, 5], [1, 5], [0, 6]], np.uint32)
    keys = np.asarray(sampler.sequence_keys(words, jnp.zeros(3, jnp.int32)))
    assert len({tuple(k) for k in keys}) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1.0),
        ("top_k", -1),
        ("top_p", -0.1),
        ("top_p", 1.5),
        ("max_tokens", 0),
        ("stop", ("",)),
        ("stop", "ab"),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e39),
        ("repetition_penalty", 1e-50),
        ("repetition_penalty", float("nan")),
        ("temperature", 1e39),
        ("temperature", float("inf")),
        ("think_budget", -1),
    ],
)
def test_options_out_of_range_are_refused_by_name(field, value):
    good = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 5, "stop": ()}
    with pytest.raises(ValueError, match=f"decoding.{field}"):
        sampling_params.SamplingParams(**(good | {field: value}))


@pytest.mark.parametrize("penalty", [1e-6, 1e6])
@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1.0, 1e6])
def test_the_largest_and_the_smallest_numbers_that_are_taken_leave_logits_numbers(
    penalty, temperature
):
    sampling_params.SamplingParams(temperature, max_tokens=5, repetition_penalty=penalty)
    logits = jnp.asarray([[0.0, -1e4, 1e4, 5.0, -jnp.inf]] * 4)
    seen = jnp.asarray([sampler.token_bits([0, 1, 2], 5)] * 4)
    rules = rule(4, temperature=temperature, penalty=penalty)
    chosen = sampler.sample_tokens(logits, rules, jnp.arange(4), seen)
    assert chosen.finite.all() and not np.isnan(np.asarray(chosen.logprob)).any()
    changed = {1e-6: 2, 1e6: 3}[penalty]  # A penalty of 1e6 makes 0.01 of 1e4.
    if temperature < 1e6:
        assert chosen.token.tolist() == [changed] * 4
    assert 4 not in chosen.token.tolist()


@pytest.mark.parametrize("temperature", [1e-6, 1e-20, 1e-30])
def test_a_tiny_temperature_takes_the_likeliest_token_and_is_sure_of_it(temperature):
    logits = jnp.asarray([[-300.0, 2.0, 299.0, 1.0], [5.0, -1e4, 4.9, -jnp.inf]])
    for penalty in (1.0, 1.2):
        chosen = choose(
            logits,
            rule(2, temperature=temperature, penalty=penalty),
            jnp.zeros(2, jnp.int32),
        )
        assert chosen.token.tolist() == [2, 0] and chosen.finite.all()
        assert chosen.logprob.tolist() == [0.0, 0.0]
