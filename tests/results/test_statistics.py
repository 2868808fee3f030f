"""Means, intervals and paired differences against scipy, closed forms and hand numbers."""

import math

import numpy as np
import pytest
import scipy.stats

from jaxreason.results.clusters import SampleScores, cluster, means, merge, standard_errors
from jaxreason.results.statistics import (
    average,
    difference_interval,
    interval_of_ratio,
    mean_interval,
    percentiles,
    resample_questions,
    resampled_means,
    resampled_seeds,
    seeds_interval,
    wilson,
    wilson_end,
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
    found = mean_interval(cluster([scored([1, 0, 1, 1])]), 0.95, 100)
    low, high = wilson(0.75, 4, 0.95)
    assert (found.mean, found.low, found.high) == (0.75, float(low), float(high))
    assert (found.n, found.formula) == (4, "wilson")


def test_four_identical_samples_of_a_question_count_as_one():
    once = [1, 0, 1, 1, 0, 1, 0, 0]
    names = [str(i) for i in range(8)]
    single = standard_errors(cluster([scored(once)]))
    repeated = cluster([scored(once * 4, names * 4)])
    assert standard_errors(repeated) == pytest.approx(single)
    found = mean_interval(repeated, 0.95, 100)
    # se^2 = p q / (n - 1): an effective n of 7 rather than 32.
    assert (found.low, found.high) == pytest.approx([float(x) for x in wilson(0.5, 7, 0.95)])
    assert (found.n, found.formula) == (8, "wilson, effective n")


@pytest.mark.parametrize("right", [1, 2, 5])
def test_questions_that_could_not_be_graded_make_a_score_no_surer(right):
    """Of a subset's 100 questions a few were graded, all right; the other subset has 50 of 100 right."""
    other = scored([1, 0] * 50, subsets=["b"] * 100)
    found = {}
    for failed in (0, 100 - right):
        few = scored([1] * right + [math.nan] * failed, subsets=["a"] * (right + failed))
        both = SampleScores(
            np.concatenate([few.values, other.values]),
            np.concatenate([few.weights, other.weights]),
            few.clusters + other.clusters,
            few.subsets + other.subsets,
        )
        found[failed] = mean_interval(cluster([both]), 0.95, 100)
    assert found[100 - right] == found[0]
    assert found[0].high - found[0].low > 0.25


def test_standard_error_of_independent_samples_is_the_textbook_one():
    values = np.random.default_rng(0).random(50)
    expected = scipy.stats.sem(values)
    assert standard_errors(cluster([scored(values)]))[0] == pytest.approx(expected)


def test_a_part_with_one_question_has_the_variance_of_the_whole():
    scores = cluster([scored([1, 1, 0, 1, 1], subsets=["a", *["b"] * 4])])
    overall = (1 + 0.75) / 2
    of_b = 0.75 * 0.25 / 3
    expected = math.sqrt((overall * (1 - overall) + of_b) / 4)
    assert standard_errors(scores) == pytest.approx([expected])


def test_all_wrong_samples_keep_an_interval_above_zero():
    found = mean_interval(cluster([scored([0] * 40, [str(i % 10) for i in range(40)])]), 0.95, 9)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(float(wilson(0, 10, 0.95)[1]))


def test_fractional_scores_get_a_bootstrap_interval_near_the_t_interval():
    values = np.random.default_rng(1).random(200)
    found = mean_interval(cluster([scored(values)]), 0.95, 4000)
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
    found = mean_interval(cluster([scored([1, math.nan, 0, 1])]), 0.95, 100)
    assert (found.mean, found.n) == (pytest.approx(2 / 3), 3)


def test_a_benchmark_without_any_grade_has_no_interval():
    found = mean_interval(cluster([scored([math.nan, math.nan])]), 0.95, 100)
    assert math.isnan(found.mean) and found.formula.startswith("none")


def test_group_mean_is_the_mean_of_benchmark_means():
    group = merge(
        [cluster([scored([1, 1, 0, 0])]), cluster([scored([1] * 10, subsets=["x"] * 10)])]
    )
    assert means(group)[0] == pytest.approx(0.75)
    single = standard_errors(cluster([scored([1, 1, 0, 0])]))[0]
    # A benchmark at the ceiling is no certain one: 2 right and 2 wrong answers more, 12 of 14.
    ceiling = 12 / 14 * 2 / 14 / 14
    assert standard_errors(group)[0] == pytest.approx(math.sqrt(single**2 + ceiling) / 2)


def test_bootstrap_spread_equals_the_standard_error():
    values = np.random.default_rng(2).integers(2, size=300)
    scores = cluster([scored(values, [str(i // 3) for i in range(300)])])
    draws = resampled_means(scores, 4000, np.random.default_rng(0), (0,))
    assert draws.std() == pytest.approx(standard_errors(scores)[0], rel=0.02)


def test_models_asked_other_questions_are_refused_with_one_of_them():
    with pytest.raises(ValueError, match=r"1 of them.*'c'"):
        cluster([scored([1, 0], ["a", "b"]), scored([1, 0, 1], ["a", "b", "c"])])


@pytest.mark.parametrize("seeds", [(0.1, 0.3), (0.0, 0.2, 0.7)])
def test_resampled_seeds_vary_as_much_as_fresh_ones_would(seeds):
    pooled = resampled_seeds(np.tile(seeds, (200_000, 1)), np.random.default_rng(0))
    assert pooled.mean() == pytest.approx(np.mean(seeds), abs=2e-3)
    assert pooled.var() == pytest.approx(np.var(seeds, ddof=1) / len(seeds), rel=0.005)


def paired_difference(scores, resamples, models=(0, 1, 1)):
    """The second and later models, seeds of one arm, minus the first."""
    columns = list(range(1, scores.sums.shape[1]))
    found = resample_questions(scores, models[: len(columns) + 1], resamples, 0)
    return difference_interval(found, columns, [0], 0.95, 1)


def test_a_model_that_answers_every_question_alike_may_still_differ_on_another():
    """No question of 100 came out differently: of those not asked, at most Wilson's share does."""
    values = np.random.default_rng(3).integers(2, size=100)
    found = paired_difference(cluster([scored(values), scored(values)]), 500)
    end = float(wilson(0, 100, 0.95)[1])
    assert (found.mean, found.low, found.high) == (0, pytest.approx(-end), pytest.approx(end))
    assert end == pytest.approx(0.0370, abs=1e-4)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_two_models_at_floor_or_ceiling_have_a_difference_with_an_interval(score):
    found = paired_difference(cluster([scored([score] * 3), scored([score] * 3)]), 20_000)
    assert found.mean == 0
    # Newcombe's hybrid score interval (1998, method 10) is +-0.5615; his ends at once are rare.
    assert -0.5615 < found.low < -0.4 and 0.4 < found.high < 0.5615
    assert found.low == pytest.approx(-found.high, abs=0.005)


def test_a_gain_on_every_one_of_few_questions_is_not_certain():
    found = paired_difference(cluster([scored([0.0] * 3), scored([1.0] * 3)]), 20_000)
    # Newcombe's interval: 1 - hypot(0.5615, 0.5615) = 0.206 to 1.
    assert found.mean == 1 and found.high == 1 and 0.206 < found.low < 0.45


def test_a_difference_of_seeds_that_disagree_stays_between_minus_1_and_1():
    scores = cluster([scored([0.0] * 8), scored([1.0] * 8), scored([1.0] * 4 + [0.0] * 4)])
    found = resample_questions(scores, (0, 1, 1), 4000, 0)
    gained = difference_interval(found, [1, 2], [0], 0.95, 1)
    # Both seeds are often the better one: 0.75 + sqrt(2) 0.25 is beyond 1.
    assert (gained.mean, gained.high) == (0.75, 1.0) and 0 < gained.low < 0.4
    lost = difference_interval(found, [0], [1, 2], 0.95, 1)
    assert (lost.mean, lost.low) == (-0.75, -1.0) and -0.4 < lost.high < 0


def test_a_part_at_the_floor_widens_the_difference_of_a_group():
    rng = np.random.default_rng(5)
    base, tuned = rng.integers(2, size=(2, 200))
    varied, floor = cluster([scored(base), scored(tuned)]), cluster([scored([0] * 4)] * 2)
    alone = difference_interval(resample_questions(varied, (0, 1), 4000, 0), [1], [0], 0.95, 1)
    parts = [
        resample_questions(varied, (0, 1), 4000, 0),
        resample_questions(floor, (0, 1), 4000, 1),
    ]
    group = difference_interval(average(parts), [1], [0], 0.95, 1)
    assert group.mean == pytest.approx(alone.mean / 2)
    assert group.high - group.low > 2 * (alone.high - alone.low) / 2


def test_paired_difference_is_narrower_than_an_unpaired_one_and_meets_the_t_test():
    rng = np.random.default_rng(4)
    base = rng.integers(2, size=400)
    tuned = np.where(rng.random(400) < 0.9, base, 1)
    found = paired_difference(cluster([scored(base), scored(tuned)]), 4000)
    difference = tuned - base
    expected = scipy.stats.t.interval(0.95, 399, difference.mean(), scipy.stats.sem(difference))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.005)
    unpaired = 2 * 1.96 * math.sqrt(scipy.stats.sem(base) ** 2 + scipy.stats.sem(tuned) ** 2)
    assert found.high - found.low < 0.6 * unpaired


def test_seeds_that_disagree_widen_the_pooled_difference():
    base, good, bad = [0] * 200, [1] * 100 + [0] * 100, [0] * 200
    same = paired_difference(cluster([scored(base), scored(good), scored(good)]), 2000)
    apart = paired_difference(cluster([scored(base), scored(good), scored(bad)]), 4000)
    assert (same.mean, apart.mean) == (0.5, 0.25)
    # A quarter of the resamples holds the bad seed alone and a quarter the good one, each at
    # g / 2 (1 -+ sqrt 2) with g ~ N(0.5, se): the outer 2.5 % are the outer tenths of those.
    outer = scipy.stats.norm.ppf(0.9) * math.sqrt(0.25 / 200)
    expected = (0.5 + outer) / 2 * (1 - math.sqrt(2)), (0.5 + outer) / 2 * (1 + math.sqrt(2))
    assert (apart.low, apart.high) == pytest.approx(expected, abs=0.005)
    assert apart.high - apart.low > 4 * (same.high - same.low)
    assert apart.formula == "paired bootstrap over questions and 2 seeds"


def test_the_ends_of_a_share_that_never_varies_are_the_quantiles_of_its_draws():
    scores = cluster([scored([0] * 12), scored([1] * 12)])
    draws = resampled_means(scores, 40_000, np.random.default_rng(0), (0, 1))
    for column, mean in enumerate((0.0, 1.0)):
        ends = [float(end) for end in wilson(mean, 12, 0.95)]
        assert percentiles(draws[:, column], 0.95) == pytest.approx(ends, abs=0.01)
    assert wilson_end(0.0, 12, -1.0) == 0.0 and wilson_end(1.0, 12, 1.0) == 1.0


def test_seeds_of_a_model_at_the_floor_share_its_questions_and_so_its_interval():
    scores = cluster([scored([0] * 3)] * 3)
    found = resample_questions(scores, (0, 1, 1), 500, 0)
    np.testing.assert_array_equal(found.draws[:, 1], found.draws[:, 2])
    assert (found.draws[:, 0] != found.draws[:, 1]).any()
    pooled = seeds_interval(found, [1, 2], 0.95, 500, 0)
    one = seeds_interval(found, [1], 0.95, 500, 0)
    assert (
        (pooled.low, pooled.high) == (one.low, one.high) == (0.0, pytest.approx(0.5615, abs=1e-4))
    )


def test_seeds_at_the_floor_that_were_graded_on_different_questions_have_an_interval_of_all():
    nan = math.nan
    scores = cluster([scored([0, nan, 0, nan]), scored([nan, 0, nan, nan])])
    found = seeds_interval(resample_questions(scores, (0, 0), 100, 0), [0, 1], 0.95, 100, 0)
    assert (found.mean, found.low, found.n) == (0, 0, 3)
    assert found.high == pytest.approx(0.5615, abs=1e-4)


def test_fractional_scores_at_the_floor_have_wilsons_interval():
    found = mean_interval(cluster([scored([0, 0, 0], weights=[2, 3, 1])]), 0.95, 100)
    assert (found.mean, found.low) == (0, 0) and found.high == pytest.approx(0.5615, abs=1e-4)


def test_a_mean_over_subsets_at_the_ceiling_is_at_the_ceiling():
    names = [f"s{i % 7}" for i in range(21)]
    found = mean_interval(cluster([scored([1] * 21, subsets=names)]), 0.95, 100)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(float(wilson(1, 21, 0.95)[0]))


def test_an_interval_of_seeds_stays_between_0_and_1():
    scores = cluster([scored([0] * 4 + [0] * 6), scored([0] * 10), scored([1] + [0] * 9)])
    found = seeds_interval(resample_questions(scores, (0, 1, 1), 2000, 0), [1, 2], 0.95, 2000, 0)
    assert found.low == 0 and 0 < found.high < 1
    assert found.formula == "bootstrap over questions and 2 seeds"


def test_resamples_without_a_graded_sample_are_left_out():
    scores = cluster([scored([1, 0, 1]), scored([math.nan, 1, 0])])
    found = paired_difference(scores, 2000)
    assert math.isfinite(found.low) and math.isfinite(found.high)


def test_group_draws_are_the_mean_of_the_benchmarks_draws():
    parts = [
        resample_questions(cluster([scored(v)]), (0,), 50, i)
        for i, v in enumerate(([1, 0], [1, 1, 0]))
    ]
    whole = average(parts)
    np.testing.assert_allclose(whole.draws, (parts[0].draws + parts[1].draws) / 2)
    assert means(whole.scores)[0] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_one_seed_does_not_vary():
    draws = np.random.default_rng(0).normal(size=(50, 1))
    np.testing.assert_array_equal(resampled_seeds(draws, np.random.default_rng(0)), draws[:, 0])


def test_the_interval_is_the_middle_of_the_draws():
    assert percentiles(np.arange(101) / 100, 0.9) == pytest.approx((0.05, 0.95))


def test_a_bootstrap_of_several_samples_a_question_resamples_the_questions():
    """Four samples of a question that are alike say no more than one of them."""
    values = np.random.default_rng(6).random(60)
    once = mean_interval(cluster([scored(values)]), 0.95, 4000)
    names = [str(i) for i in range(60)]
    found = mean_interval(cluster([scored(np.tile(values, 4), names * 4)]), 0.95, 4000)
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=1e-9)
    apart = mean_interval(cluster([scored(np.tile(values, 4))]), 0.95, 4000)
    assert apart.high - apart.low == pytest.approx((once.high - once.low) / 2, rel=0.1)


def test_undefined_resamples_take_the_ends_of_the_interval_away():
    draws = np.arange(1000.0)
    assert interval_of_ratio(draws, 0.9) == (49.0, 950.0, 0.0)
    draws[:10] = math.nan
    assert interval_of_ratio(draws, 0.9)[:2] == (49.0, 960.0)
    draws[:60] = math.nan
    assert interval_of_ratio(draws, 0.9) == (None, None, 0.06)
