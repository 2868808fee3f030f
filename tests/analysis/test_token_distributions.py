import numpy as np
import pytest

from jaxreason.analysis.metric_types import TextMeasurements
from jaxreason.analysis.token_distributions import token_kl


def measured():
    """Two replies, of 3 and 1 tokens; what lies after their ends must not count."""
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    tokens = {
        "kl_forward": [[0.1, 0.2, 0.6], [0.5, 9, 9]],
        "kl_reverse": [[0.2, 0.2, 0.2], [1.0, 9, 9]],
        "js": [[0.0, 0.1, 0.2], [0.3, 9, 9]],
        "base_entropy": [[1.0, 1.0, 1.0], [1.0, 9, 9]],
        "tuned_entropy": [[0.5, 0.5, 0.5], [2.0, 9, 9]],
        "same_top": [[1, 0, 1], [0, 9, 9]],
        "base_logprob": [[-1.0, -2.0, -3.0], [-1.0, 9, 9]],
        "tuned_logprob": [[-0.5, -1.5, -4.0], [-3.0, 9, 9]],
        "base_rank": [[1, 5, 2], [1, 9, 9]],
        "tuned_rank": [[1, 2, 2], [4, 9, 9]],
        "scripts_scored": [[0, 1, 1], [0, 0, 0]],
    }
    arrays = {name: np.array(values, float) for name, values in tokens.items()}
    return TextMeasurements({}, {}, np.zeros((2, 1)), arrays, mask)


def test_plain_names_are_means_over_tokens():
    found = token_kl(measured()).statistic(np.arange(2))
    assert found["kl_forward"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.5) / 4)
    assert found["kl_reverse"] == pytest.approx((0.6 + 1.0) / 4)
    assert found["js"] == pytest.approx(0.6 / 4)
    assert found["entropy_change"] == pytest.approx((-1.5 + 1.0) / 4)
    assert found["shifted_share"] == pytest.approx(2 / 4)
    assert found["rank_shift"] == pytest.approx((3 + 3) / 4)
    assert found["signed_rank_shift"] == pytest.approx((3 - 3) / 4)


def test_per_reply_names_weigh_replies_alike():
    found = token_kl(measured()).statistic(np.arange(2))
    assert found["kl_forward.per_reply"] == pytest.approx((0.3 + 0.5) / 2)


def test_the_mean_over_tokens_times_the_mean_length_is_the_divergence_of_whole_replies():
    found = token_kl(measured())
    mean_length = found.details["num_tokens"] / 2
    whole = (0.1 + 0.2 + 0.6 + 0.5) / 2  # A reply's is the sum over its tokens.
    assert found.statistic(np.arange(2))["kl_forward"] * mean_length == pytest.approx(whole)


def test_the_papers_numbers_are_of_the_tokens_that_its_scripts_score():
    found = token_kl(measured()).statistic(np.arange(2))
    assert found["log_ratio.per_reply"] == pytest.approx((0.0 - 2.0) / 2)
    assert found["paper_kl"] == pytest.approx(abs((0.5 - 1.0) / 2))  # of the first reply alone
    assert found["paper_rank_shift"] == pytest.approx((3 + 0) / 2)


def test_a_resample_weighs_its_tokens():
    found = token_kl(measured()).statistic(np.array([1, 1, 0]))
    assert found["kl_forward"] == pytest.approx((0.5 + 0.5 + 0.9) / 5)


def test_details_follow_the_position_in_the_reply():
    details = token_kl(measured()).details
    assert details["num_tokens"] == 4
    assert details["base_entropy"] == pytest.approx(1.0)
    first, second, third = details["by_position"]
    assert (first["first"], first["last"], first["num_tokens"]) == (1, 1, 2)
    assert first["kl_forward"] == pytest.approx(0.3)
    assert (second["first"], second["last"], second["num_tokens"]) == (2, 2, 1)
    assert (third["first"], third["last"], third["num_tokens"]) == (3, 4, 1)
    assert third["kl_forward"] == pytest.approx(0.6)


def test_the_positions_of_a_very_long_reply_are_all_in_the_details():
    short = measured()
    tokens = {name: np.repeat(values[:1], 14000, axis=1) for name, values in short.tokens.items()}
    details = token_kl(short._replace(tokens=tokens, mask=np.ones((1, 42000), bool))).details
    assert sum(row["num_tokens"] for row in details["by_position"]) == details["num_tokens"]
