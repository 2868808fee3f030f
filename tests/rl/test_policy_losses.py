"""Policy losses against loops in plain Python and against identities between them."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rl.policy_losses import POLICY_LOSSES, PolicyLossConfig, k3

CONFIG = PolicyLossConfig(
    name="clipped",
    clip_low=0.2,
    clip_high=0.28,
    dual_clip=10.0,
    aggregation="token_mean",
    fixed_length=0,
    kl_coefficient=0.0,
    entropy_coefficient=0.0,
    importance_cap=0.0,
)
AGGREGATIONS = ("token_mean", "sequence_mean", "fixed_length")


def config(**changes) -> PolicyLossConfig:
    return dataclasses.replace(CONFIG, **({"fixed_length": 9} | changes))


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
    ],
)
def test_the_clipped_loss_equals_a_loop_in_plain_python(aggregation, changes):
    settings = config(aggregation=aggregation, **changes)
    arrays = batch()
    loss_sum, weight, _ = POLICY_LOSSES["clipped"](**arrays, config=settings)
    np.testing.assert_allclose([loss_sum, weight], by_hand(arrays, settings), rtol=2e-5)


def test_one_token_with_ratio_two_gives_the_numbers_of_the_dapo_paper():
    def loss(advantage, ratio, **changes):
        one = jnp.ones((1, 1))
        new = jnp.log(ratio) * one
        return float(
            POLICY_LOSSES["clipped"](new, 0 * one, advantage * one, one, config(**changes))[0]
        )

    assert loss(1.0, 2.0) == pytest.approx(-1.28)  # clip-higher
    assert loss(1.0, 0.5) == pytest.approx(-0.5)  # pessimistic: the smaller of 0.5 and 0.8
    assert loss(-1.0, 0.5) == pytest.approx(0.8)  # clip-low
    assert loss(-1.0, 20.0) == pytest.approx(10.0)  # dual clip at 10
    assert loss(-1.0, 20.0, dual_clip=0.0) == pytest.approx(20.0)


def gradient(name, arrays, settings, **extra):
    def loss(logprobs):
        total, weight, _ = POLICY_LOSSES[name](
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
    loss_sum, weight, _ = POLICY_LOSSES["gspo"](logprobs, 0 * logprobs, jnp.ones(1), mask, settings)
    assert float(loss_sum / weight) == pytest.approx(-6.0, rel=1e-5)
    clip = dataclasses.replace(settings, clip_high=0.5)
    assert float(
        POLICY_LOSSES["gspo"](logprobs, 0 * logprobs, jnp.ones(1), mask, clip)[0]
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
        results = [POLICY_LOSSES[name](**part, config=settings)[:2] for part in parts]
        return sum(r[0] for r in results) / sum(r[1] for r in results)

    def whole(logprobs):
        total, weight, _ = POLICY_LOSSES[name](**(arrays | {"logprobs": logprobs}), config=settings)
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
    expected = POLICY_LOSSES[name](**arrays, config=settings)
    actual = POLICY_LOSSES[name](**packed, config=settings, segment_ids=segments)
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
    terms = POLICY_LOSSES["clipped"](**arrays, config=settings)[2]
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


def test_k3_averages_to_the_kl_divergence_of_two_distributions():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    expected = float((p * np.log(p / q)).sum())
    assert float((p * np.asarray(k3(jnp.log(q / p)))).sum()) == pytest.approx(expected, rel=1e-5)


def k3_in_numpy(log_ratio):
    """Its tangent from 20 nats on, in float64."""
    low = np.minimum(log_ratio, 20.0)
    return np.exp(low) * (1 + log_ratio - low) - 1 - log_ratio


@pytest.mark.parametrize("logprob", [-150.0, -40.0, -21.0, -20.0, -19.0, -3.0, -1e-3, 0.0])
@pytest.mark.parametrize("reference", [0.0, -3.0, -60.0])
def test_however_far_the_policy_is_from_the_reference_the_kl_term_pulls_it_back(logprob, reference):
    """The gradient was 0 beyond 20 nats, where the drift is worst."""
    one = jnp.ones((1, 1))
    arrays = {"logprobs": logprob * one, "old_logprobs": logprob * one}
    arrays |= {"advantages": 0 * one, "mask": one, "ref_logprobs": reference * one}
    settings = config(kl_coefficient=1.0)
    value = POLICY_LOSSES["clipped"](**arrays, config=settings)[0]
    np.testing.assert_allclose(value, k3_in_numpy(reference - logprob), rtol=1e-5, atol=1e-6)

    pull = gradient("clipped", arrays, settings)[0, 0]
    apart = reference - logprob + np.array([-1e-4, 1e-4])
    expected = (k3_in_numpy(apart[0]) - k3_in_numpy(apart[1])) / 2e-4
    np.testing.assert_allclose(pull, expected, rtol=1e-3, atol=1e-5)
    assert np.isfinite(pull) and np.sign(pull) == np.sign(logprob - reference)


@pytest.mark.parametrize("name", ["clipped", "gspo"])
def test_a_ratio_beyond_all_clips_still_pushes_a_bad_reply_down(name):
    one = jnp.ones((1, 1))
    arrays = {"logprobs": -1 * one, "old_logprobs": -90 * one, "advantages": -one, "mask": one}
    push = gradient(name, arrays, config(dual_clip=0.0))[0, 0]
    assert np.isfinite(push) and push > 0
    assert gradient(name, arrays, config())[0, 0] == 0.0, "a dual clip is there to stop it"
