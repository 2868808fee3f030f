"""Packing replies into rows, and the lines of the rollouts file."""

import dataclasses

import numpy as np
import pytest

from jaxreason.data.examples import Example
from jaxreason.data.packing import first_fit, make_layout
from jaxreason.rl.generation import MUST_DIFFER, Collected, report_errors
from jaxreason.rl.rewards import Reward
from jaxreason.rl.rollouts import RolloutGroup, Sample, group_rewards, pack, rollout_lines
from jaxreason.rl.step_metrics import trained_lengths
from jaxreason.sampling.sampling_params import Completion


def make_sample(number, tokens, total=1.0, error=None):
    logprobs = tuple(-0.1 * t for t in tokens)
    completion = Completion("q", number, tuple(tokens), logprobs, "stop")
    terms = {} if error else {"answer": total}
    nan = float("nan")
    correct, total = (nan, nan) if error else (total, total)
    reward = Reward(total, terms, {"exact": correct} if terms else {}, None, error, correct)
    return Sample(completion, f"text {number}", reward)


def make_group(name, prompt, replies, errors=()):
    message = {"role": "user", "content": f"question {name}"}
    example = Example(name, "hash_answer", (message,), "7", "made", {})
    samples = [
        make_sample(i, reply, total=float(i), error="timeout: late" if i in errors else None)
        for i, reply in enumerate(replies)
    ]
    return RolloutGroup(0, example, tuple(prompt), tuple(samples))


def random_groups(num_groups, num_samples, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda low, high: rng.integers(1, 90, rng.integers(low, high)).tolist()  # noqa: E731
    return [
        make_group(f"q{i}", draw(2, 8), [draw(1, 20) for _ in range(num_samples)])
        for i in range(num_groups)
    ]


def packed(*args):
    return [one.rollouts for one in pack(*args)]


def read_back(rollouts):
    """(prompt, reply, logprobs, advantage) of every segment in the arrays."""
    found = []
    for row in range(len(rollouts.tokens)):
        for segment in range(1, rollouts.segment_ids[row].max() + 1):
            where = rollouts.segment_ids[row] == segment
            reply = where & (rollouts.loss_mask[row] == 1)
            prompt = where & (rollouts.loss_mask[row] == 0)
            assert rollouts.positions[row][where].tolist() == list(range(where.sum()))
            assert len(set(rollouts.advantages[row][reply])) == 1
            found.append(
                (
                    tuple(rollouts.tokens[row][prompt]),
                    tuple(rollouts.tokens[row][reply]),
                    tuple(rollouts.sampler_logprobs[row][reply].round(4)),
                    round(float(rollouts.advantages[row][reply][0]), 4),
                )
            )
    return found


def test_every_sequence_is_in_the_arrays_once_token_for_token():
    groups = random_groups(10, 4)
    advantages = np.random.default_rng(1).normal(size=(10, 4))
    (batch,) = packed(groups, advantages, 1, make_layout(40, 28, 32, micro_batch_rows=4))
    expected = [
        (
            group.prompt,
            sample.completion.tokens,
            tuple(np.float32(sample.completion.logprobs).round(4)),
            round(float(np.float32(advantage)), 4),
        )
        for group, row in zip(groups, advantages, strict=True)
        for sample, advantage in zip(group.samples, row, strict=True)
    ]
    assert sorted(read_back(batch)) == sorted(expected)


def test_padding_is_zero_everywhere():
    (batch,) = packed(random_groups(3, 2), np.ones((3, 2)), 1, make_layout(6, 28, 64, 8))
    padding = batch.segment_ids == 0
    assert padding.any()
    for name in ("tokens", "positions", "loss_mask", "advantages", "sampler_logprobs"):
        assert not getattr(batch, name)[padding].any(), name


def test_mini_batches_share_the_groups_evenly_in_order_and_have_one_shape():
    groups = random_groups(10, 4)
    batches = packed(groups, np.ones((10, 4)), 4, make_layout(12, 28, 32, micro_batch_rows=2))
    assert len({batch.tokens.shape for batch in batches}) == 1
    prompts = [{sequence[0] for sequence in read_back(batch)} for batch in batches]
    assert prompts == [
        {g.prompt for g in groups[a:b]} for a, b in ((0, 3), (3, 6), (6, 8), (8, 10))
    ]


def test_an_ungraded_reply_is_in_no_array():
    group = make_group("q", [1, 2], [[3, 4], [5, 6], [7]], errors=(1,))
    (batch,) = packed([group], np.ones((1, 3)), 1, make_layout(3, 4, 16, 1))
    assert sorted(s[1] for s in read_back(batch)) == [(3, 4), (7,)]
    assert np.isnan(group_rewards([group])).tolist() == [[False, True, False]]


def test_a_step_in_which_hardly_any_reply_has_an_answer_is_told(caplog):
    group = make_group("q", [1], [[2]] * 10)
    report_errors(2, [group], 0.5)
    assert "step 3: no answer was found in 10 of 10 replies" in caplog.text
    caplog.clear()
    sample = group.samples[0]
    read = dataclasses.replace(sample, reward=dataclasses.replace(sample.reward, extracted="7"))
    report_errors(2, [dataclasses.replace(group, samples=(read, *group.samples[1:]))], 0.5)
    assert caplog.text == ""


def test_a_metric_of_dynamic_sampling_reads_the_value_that_it_names():
    sample = make_sample(0, [3])
    reward = dataclasses.replace(sample.reward, total=0.25, correct=1.0)
    group = make_group("q", [1, 2], [[3]])
    group = dataclasses.replace(group, samples=(dataclasses.replace(sample, reward=reward),))
    found = {name: metric([group]).tolist() for name, metric in MUST_DIFFER.items()}
    assert found == {"correct": [[1.0]], "reward": [[0.25]]}


def test_the_lengths_that_flops_are_counted_by_are_those_in_the_arrays():
    groups = [
        make_group("a", [1, 2], [[3, 4], [5], [6, 7, 8]], errors=(1,)),
        make_group("b", [1], [[2]]),
    ]
    weights = np.array([[0.5, 0.0, np.nan], [1.0, np.nan, np.nan]])
    for trained, expected in (([True, True], [4, 2]), ([False, True], [2])):
        collected = Collected(groups, trained, weights, 1, {})
        assert trained_lengths(collected) == expected
        kept = [g for g, used in zip(groups, trained, strict=True) if used]
        (batch,) = packed(kept, weights[np.array(trained)], 1, make_layout(4, 5, 16, 1))
        assert sorted(len(p) + len(r) for p, r, *_ in read_back(batch)) == sorted(expected)


@pytest.mark.parametrize("longest", [5, 11, 16, 20])
def test_a_layout_has_room_for_any_sequences_up_to_the_longest(longest):
    rng = np.random.default_rng(longest)
    layout = make_layout(30, longest, row_length=20, micro_batch_rows=3)
    for _ in range(50):
        lengths = rng.integers(1, longest + 1, 30)
        if rng.random() < 0.3:
            lengths[:] = longest
        rows = first_fit(sorted(lengths, reverse=True), 20)
        assert len(rows) <= layout.num_rows


def test_a_layout_that_cannot_hold_the_longest_reply_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=r"17 tokens.*row_length is 16"):
        make_layout(8, 17, 16, 4)


def test_micro_batches_as_the_training_step_cuts_them_are_filled_one_after_the_other():
    layout = make_layout(40, 28, row_length=32, micro_batch_rows=4)
    (batch,) = packed(random_groups(8, 4), np.ones((8, 4)), 1, layout)
    dealt = [batch.segment_ids[i :: layout.num_micro_batches] for i in range(10)]
    used = [int((part > 0).any(axis=1).sum()) for part in dealt]
    assert sum(used) < layout.num_rows - 4
    full, partial = sum(used) // 4, sum(used) % 4
    assert used == [4] * full + [partial] + [0] * (9 - full)


def test_the_prompt_of_a_rollout_is_the_question_where_the_dataset_has_the_reply_too():
    messages = (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+3?"},
        {"role": "assistant", "content": "the gold answer is 5"},
    )
    example = Example("a", "hash_answer", messages, "5", "made", {})
    group = RolloutGroup(0, example, (1,), (make_sample(0, [2]), make_sample(1, [3])))
    lines = rollout_lines([group], np.zeros((1, 2)), trained=[True])
    assert [line["prompt"] for line in lines] == ["Be brief.\n\n2+3?"] * 2


def test_rollout_lines_name_the_error_and_give_an_ungraded_reply_no_reward():
    groups = [make_group("a", [1], [[2], [3]], errors=(1,)), make_group("b", [4], [[5], [6]])]
    lines = rollout_lines(groups, np.array([[0.5, 0.0], [0.0, 0.0]]), trained=[True, False])
    assert [line["id"] for line in lines] == ["a", "a", "b", "b"]
    assert lines[0] == {
        "id": "a",
        "batch": 0,
        "sample": 0,
        "prompt": "question a",
        "prompt_tokens": [1],
        "completion": "text 0",
        "tokens": [2],
        "answer": "7",
        "extracted": None,
        "reward": 0.0,
        "terms": {"answer": 0.0},
        "scores": {"exact": 0.0},
        "advantage": 0.5,
        "trained": True,
        "finish_reason": "stop",
        "error": None,
    }
    assert (lines[1]["reward"], lines[1]["error"]) == (None, "timeout: late")
    assert [line["trained"] for line in lines] == [True, False, False, False]
