"""Rewards through the real verifier pool."""

import math

import pytest

from jaxreason.data.examples import Example
from jaxreason.rl.rewards import RewardConfig, overlong_punishment, reward_replies
from jaxreason.sampling.engine import Completion
from jaxreason.tasks.verify import VerifierPool

PLAIN = RewardConfig(num_workers=1, timeout_s=20.0, overlong_buffer=0, overlong_penalty=0.0)
DAPO = RewardConfig(num_workers=1, timeout_s=20.0, overlong_buffer=4, overlong_penalty=1.0)


def item(task, answer, text, num_tokens=3, finish="stop"):
    example = Example("q", task, ({"role": "user", "content": "?"},), answer, "made", {})
    return example, text, Completion("q", 0, (1,) * num_tokens, (-0.5,) * num_tokens, finish)


@pytest.fixture
def pool():
    with VerifierPool(num_workers=1, timeout_s=20.0) as pool:
        yield pool


def test_right_and_wrong_replies_of_two_tasks_keep_their_order(pool):
    items = [
        item("hash_answer", "12", "5+7=12#12"),
        item("last_number", "12", "that makes 12"),
        item("hash_answer", "12", "12"),
        item("last_number", "12", "that makes 13"),
    ]
    rewards = reward_replies(pool, items, PLAIN, max_tokens=8)
    assert [reward.total for reward in rewards] == [1.0, 1.0, 0.0, 0.0]
    assert rewards[0].terms == {"correct": 1.0} and rewards[0].extracted == "12"


@pytest.mark.parametrize(
    ("num_tokens", "expected"), [(0, 0.0), (16, 0.0), (17, -0.25), (18, -0.5), (20, -1.0)]
)
def test_the_overlong_punishment_grows_linearly_in_the_buffer(num_tokens, expected):
    assert overlong_punishment(num_tokens, 20, 4, 1.0) == expected
    assert overlong_punishment(num_tokens, 20, 4, 0.5) == expected / 2
    assert overlong_punishment(num_tokens, 20, 0, 1.0) == 0.0


def test_a_long_right_reply_shows_both_terms(pool):
    (reward,) = reward_replies(pool, [item("hash_answer", "3", "#3", 18)], DAPO, max_tokens=20)
    assert reward.terms == {"correct": 1.0, "overlong": -0.5}
    assert reward.total == 0.5


def test_a_grader_that_raises_is_an_error_and_not_a_zero(pool):
    items = [item("last_number", None, "it is 4"), item("hash_answer", "4", "#4")]
    failed, graded = reward_replies(pool, items, DAPO, max_tokens=20)
    assert math.isnan(failed.total) and failed.terms == {} and failed.error
    assert graded.total == 1.0
    assert sum(pool.failures.values()) == 1


def test_a_reply_that_the_sampler_could_not_finish_is_an_error_too(pool):
    (reward,) = reward_replies(
        pool, [item("hash_answer", "4", "#4", finish="error: no room")], PLAIN, max_tokens=20
    )
    assert math.isnan(reward.total) and "no room" in reward.error
