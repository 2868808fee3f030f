"""Rewards through the real verifier pool."""

import math
import time

import pytest

from jaxreason.data.examples import Example
from jaxreason.rl.rewards import PendingRewards, RewardConfig, overlong_punishment
from jaxreason.sampling.sampling_params import Completion
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
    rewards = PendingRewards(pool, items).rewards(PLAIN, max_tokens=8)
    assert [reward.total for reward in rewards] == [1.0, 1.0, 0.0, 0.0]
    assert rewards[0].terms == {"answer": 1.0} and rewards[0].extracted == "12"


@pytest.mark.parametrize(
    ("num_tokens", "expected"), [(0, 0.0), (16, 0.0), (17, -0.25), (18, -0.5), (20, -1.0)]
)
def test_the_overlong_punishment_grows_linearly_in_the_buffer(num_tokens, expected):
    assert overlong_punishment(num_tokens, 20, 4, 1.0) == expected
    assert overlong_punishment(num_tokens, 20, 4, 0.5) == expected / 2
    assert overlong_punishment(num_tokens, 20, 0, 1.0) == 0.0


def test_a_long_right_reply_shows_both_terms(pool):
    (reward,) = PendingRewards(pool, [item("hash_answer", "3", "#3", 18)]).rewards(
        DAPO, max_tokens=20
    )
    assert reward.terms == {"answer": 1.0, "overlong": -0.5}
    assert reward.total == 0.5


def test_an_answer_that_is_left_to_compute_earns_nothing_from_a_strict_task(pool):
    replies = (r"\boxed{\sum_{k=1}^{100} k}", r"\boxed{\frac{10100}{2}}", r"\boxed{5050}")
    for task, expected in (("math_strict", [0.0, 0.0, 1.0]), ("math", [1.0, 1.0, 1.0])):
        items = [item(task, "5050", reply) for reply in replies]
        rewards = PendingRewards(pool, items).rewards(PLAIN, max_tokens=8)
        assert [reward.total for reward in rewards] == expected
    items = [item("gsm8k_strict", "18", reply) for reply in ("#### 36/2", "#### 18")]
    assert [r.total for r in PendingRewards(pool, items).rewards(PLAIN, max_tokens=8)] == [0.0, 1.0]


def test_a_question_without_a_usable_gold_answer_gives_no_reward(pool):
    items = [item("last_number", "four", "it is 4"), item("hash_answer", "4", "#4")]
    failed, graded = PendingRewards(pool, items).rewards(DAPO, max_tokens=20)
    assert math.isnan(failed.total) and failed.terms == {} and not failed.graded
    assert failed.error.startswith("UserError: example 'q'")
    assert graded.total == 1.0 and graded.error is None
    assert sum(pool.failures.values()) == 1


def test_a_reply_that_stops_its_grader_earns_what_a_wrong_one_earns():
    texts = ["it hangs: hang", "crash", "raise", "it is 5", "it is 4"]
    with VerifierPool(1, 1.5, "failing_tasks:TASKS") as pool:
        items = [item("last_number", "4", text, num_tokens=18) for text in texts]
        hang, crash, error, wrong, right = PendingRewards(pool, items).rewards(DAPO, max_tokens=20)
    assert [r.error.split(":")[0] for r in (hang, crash, error)] == [
        "timeout", "crash", "ValueError",
    ]  # fmt: skip
    for reward in (hang, crash, error, wrong):
        assert reward.terms == {"answer": 0.0, "overlong": -0.5}
        assert reward.graded and reward.total == -0.5
    assert right.total == 0.5


def test_a_step_full_of_replies_that_hang_costs_a_few_time_limits_and_all_count_as_wrong():
    items = [item("last_number", "4", f"{number} hang") for number in range(100)]
    began = time.monotonic()
    with VerifierPool(2, 1.0, "failing_tasks:TASKS") as pool:
        rewards = PendingRewards(pool, items).rewards(PLAIN, max_tokens=20)
    assert time.monotonic() - began < 40  # one after the other they would take 50 s and 50 starts
    assert [reward.total for reward in rewards] == [0.0] * 100
    assert all(reward.error.startswith("timeout: ") for reward in rewards)
    assert sum("not tried" in reward.error for reward in rewards) >= 80


def test_powers_too_large_to_write_out_are_wrong_at_once(pool):
    towers = [r"\boxed{10^{10^{10}}}", r"\boxed{9^{9^{9^{9}}}}", r"\boxed{(10^{10})!}"]
    items = [item("math", "5", text) for text in towers] + [
        item("math", "10^{10^{10}}", towers[0]), item("math", "5", r"\boxed{5}"),
    ]  # fmt: skip
    rewards = PendingRewards(pool, items).rewards(PLAIN, max_tokens=20)
    assert [reward.error for reward in rewards] == [None] * 5
    assert [reward.total for reward in rewards] == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_a_reply_that_the_sampler_could_not_finish_is_an_error_too(pool):
    (reward,) = PendingRewards(
        pool, [item("hash_answer", "4", "#4", finish="error: no room")]
    ).rewards(PLAIN, max_tokens=20)
    assert math.isnan(reward.total) and "no room" in reward.error
