"""Policy losses against loops in plain Python and against identities between them."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_rl import LOSS

from jaxreason.errors import UserError
from jaxreason.rl.policy_losses import (
    K3_HIGHEST,
    K3_LOWEST,
    KL_ESTIMATORS,
    POLICY_LOSSES,
    PolicyLossConfig,
    Surrogate,
    k3,
    kl_to_reference,
    policy_loss,
)


def loss_of(name):
    return functools.partial(policy_loss, POLICY_LOSSES[name])


AGGREGATIONS = ("token_mean", "sequence_mean", "fixed_length")


def config(**changes) -> PolicyLossConfig:
    return dataclasses.replace(LOSS, **({"fixed_length": 9} | changes))


def batch(rows=6, length=9, seed=0):
    """Random inputs whose masks are ragged, with one row that has no token at all."""
    rng = np.random.default_rng(seed)
    starts, ends = rng.integers(1, 4, rows), rng.integers(4, length + 1, rows)
    ends[-1] = starts[-1]
    columns = np.arange(length)
    mask = (columns >= starts[:, None]) & (columns < ends[:, None])
    arrays = {
        "logprobs": -rng.exponential(1.0, (rows, length)),
        "advantages": rng.normal(size=rows),
        "mask": mask,
        "entropy": rng.exponential(1.0, (rows, length)),
    }
    arrays["old_logprobs"] = arrays["logprobs"] + rng.normal(0, 0.4, (rows, length))
    arrays["sampler_logprobs"] = arrays["old_logprobs"] + rng.normal(0, 0.2, (rows, length))
    arrays["ref_logprobs"] = arrays["logprobs"] + rng.normal(0, 0.5, (rows, length))
    return {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}


def by_hand(arrays, settings: PolicyLossConfig) -> tuple[float, float]:
    """Loss sum and weight of `clipped` by loops over tokens, with nothing from the module."""
    a = {name: np.asarray(value, np.float64) for name, value in arrays.items()}
    loss_sum, weight = 0.0, 0.0
    for row in range(len(a["mask"])):
        tokens = np.flatnonzero(a["mask"][row])
        losses = []
        for t in tokens:
            ratio = math.exp(a["logprobs"][row, t] - a["old_logprobs"][row, t])
            advantage = a["advantages"][row]
            bounded = min(max(ratio, 1 - settings.clip_low), 1 + settings.clip_high)
            objective = min(ratio * advantage, bounded * advantage)
            if settings.dual_clip and advantage < 0:
                objective = max(objective, settings.dual_clip * advantage)
            if settings.importance_cap:
                correction = math.exp(a["old_logprobs"][row, t] - a["sampler_logprobs"][row, t])
                objective *= min(correction, settings.importance_cap)
            log_ref = a["ref_logprobs"][row, t] - a["logprobs"][row, t]
            loss = -objective + settings.kl_coefficient * (math.exp(log_ref) - log_ref - 1)
            losses.append(loss - settings.entropy_coefficient * a["entropy"][row, t])
        if settings.aggregation == "token_mean":
            loss_sum, weight = loss_sum + sum(losses), weight + len(losses)
        elif losses:
            divisor = (
                len(losses) if settings.aggregation == "sequence_mean" else settings.fixed_length
            )
            loss_sum, weight = loss_sum + sum(losses) / divisor, weight + 1
    return loss_sum, weight


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dual_clip": 1.1},
        {"dual_clip": 0.0, "clip_low": 0.05, "clip_high": 0.05},
        {"kl_coefficient": 0.3, "entropy_coefficient": 0.05},
        {"importance_cap": 1.05},
        {"importance_cap": 0.9},
    ],
)
def test_the_clipped_loss_equals_a_loop_in_plain_python(aggregation, changes):
    settings = config(aggregation=aggregation, **changes)
    arrays = batch()
    loss_sum, weight, _ = loss_of("clipped")(**arrays, config=settings)
    np.testing.assert_allclose([loss_sum, weight], by_hand(arrays, settings), rtol=2e-5)


def test_one_token_with_ratio_two_gives_the_numbers_of_the_dapo_paper():
    def loss(advantage, ratio, **changes):
        one = jnp.ones((1, 1))
        new = jnp.log(ratio) * one
        return float(loss_of("clipped")(new, 0 * one, advantage * one, one, config(**changes))[0])

    assert loss(1.0, 2.0) == pytest.approx(-1.28)  # clip-higher
    assert loss(1.0, 0.5) == pytest.approx(-0.5)  # pessimistic: the smaller of 0.5 and 0.8
    assert loss(-1.0, 0.5) == pytest.approx(0.8)  # clip-low
    assert loss(-1.0, 20.0) == pytest.approx(10.0)  # dual clip at 10
    assert loss(-1.0, 20.0, dual_clip=0.0) == pytest.approx(20.0)


# (loss, its gradient) of one token with log-prob log 2 and ratio 2, for the advantages 1 and -1. The clip is at 1.28.
AT_RATIO_TWO = {
    "clipped": [(-1.28, 0.0), (2.0, 2.0)],
    "reinforce": [(-math.log(2), -1.0), (math.log(2), 1.0)],
    "gspo": [(-1.28, 0.0), (2.0, 2.0)],
    "cispo": [(-1.28 * math.log(2), -1.28), (1.28 * math.log(2), 1.28)],
}


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_every_loss_of_one_token_and_its_gradient_are_the_hand_numbers(name):
    assert set(AT_RATIO_TWO) == set(POLICY_LOSSES)
    one = jnp.ones((1, 1))
    for advantage, expected in zip((1.0, -1.0), AT_RATIO_TWO[name], strict=True):
        arrays = {"old_logprobs": 0 * one, "advantages": advantage * one, "mask": one}
        loss = lambda x: loss_of(name)(x * one, **arrays, config=config())[0]  # noqa: B023, E731
        found = jax.value_and_grad(loss)(jnp.log(2.0))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def gradient(name, arrays, settings, **extra):
    def loss(logprobs):
        total, weight, _ = loss_of(name)(
            **(arrays | {"logprobs": logprobs}), config=settings, **extra
        )
        return total / weight

    return np.asarray(jax.grad(loss)(arrays["logprobs"]))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("name", ["clipped", "cispo"])
def test_at_ratio_one_the_gradient_is_that_of_reinforce(name, aggregation):
    arrays = batch()
    arrays["old_logprobs"] = arrays["logprobs"]
    settings = config(aggregation=aggregation)
    reinforce = gradient("reinforce", arrays, settings)
    assert np.abs(reinforce).max() > 0.01
    np.testing.assert_allclose(gradient(name, arrays, settings), reinforce, atol=1e-7)


def test_gspo_at_ratio_one_has_the_gradient_of_reinforce_too():
    arrays = batch()
    arrays["old_logprobs"] = arrays["logprobs"]
    settings = config(aggregation="sequence_mean")
    np.testing.assert_allclose(
        gradient("gspo", arrays, settings), gradient("reinforce", arrays, settings), atol=1e-7
    )


def test_reinforce_at_token_mean_has_the_gradient_minus_advantage_over_tokens():
    arrays = batch()
    expected = (
        -np.asarray(arrays["advantages"])[:, None]
        * np.asarray(arrays["mask"])
        / arrays["mask"].sum()
    )
    np.testing.assert_allclose(gradient("reinforce", arrays, config()), expected, atol=1e-7)


def test_gspo_clips_by_the_geometric_mean_ratio_of_the_sequence():
    logprobs = jnp.log(
        jnp.array([[1.0, 4.0, 1.0, 9.0]])
    )  # position 0 and 2 are not counted: (4 * 9)^(1/2) = 6
    mask = jnp.array([[0.0, 1.0, 0.0, 1.0]])
    settings = config(aggregation="sequence_mean", clip_low=0.2, clip_high=10.0, dual_clip=0.0)
    loss_sum, weight, _ = loss_of("gspo")(logprobs, 0 * logprobs, jnp.ones(1), mask, settings)
    assert float(loss_sum / weight) == pytest.approx(-6.0, rel=1e-5)
    clip = dataclasses.replace(settings, clip_high=0.5)
    assert float(
        loss_of("gspo")(logprobs, 0 * logprobs, jnp.ones(1), mask, clip)[0]
    ) == pytest.approx(-1.5)


def test_cispo_keeps_the_gradient_of_a_clipped_token():
    one = jnp.ones((1, 1))
    arrays = {"logprobs": one, "old_logprobs": 0 * one, "advantages": jnp.ones(1), "mask": one}
    assert gradient("cispo", arrays, config())[0, 0] == pytest.approx(-1.28)
    assert gradient("clipped", arrays, config())[0, 0] == 0.0


@pytest.mark.parametrize("name", POLICY_LOSSES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("size", [1, 3])
def test_loss_and_gradient_do_not_depend_on_the_micro_batch(name, aggregation, size):
    arrays = batch()
    settings = config(
        aggregation=aggregation, kl_coefficient=0.1, entropy_coefficient=0.01, importance_cap=2.0
    )

    def split(logprobs):
        whole = arrays | {"logprobs": logprobs}
        parts = [{k: v[i : i + size] for k, v in whole.items()} for i in range(0, 6, size)]
        results = [loss_of(name)(**part, config=settings)[:2] for part in parts]
        return sum(r[0] for r in results) / sum(r[1] for r in results)

    def whole(logprobs):
        total, weight, _ = loss_of(name)(**(arrays | {"logprobs": logprobs}), config=settings)
        return total / weight

    value, grad = jax.value_and_grad(split)(arrays["logprobs"])
    expected, expected_grad = jax.value_and_grad(whole)(arrays["logprobs"])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(grad, expected_grad, atol=1e-6)


@pytest.mark.parametrize("name", POLICY_LOSSES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_sequences_packed_into_one_row_give_the_loss_of_separate_rows(name, aggregation):
    arrays = batch()
    settings = config(aggregation=aggregation, kl_coefficient=0.1, importance_cap=2.0)
    rows, length = arrays["mask"].shape
    packed = {k: v.reshape(2, -1) for k, v in arrays.items() if v.ndim == 2}
    packed["advantages"] = jnp.repeat(arrays["advantages"], length).reshape(2, -1)
    segments = jnp.repeat(jnp.tile(jnp.arange(1, rows // 2 + 1), 2), length).reshape(2, -1)
    expected = loss_of(name)(**arrays, config=settings)
    actual = loss_of(name)(**packed, config=settings, segment_ids=segments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), actual, expected)


def test_padding_with_absurd_values_changes_neither_the_loss_nor_the_gradient():
    arrays = batch()
    padding = arrays["mask"] == 0
    wild = {
        k: jnp.where(padding, 1e4 * (-1) ** i, arrays[k])
        for i, k in enumerate(arrays)
        if arrays[k].ndim == 2
    }
    wild = arrays | wild | {"mask": arrays["mask"]}
    settings = config(kl_coefficient=0.1, importance_cap=2.0)
    np.testing.assert_array_equal(
        gradient("clipped", wild, settings), gradient("clipped", arrays, settings)
    )


def test_measurements_are_sums_over_tokens_and_carry_no_gradient():
    arrays = batch()
    settings = config(dual_clip=0.0)
    terms = loss_of("clipped")(**arrays, config=settings)[2]
    mask = np.asarray(arrays["mask"])
    ratio = np.exp(np.asarray(arrays["logprobs"] - arrays["old_logprobs"], np.float64))
    positive = np.asarray(arrays["advantages"])[:, None] > 0
    was_clipped = np.where(positive, ratio > 1.28, ratio < 0.8)
    expected = {
        "tokens": mask.sum(),
        "clip_fraction": (was_clipped * mask).sum(),
        "ratio": (ratio * mask).sum(),
        "kl_old": ((ratio - 1 - np.log(ratio)) * mask).sum(),
        "entropy": (np.asarray(arrays["entropy"]) * mask).sum(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-4, err_msg=name)
    # CISPO bounds the weight whatever the advantage is.
    bounded = loss_of("cispo")(**arrays, config=settings)[2]["clip_fraction"]
    np.testing.assert_allclose(bounded, (((ratio > 1.28) | (ratio < 0.8)) * mask).sum())


def test_k3_averages_to_the_kl_divergence_of_two_distributions():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    expected = float((p * np.log(p / q)).sum())
    assert float((p * np.asarray(k3(jnp.log(q / p)))).sum()) == pytest.approx(expected, rel=1e-5)


FAR = [
    -1e4,
    -150.0,
    -40.0,
    -21.0,
    -20.0,
    -12.0,
    -11.0,
    -3.0,
    -1e-3,
    0.0,
    1e-3,
    2.0,
    2.7,
    3.0,
    20.0,
    150.0,
    1e4,
]


def estimate_in_numpy(name, log_ratio):
    """Value and derivative of an estimator of KL(p || q) with log_ratio = log q - log p, as published, in float64."""
    x = np.asarray(log_ratio, np.float64)
    if name == "k1":
        return -x, -np.ones_like(x)
    return (x**2 / 2, x) if name == "k2" else (np.expm1(x) - x, np.expm1(x))


@pytest.mark.parametrize("name", KL_ESTIMATORS)
def test_an_estimator_of_the_kl_and_its_gradient_are_the_published_ones_where_verl_does_not_clamp(
    name,
):
    x = np.linspace(-10.9, 2.6, 60)
    value, slope = jax.vmap(jax.value_and_grad(KL_ESTIMATORS[name]))(jnp.asarray(x, jnp.float32))
    expected, expected_slope = estimate_in_numpy(name, x)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "most"), [("k1", 20.0), ("k2", 200.0), ("k3", 10.0)])
def test_beyond_its_bound_an_estimator_stays_and_its_gradient_is_that_at_the_bound(name, most):
    """The value was 4.9e8 at a log-ratio of 20; a plain clip would have no gradient where the drift is worst."""
    x = jnp.asarray(FAR, jnp.float32)
    value, slope = map(np.asarray, jax.vmap(jax.value_and_grad(KL_ESTIMATORS[name]))(x))
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(slope))
    assert np.abs(value).max() == pytest.approx(most, rel=1e-5)
    assert np.all(np.diff(slope) >= 0.0), "convex as published: the farther, the harder"
    if name == "k1":
        assert np.all(np.diff(value) <= 0.0) and np.all(slope == -1.0)
        return
    assert np.all(np.sign(slope) == np.sign(x)), "and always towards the reference"
    left = np.asarray(FAR) <= 0.0
    assert np.all(np.diff(value[left]) <= 0.0) and np.all(np.diff(value[~left]) >= 0.0)
    ends = {"k2": (-20.0, 20.0), "k3": (np.expm1(K3_LOWEST), np.expm1(K3_HIGHEST))}[name]
    np.testing.assert_allclose([slope[0], slope[-1]], ends, rtol=1e-5)


def test_the_bounds_of_k3_are_where_it_is_ten():
    for bound in (K3_LOWEST, K3_HIGHEST):
        assert np.expm1(bound) - bound == pytest.approx(10.0, abs=1e-12)


@pytest.mark.parametrize("logprob", [-150.0, -40.0, -21.0, -20.0, -19.0, -3.0, -1e-3, 0.0])
@pytest.mark.parametrize("reference", [0.0, -3.0, -60.0])
@pytest.mark.parametrize("name", ["k2", "k3"])
def test_however_far_the_policy_is_from_the_reference_the_kl_term_pulls_it_back(
    logprob, reference, name
):
    one = jnp.ones((1, 1))
    arrays = {"logprobs": logprob * one, "old_logprobs": logprob * one}
    arrays |= {"advantages": 0 * one, "mask": one, "ref_logprobs": reference * one}
    settings = config(kl_coefficient=0.5, kl_estimator=name)
    value = loss_of("clipped")(**arrays, config=settings)[0]
    np.testing.assert_allclose(
        value, 0.5 * KL_ESTIMATORS[name](jnp.float32(reference - logprob)), rtol=1e-5
    )
    pull = gradient("clipped", arrays, settings)[0, 0]
    assert 0.0 <= abs(pull) <= 10.0 and np.sign(pull) == np.sign(logprob - reference)


@pytest.mark.parametrize("name", ["clipped", "gspo"])
def test_a_ratio_beyond_all_clips_still_pushes_a_bad_reply_down(name):
    one = jnp.ones((1, 1))
    arrays = {"logprobs": -1 * one, "old_logprobs": -90 * one, "advantages": -one, "mask": one}
    push = gradient(name, arrays, config(dual_clip=0.0))[0, 0]
    assert np.isfinite(push) and push > 0
    assert gradient(name, arrays, config())[0, 0] == 0.0, "a dual clip is there to stop it"


def test_the_loss_has_the_estimator_and_the_place_of_the_kl_that_the_config_names():
    arrays = batch()
    without, mask = loss_of("clipped")(**arrays, config=config())[0], arrays["mask"]
    log_ratio = np.asarray(arrays["ref_logprobs"] - arrays["logprobs"], np.float64)
    for name in KL_ESTIMATORS:
        settings = config(kl_coefficient=0.3, kl_estimator=name)
        with_kl = loss_of("clipped")(**arrays, config=settings)[0]
        kl = (estimate_in_numpy(name, log_ratio)[0] * mask).sum()
        np.testing.assert_allclose(with_kl - without, 0.3 * kl, rtol=1e-4, atol=1e-5)
        for place in ("reward", "advantage"):
            elsewhere = dataclasses.replace(settings, kl_place=place)
            assert loss_of("clipped")(**arrays, config=elsewhere)[0] == without


def test_a_full_kl_goes_into_the_loss_with_its_own_gradient_and_is_what_is_measured():
    arrays = batch() | {"ref_logprobs": None}
    settings = config(kl_coefficient=0.3, kl_estimator="full")

    def loss(kl):
        return loss_of("clipped")(**arrays, config=settings, full_kl=kl)[0]

    kl = jnp.abs(arrays["entropy"])
    slope = jax.grad(loss)(kl)
    np.testing.assert_allclose(slope, 0.3 * arrays["mask"], rtol=1e-6)
    measured = loss_of("clipped")(**arrays, config=settings, full_kl=kl)[2]["kl_ref"]
    np.testing.assert_allclose(measured, (kl * arrays["mask"]).sum(), rtol=1e-5)


def test_token_weights_scale_the_surrogate_and_neither_the_kl_nor_the_entropy():
    arrays = batch()
    weights = jnp.asarray(np.random.default_rng(3).uniform(0, 2, arrays["mask"].shape), jnp.float32)
    settings = config(kl_coefficient=0.3, entropy_coefficient=0.1, token_weight="dft")
    terms_alone = dataclasses.replace(settings, token_weight="one")
    silent = arrays | {"advantages": 0 * arrays["advantages"]}
    others = loss_of("clipped")(**silent, config=terms_alone)[0]
    scaled = arrays | {"advantages": arrays["advantages"][:, None] * weights}
    expected = loss_of("clipped")(**scaled, config=dataclasses.replace(config(), dual_clip=0.0))
    loss, weight, _ = loss_of("clipped")(
        **arrays, config=dataclasses.replace(settings, dual_clip=0.0), token_weights=weights
    )
    np.testing.assert_allclose(loss, expected[0] + others, rtol=1e-5)
    assert weight == expected[1]

    def through(weights):
        return loss_of("clipped")(**arrays, config=settings, token_weights=weights)[0]

    np.testing.assert_array_equal(jax.grad(through)(weights), 0.0)
    with pytest.raises(AssertionError, match="token_weights"):
        loss_of("clipped")(**arrays, config=settings)


@pytest.mark.parametrize("name", KL_ESTIMATORS)
def test_the_kl_for_rewards_and_advantages_is_the_estimate_at_counted_tokens_without_gradient(name):
    arrays = batch()
    names = ("logprobs", "ref_logprobs", "mask")
    settings = config(kl_estimator=name, kl_place="advantage")
    wild = arrays | {"logprobs": jnp.where(arrays["mask"] > 0, arrays["logprobs"], -1e4)}
    found = kl_to_reference(settings, *(wild[n] for n in names))
    log_ratio = np.asarray(arrays["ref_logprobs"] - arrays["logprobs"], np.float64)
    expected = estimate_in_numpy(name, log_ratio)[0] * arrays["mask"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    def total(logprobs):
        return kl_to_reference(settings, logprobs, arrays["ref_logprobs"], arrays["mask"]).sum()

    np.testing.assert_array_equal(jax.grad(total)(arrays["logprobs"]), 0.0)


def test_a_full_kl_as_a_reward_is_refused_since_its_own_gradient_would_be_missing():
    arrays = batch()
    settings = config(kl_estimator="full", kl_place="reward")
    with pytest.raises(ValueError, match="kl_estimator='full' with kl_place='reward'"):
        kl_to_reference(settings, arrays["logprobs"], arrays["ref_logprobs"], arrays["mask"])


def test_in_the_loss_only_k2_has_on_average_the_gradient_of_the_kl():
    """What docs/objective.md says of bias, over all tokens of a small vocabulary."""
    scores, reference = jnp.array([0.3, -1.0, 0.8, 0.1]), jnp.array([-0.4, 0.5, 0.2, 0.0])
    log_q = jax.nn.log_softmax(reference)

    def kl(scores, forwards):
        log_p = jax.nn.log_softmax(scores)
        a, b = (log_p, log_q) if forwards else (log_q, log_p)
        return jnp.sum(jnp.exp(a) * (a - b))

    def mean_gradient(name):
        p = jax.lax.stop_gradient(jax.nn.softmax(scores))
        return jax.grad(lambda s: jnp.sum(p * KL_ESTIMATORS[name](log_q - jax.nn.log_softmax(s))))(
            scores
        )

    def as_reward(name):
        """The mean of the estimate times the gradient of log p."""
        log_p = jax.nn.log_softmax(scores)
        weights = jnp.exp(log_p) * KL_ESTIMATORS[name](log_q - log_p)
        return jax.grad(lambda s: jnp.sum(weights * jax.nn.log_softmax(s)))(scores)

    right = np.asarray(jax.grad(kl)(scores, True))
    np.testing.assert_allclose(mean_gradient("k2"), right, atol=1e-6)
    np.testing.assert_allclose(mean_gradient("k1"), 0.0, atol=1e-6)
    np.testing.assert_allclose(mean_gradient("k3"), jax.grad(kl)(scores, False), atol=1e-6)
    assert np.abs(mean_gradient("k3") - right).max() > 0.05
    np.testing.assert_allclose(as_reward("k1"), right, atol=1e-6)
    assert min(np.abs(as_reward(name) - right).max() for name in ("k2", "k3")) > 0.05


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (jnp.zeros((6, 9)), "expected Surrogate"),
        (Surrogate(jnp.zeros(6), jnp.zeros((6, 9))), "(6,)"),
    ],
)
def test_a_policy_loss_that_a_recipe_adds_and_that_gives_no_surrogate_is_named(
    monkeypatch, made, expected
):
    monkeypatch.setitem(POLICY_LOSSES, "mine", lambda *given: made)
    with pytest.raises(UserError, match=r"rl\.policy_loss\.name='mine': ") as told:
        loss_of("mine")(**batch(), config=config(name="mine"))
    assert expected in str(told.value) and "docs/adding_algorithms.md" in str(told.value)
