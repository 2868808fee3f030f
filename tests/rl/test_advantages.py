"""Advantages against numbers worked out by hand."""

import numpy as np
import pytest

from jaxreason.rl.advantages import ADVANTAGES, mixed_groups

NAN = float("nan")


# One right of four: mean 1/4; sample variance (9 + 1 + 1 + 1) / 16 / 3 = 1/4, so std 1/2.
BY_HAND = {
    "grpo": [1.5, -0.5, -0.5, -0.5],
    "dr_grpo": [0.75, -0.25, -0.25, -0.25],
    "centered": [0.75, -0.25, -0.25, -0.25],
    "rloo": [1.0, -1 / 3, -1 / 3, -1 / 3],
}


def test_every_advantage_has_hand_numbers():
    assert set(BY_HAND) == set(ADVANTAGES)


@pytest.mark.parametrize("name", BY_HAND)
def test_one_right_reply_of_four_gives_the_hand_numbers(name):
    advantages = ADVANTAGES[name](np.array([[1.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(advantages[0], BY_HAND[name], rtol=1e-5)


@pytest.mark.parametrize("row", [[1.0, 0.0], [NAN, 1.0, NAN, 0.0]])
def test_two_graded_replies_of_a_group_give_the_hand_numbers(row):
    # The mean is 1/2, and the sample variance 1/4 + 1/4.
    by_hand = {"grpo": 0.5**0.5, "dr_grpo": 0.5, "centered": 0.5, "rloo": 1.0}
    for name, expected in by_hand.items():
        advantages = ADVANTAGES[name](np.array([row]))[0]
        better, worse = row.index(1.0), row.index(0.0)
        np.testing.assert_allclose(advantages[[better, worse]], [expected, -expected], rtol=1e-5)


def test_grpo_adds_a_millionth_to_the_deviation():
    # Deviations of +-5e-7 and a sample deviation of 5e-7 sqrt(2).
    found = ADVANTAGES["grpo"](np.array([[1e-6, 0.0]]))[0]
    expected = 5e-7 / (5e-7 * 2**0.5 + 1e-6)
    np.testing.assert_allclose(found, [expected, -expected], rtol=1e-9)


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -0.7])
def test_equal_rewards_in_a_group_contribute_exactly_nothing(name, value):
    assert np.all(ADVANTAGES[name](np.full((2, 7), value)) == 0.0)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_a_group_does_not_see_the_rewards_of_another(name):
    rewards = np.random.default_rng(0).normal(size=(5, 6))
    together = ADVANTAGES[name](rewards)
    alone = np.concatenate([ADVANTAGES[name](row[None]) for row in rewards])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together.sum(axis=1), 0.0, atol=1e-12)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_an_ungraded_reply_gets_zero_and_leaves_the_mean_of_the_rest_alone(name):
    with_error = ADVANTAGES[name](np.array([[1.0, NAN, 0.0, 0.0]]))[0]
    without = ADVANTAGES[name](np.array([[1.0, 0.0, 0.0]]))[0]
    assert with_error[1] == 0.0
    np.testing.assert_array_equal(with_error[[0, 2, 3]], without)


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("row", [[NAN, NAN, NAN], [1.0, NAN, NAN]])
def test_a_group_with_at_most_one_graded_reply_contributes_nothing(name, row):
    assert np.all(ADVANTAGES[name](np.array([row])) == 0.0)


def test_only_groups_with_two_different_graded_rewards_are_mixed():
    rewards = np.array(
        [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [NAN, 0.0, 0.0], [NAN, 0.0, 1.0], [NAN, NAN, NAN]]
    )
    assert mixed_groups(rewards).tolist() == [False, True, False, True, False]
