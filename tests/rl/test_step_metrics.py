"""pass@k within groups, groups that teach nothing, lengths by outcome, gaps to the sampler, on numbers by hand."""

import itertools

import numpy as np
import pytest

from jaxreason.rl.step_metrics import GAP_MEANS, group_measures, sampler_mismatch
from jaxreason.rl.update import GAP_EDGES

NAN = float("nan")


def measures(right, lengths=None, truncated=None):
    right = np.array(right, float)
    lengths = np.ones(right.shape, int) if lengths is None else np.array(lengths)
    truncated = np.zeros(right.shape, bool) if truncated is None else np.array(truncated, bool)
    return group_measures(right, lengths, truncated)


def test_pass_at_k_is_the_share_of_choices_of_k_with_a_right_one():
    right = [[1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0], [0] * 6]
    found = measures(right)
    for k in (1, 2, 4, 6):
        by_hand = np.mean([np.mean([max(x) for x in itertools.combinations(g, k)]) for g in right])
        assert found[f"pass_at_{k}"] == pytest.approx(by_hand)
    assert {name for name in found if name.startswith("pass")} == {
        f"pass_at_{k}" for k in (1, 2, 4, 6)
    }


def test_replies_that_were_not_graded_count_for_nothing():
    found = measures([[1, NAN, NAN, NAN], [0, 0, NAN, NAN]])
    assert (found["pass_at_1"], found["pass_at_2"]) == (0.5, 0.0)
    assert "pass_at_4" not in found
    assert (found["groups_all_right"], found["groups_all_wrong"]) == (0.5, 0.5)


def test_groups_all_right_and_all_wrong_are_shares_of_all_groups():
    found = measures([[1, 1], [0, 0], [0, 1], [0, 0]])
    assert (found["groups_all_right"], found["groups_all_wrong"]) == (0.25, 0.5)


def test_lengths_and_truncation_are_of_right_and_wrong_replies_apart():
    found = measures([[1, 0], [1, NAN]], [[2, 7], [4, 9]], [[0, 1], [0, 1]])
    assert found["response_tokens_max"] == 9
    assert (found["response_tokens_right"], found["response_tokens_max_right"]) == (3, 4)
    assert (found["response_tokens_wrong"], found["response_tokens_max_wrong"]) == (7, 7)
    assert (found["truncated_right"], found["truncated_wrong"]) == (0, 1)


def test_what_there_is_no_reply_for_is_left_out():
    found = measures([[0, 0]])
    assert not [name for name in found if name.endswith("right") and name != "groups_all_right"]
    assert np.isfinite(list(found.values())).all()
    assert set(measures([[NAN, NAN]])) == {"response_tokens_max"}


def test_gaps_beyond_the_last_edge_are_reported_as_their_largest_and_not_as_infinite():
    counts = np.zeros(len(GAP_EDGES))
    counts[-1] = 1.0  # Divided by the tokens, as the training step does.
    one = {"tokens": np.float64(8), "max_sampler_gap": np.array([150.0 / 8])}
    gap = {"sampled": 1.0, "sampler_gap": 120.0} | dict.fromkeys(GAP_MEANS[2:], 1.0)
    found = sampler_mismatch([one | {"sampler_gap_counts": counts}], gap)
    assert found["p99_sampler_gap"] == found["max_sampler_gap"] == 150.0
