"""Weights of replies against numbers worked out by hand."""

import numpy as np
import pytest

from jaxreason.config import parse
from jaxreason.errors import UserError
from jaxreason.models.huggingface import ModelConfig, static_model
from jaxreason.recipes import load_recipe
from jaxreason.rl.advantages import ADVANTAGES, WEIGHTS, reply_weights, scaled
from jaxreason.rl.checks import check_rl
from jaxreason.rl.rl_config import RLConfig

NAN = float("nan")
# One group mixed, one with a reply that is right but too long and one not graded, one all right, one never graded.
REWARDS = np.array([[1.0, -1, -1, -1], [0.5, NAN, 1.0, -1], [1.0, 1, 1, 1], [NAN, NAN, NAN, NAN]])
CORRECT = np.array([[1.0, 0, 0, 0], [1.0, NAN, 1.0, 0], [1.0, 1, 1, 1], [NAN, NAN, NAN, NAN]])


BY_HAND = {
    "one": [[1, 1, 1, 1], [1, NAN, 1, 1], [1, 1, 1, 1], [NAN] * 4],
    "zero": [[0, 0, 0, 0], [0, NAN, 0, 0], [0, 0, 0, 0], [NAN] * 4],
    "right": [[1, NAN, NAN, NAN], [1, NAN, 1, NAN], [1, 1, 1, 1], [NAN] * 4],
    # mean -1/2, deviations 3/2 and -1/2, variance 3 / 3 = 1; and mean 1/6, deviations 1/3, 5/6, -7/6, variance
    # (4 + 25 + 49) / 36 / 2 = 13/12
    "best": [
        [1.5, NAN, NAN, NAN],
        [NAN, NAN, 5 / 6 / np.sqrt(13 / 12), NAN],
        [0, NAN, NAN, NAN],
        [NAN] * 4,
    ],
}


def test_every_weight_has_hand_numbers_or_is_an_advantage():
    assert set(BY_HAND) == set(WEIGHTS)


def test_an_advantage_that_a_recipe_adds_is_a_key_of_the_field(monkeypatch):
    """docs/adding_algorithms.md: the field takes the key of what is added to ADVANTAGES."""
    recipe = load_recipe("configs/study_tiny.py")
    recipe.rl.advantage = "mine"
    config = parse(RLConfig, recipe.rl, "config.rl")
    model = static_model(parse(ModelConfig, recipe.model, "config.model"))
    with pytest.raises(UserError, match=r"rl.advantage='mine': expected one of grpo, .*zero"):
        check_rl(config, model, None)
    monkeypatch.setitem(ADVANTAGES, "mine", lambda rewards: 2 * np.nan_to_num(rewards))
    check_rl(config, model, None)
    found = reply_weights("mine", REWARDS, CORRECT)
    np.testing.assert_array_equal(found, 2 * np.nan_to_num(REWARDS))


@pytest.mark.parametrize(
    "made", [REWARDS.mean(1), REWARDS.T[:2], None, 1.0, REWARDS, REWARDS * np.inf]
)
def test_an_advantage_that_is_no_number_for_each_reply_is_named(monkeypatch, made):
    monkeypatch.setitem(ADVANTAGES, "mine", lambda rewards: made)
    with pytest.raises(UserError, match=r"rl.advantage='mine': expected \(4, 4\) finite numbers"):
        reply_weights("mine", REWARDS, CORRECT)


@pytest.mark.parametrize(
    "made", [REWARDS.mean(1), None, [["a"] * 4] * 4, np.where(np.isnan(REWARDS), np.inf, 1)]
)
def test_a_weight_that_a_recipe_adds_is_a_number_or_nan_for_each_reply(monkeypatch, made):
    """docs/objective.md: NaN leaves a reply out."""
    monkeypatch.setitem(WEIGHTS, "mine", lambda rewards, correct: made)
    with pytest.raises(
        UserError, match=r"rl.advantage='mine': expected \(4, 4\) .* docs/objective.md"
    ):
        reply_weights("mine", REWARDS, CORRECT)
    monkeypatch.setitem(WEIGHTS, "mine", lambda rewards, correct: (2 * rewards).tolist())
    np.testing.assert_array_equal(reply_weights("mine", REWARDS, CORRECT), 2 * REWARDS)


@pytest.mark.parametrize("name", BY_HAND)
def test_weights_are_the_hand_numbers(name):
    np.testing.assert_allclose(reply_weights(name, REWARDS, CORRECT), BY_HAND[name], rtol=1e-5)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_every_advantage_is_a_weight_of_rewards_alone(name):
    for correct in (CORRECT, 1 - CORRECT):
        found = reply_weights(name, REWARDS, correct)
        np.testing.assert_array_equal(found, ADVANTAGES[name](REWARDS))
    assert np.all(found[np.isnan(REWARDS)] == 0.0)


@pytest.mark.parametrize("name", [*ADVANTAGES, *WEIGHTS])
def test_a_group_does_not_see_another(name):
    rng = np.random.default_rng(0)
    rewards, correct = rng.normal(size=(5, 6)), rng.integers(0, 2, (5, 6)).astype(float)
    together = reply_weights(name, rewards, correct)
    alone = [reply_weights(name, rewards[i : i + 1], correct[i : i + 1]) for i in range(5)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_negative_weights_are_scaled_and_the_replies_stay():
    weights = np.array([[1.5, -0.5, 0.0, NAN]])
    np.testing.assert_array_equal(scaled(weights, 1.0), weights)
    np.testing.assert_array_equal(scaled(weights, 0.25), [[1.5, -0.125, 0.0, NAN]])
    positive = scaled(weights, 0.0)
    np.testing.assert_array_equal(positive, [[1.5, 0.0, 0.0, NAN]])
    assert not np.signbit(positive[0, 1])
