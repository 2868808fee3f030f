"""Means, intervals, pass@k and paired differences against scipy, closed forms and hand numbers."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from jaxreason.evaluation.scores import (
    SampleScores,
    cluster,
    mean_interval,
    means,
    merge,
    paired_difference,
    pass_at_k,
    resampled_means,
    resampled_seeds,
    standard_errors,
    wilson,
)


def scored(values, clusters=None, subsets=None, weights=None):
    clusters = clusters or [str(i) for i in range(len(values))]
    subsets = subsets or [""] * len(values)
    weights = np.ones(len(values)) if weights is None else np.array(weights, float)
    return SampleScores(np.array(values, float), weights, tuple(clusters), tuple(subsets))


@pytest.mark.parametrize(("right", "n"), [(0, 15), (7, 30), (30, 30), (340, 500)])
def test_wilson_equals_scipys_interval(right, n):
    expected = scipy.stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right / n, n, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_mean_of_single_samples_has_the_plain_wilson_interval():
    found = mean_interval(cluster([scored([1, 0, 1, 1])]), 0.95, 100, 0)
    low, high = wilson(0.75, 4, 0.95)
    assert (found.mean, found.low, found.high) == (0.75, float(low), float(high))
    assert (found.n, found.formula) == (4, "wilson")


def test_four_identical_samples_of_a_question_count_as_one():
    once = [1, 0, 1, 1, 0, 1, 0, 0]
    names = [str(i) for i in range(8)]
    single = standard_errors(cluster([scored(once)]))
    repeated = cluster([scored(once * 4, names * 4)])
    assert standard_errors(repeated) == pytest.approx(single)
    found = mean_interval(repeated, 0.95, 100, 0)
    # se^2 = p q / (n - 1): an effective n of 7 rather than 32.
    assert (found.low, found.high) == pytest.approx([float(x) for x in wilson(0.5, 7, 0.95)])
    assert (found.n, found.formula) == (8, "wilson, effective n")


def test_standard_error_of_independent_samples_is_the_textbook_one():
    values = np.random.default_rng(0).random(50)
    expected = scipy.stats.sem(values)
    assert standard_errors(cluster([scored(values)]))[0] == pytest.approx(expected)


def test_all_wrong_samples_keep_an_interval_above_zero():
    found = mean_interval(cluster([scored([0] * 40, [str(i % 10) for i in range(40)])]), 0.95, 9, 0)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(float(wilson(0, 10, 0.95)[1]))


def test_fractional_scores_get_a_bootstrap_interval_near_the_t_interval():
    values = np.random.default_rng(1).random(200)
    found = mean_interval(cluster([scored(values)]), 0.95, 4000, 0)
    expected = scipy.stats.t.interval(0.95, 199, values.mean(), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.006)
    assert found.formula == "bootstrap over questions"


def test_subsets_are_averaged_and_not_pooled():
    scores = cluster([scored([1, 1, 1, 0, 0, 1], subsets=["a"] * 4 + ["b"] * 2)])
    assert means(scores)[0] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_weights_make_a_mean_over_what_they_count():
    scores = cluster([scored([1, 0.5, 0], weights=[1, 2, 3])])
    assert means(scores)[0] == pytest.approx(2 / 6)
    assert not scores.binary


def test_failed_grades_are_left_out_of_the_mean_and_of_n():
    found = mean_interval(cluster([scored([1, math.nan, 0, 1])]), 0.95, 100, 0)
    assert (found.mean, found.n) == (pytest.approx(2 / 3), 3)


def test_a_benchmark_without_any_grade_has_no_interval():
    found = mean_interval(cluster([scored([math.nan, math.nan])]), 0.95, 100, 0)
    assert math.isnan(found.mean) and found.formula.startswith("none")


def test_group_mean_is_the_mean_of_benchmark_means():
    group = merge(
        [cluster([scored([1, 1, 0, 0])]), cluster([scored([1] * 10, subsets=["x"] * 10)])]
    )
    assert means(group)[0] == pytest.approx(0.75)
    single = standard_errors(cluster([scored([1, 1, 0, 0])]))[0]
    assert standard_errors(group)[0] == pytest.approx(single / 2)


def test_bootstrap_spread_equals_the_standard_error():
    values = np.random.default_rng(2).integers(2, size=300)
    scores = cluster([scored(values, [str(i // 3) for i in range(300)])])
    draws = resampled_means(scores, 4000, np.random.default_rng(0))
    assert draws.std() == pytest.approx(standard_errors(scores)[0], rel=0.05)


def test_models_asked_other_questions_are_refused_with_one_of_them():
    with pytest.raises(ValueError, match=r"1 of them.*'c'"):
        cluster([scored([1, 0], ["a", "b"]), scored([1, 0, 1], ["a", "b", "c"])])


@pytest.mark.parametrize("seeds", [(0.1, 0.3), (0.0, 0.2, 0.7)])
def test_resampled_seeds_vary_as_much_as_fresh_ones_would(seeds):
    pooled = resampled_seeds(np.tile(seeds, (200_000, 1)), np.random.default_rng(0))
    assert pooled.mean() == pytest.approx(np.mean(seeds), abs=2e-3)
    assert pooled.var() == pytest.approx(np.var(seeds, ddof=1) / len(seeds), rel=0.02)


def test_paired_difference_of_a_model_with_itself_is_zero():
    values = np.random.default_rng(3).integers(2, size=100)
    found = paired_difference(cluster([scored(values), scored(values)]), 0.95, 500, 0)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_paired_difference_is_narrower_than_an_unpaired_one_and_meets_the_t_test():
    rng = np.random.default_rng(4)
    base = rng.integers(2, size=400)
    tuned = np.where(rng.random(400) < 0.9, base, 1)
    found = paired_difference(cluster([scored(base), scored(tuned)]), 0.95, 4000, 0)
    difference = tuned - base
    expected = scipy.stats.t.interval(0.95, 399, difference.mean(), scipy.stats.sem(difference))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.005)
    unpaired = 2 * 1.96 * math.sqrt(scipy.stats.sem(base) ** 2 + scipy.stats.sem(tuned) ** 2)
    assert found.high - found.low < 0.6 * unpaired


def test_seeds_that_disagree_widen_the_pooled_difference():
    base, good, bad = [0] * 200, [1] * 100 + [0] * 100, [0] * 200
    same = paired_difference(cluster([scored(base), scored(good), scored(good)]), 0.95, 2000, 0)
    apart = paired_difference(cluster([scored(base), scored(good), scored(bad)]), 0.95, 4000, 0)
    assert (same.mean, apart.mean) == (0.5, 0.25)
    # A quarter of the resamples holds the bad seed alone and a quarter the good one, each at
    # g / 2 (1 -+ sqrt 2) with g ~ N(0.5, se): the outer 2.5 % are the outer tenths of those.
    outer = scipy.stats.norm.ppf(0.9) * math.sqrt(0.25 / 200)
    expected = (0.5 + outer) / 2 * (1 - math.sqrt(2)), (0.5 + outer) / 2 * (1 + math.sqrt(2))
    assert (apart.low, apart.high) == pytest.approx(expected, abs=0.015)
    assert apart.high - apart.low > 4 * (same.high - same.low)
    assert apart.formula == "paired bootstrap over questions and 2 seeds"


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (8, 0, 4), (8, 7, 2), (10, 3, 10)])
def test_pass_at_k_equals_counting_all_subsets(n, c, k):
    picks = list(itertools.combinations(range(n), k))
    expected = sum(any(i < c for i in pick) for pick in picks) / len(picks)
    assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_refuses_fewer_samples_than_k():
    with pytest.raises(ValueError, match="k = 4"):
        pass_at_k(np.array([5, 3]), np.array([1, 1]), 4)
