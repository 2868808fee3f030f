"""p-values, false discovery rates and smallest differences against scipy, brute force and simulation."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from jaxreason.results.clusters import SampleScores, cluster, means, merge
from jaxreason.results.significance import (
    FLIPS,
    contributions,
    difference_error,
    false_discovery_rates,
    p_value,
    paired_significance,
    smallest_detectable,
)
from jaxreason.results.statistics import difference_interval, resample_questions


def scored(values, clusters=None, subsets=None, weights=None):
    clusters = clusters or [str(i) for i in range(len(values))]
    subsets = subsets or [""] * len(values)
    weights = np.ones(len(values)) if weights is None else np.array(weights, float)
    return SampleScores(np.array(values, float), weights, tuple(clusters), tuple(subsets))


def pair(base, tuned, **where):
    return cluster([scored(base, **where), scored(tuned, **where)])


def swapped(scores):
    """The p-value from exchanging the two models on every subset of the questions, by `means` alone."""
    first = means(scores)
    observed, hits, count = abs(first[1] - first[0]), 0, len(scores.strata)
    for swap in itertools.product((False, True), repeat=count):
        order = np.where(np.array(swap)[:, None], [[1, 0]], [[0, 1]])
        other = np.take_along_axis(scores.sums, order, 1)
        mean = means(type(scores)(other, scores.sizes, scores.strata, scores.weights, False))
        hits += abs(mean[1] - mean[0]) >= observed - 1e-12
    return hits / 2**count


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 0), (7, 2), (12, 12), (40, 21)])
def test_single_answers_have_mcnemars_exact_p_value(gained, lost):
    both = [1] * 30 + [0] * 25
    scores = pair(both + [0] * gained + [1] * lost, both + [1] * gained + [0] * lost)
    expected = 1.0
    if gained + lost:
        expected = scipy.stats.binomtest(gained, gained + lost, 0.5).pvalue
    assert p_value(scores, [1], [0], 0) == pytest.approx(expected, rel=1e-9)


def test_scores_of_any_kind_have_the_p_value_of_scipys_permutation_test():
    rng = np.random.default_rng(0)
    base, tuned = rng.random(11), rng.random(11) + 0.15
    expected = scipy.stats.permutation_test(
        (tuned - base,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert p_value(pair(base, tuned), [1], [0], 0) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_weighted_scores_in_strata_have_the_p_value_of_swapping_every_question(seed):
    rng = np.random.default_rng(seed)
    names = [f"q{i // 2}" for i in range(18)]  # two samples of a question
    where = {
        "clusters": names,
        "subsets": ["a"] * 12 + ["b"] * 6,
        "weights": rng.integers(1, 4, 18),
    }
    scores = pair(rng.random(18), rng.random(18) + 0.2, **where)
    assert p_value(scores, [1], [0], 0) == pytest.approx(swapped(scores), abs=1e-12)


def test_samples_of_one_question_are_flipped_together():
    base, tuned = [0] * 32, [1] * 32
    four = [str(i // 8) for i in range(32)]
    assert p_value(pair(base, tuned, clusters=four), [1], [0], 0) == pytest.approx(2 / 2**4)
    assert p_value(pair(base, tuned), [1], [0], 0) == pytest.approx(2 / 2**32, rel=1e-6)


def test_random_flips_near_the_exact_p_value_and_repeat_with_the_seed():
    rng = np.random.default_rng(1)
    base = rng.random(300)
    tuned = base + rng.normal(0.02, 0.2, 300)
    scores = pair(base, tuned)
    found = p_value(scores, [1], [0], 5)
    expected = scipy.stats.permutation_test(
        (tuned - base,), np.mean, permutation_type="samples", n_resamples=10_000, rng=2
    ).pvalue
    assert found == pytest.approx(expected, abs=0.005)
    assert found == p_value(scores, [1], [0], 5) and found * (1 + FLIPS) == pytest.approx(
        round(found * (1 + FLIPS))
    )


def test_a_p_value_from_random_flips_is_never_zero():
    scores = pair(np.zeros(200), 1 + np.random.default_rng(0).random(200))
    assert p_value(scores, [1], [0], 0) == pytest.approx(1 / (1 + FLIPS))


def test_models_that_are_alike_are_called_different_as_often_as_alpha_says():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(400):
        chance = rng.random(60)
        base, tuned = (rng.random((2, 60)) < chance).astype(float)
        hits += p_value(pair(base, tuned), [1], [0], 0) <= 0.05
    # The exact test is conservative; 400 trials at 5 % give 20 +- 9.
    assert 2 <= hits <= 30


def test_contributions_add_up_to_the_difference_and_a_lost_grade_is_none():
    group = merge([pair([1, 0, 1], [1, 1, math.nan]), pair([0.5, 0.2], [0.1, 0.4])])
    each = contributions(group, [1], [0])
    mean = means(group)
    assert each.sum() == pytest.approx(mean[1] - mean[0])
    same = pair([1, 1, 1, 1], [1, 1, 1, math.nan])
    assert contributions(same, [1], [0]) == pytest.approx(0, abs=1e-12)
    assert p_value(same, [1], [0], 0) == 1


def test_seeds_that_disagree_make_a_difference_less_sure():
    base, good, bad = [0] * 200, [1] * 100 + [0] * 100, [0] * 200
    same = cluster([scored(base), scored(good), scored(good)])
    apart = cluster([scored(base), scored(good), scored(bad)])
    assert p_value(same, [1, 2], [0], 0) < 0.001
    # The mean of two seeds at 0.5 and 0 resamples to 0.25 -+ 0.354 half of the time.
    assert p_value(apart, [1, 2], [0], 0) == pytest.approx(0.5, abs=0.005)


def test_a_benchmark_without_a_mean_has_no_p_value_and_no_smallest_difference():
    scores = pair([math.nan, math.nan], [1, 0])
    found = paired_significance(scores, [1], [0], 0.95, 0)
    assert math.isnan(found.p) and math.isnan(found.detectable)


def test_p_values_agree_with_the_intervals_that_are_shown():
    """The interval leaves out 0 where p is well below 0.05, and holds it where p is well above."""
    rng, clear = np.random.default_rng(7), {True: 0, False: 0}
    for gain in np.linspace(-0.5, 0.5, 25):
        chance = rng.uniform(0.2, 0.8, 300)
        base, tuned = rng.random((2, 150, 2)) < np.stack([chance[:150], chance[150:]], 1)[None]
        tuned = tuned | (rng.random((150, 2)) < gain)
        base = base | (rng.random((150, 2)) < -gain)
        names = [f"q{i // 2}" for i in range(300)]
        scores = pair(base.ravel(), tuned.ravel(), clusters=names)
        found = difference_interval(resample_questions(scores, (0, 1), 2000, 0), [1], [0], 0.95, 1)
        p = p_value(scores, [1], [0], 0)
        if p < 0.03 or p > 0.08:
            left_out = found.low > 0 or found.high < 0
            assert left_out == (p < 0.03), (p, found)
            clear[left_out] += 1
    assert min(clear.values()) >= 5


def test_error_of_a_paired_difference_is_the_textbook_one():
    rng = np.random.default_rng(2)
    base, tuned = rng.random((2, 80))
    found = difference_error(pair(base, tuned), [1], [0])
    assert found == pytest.approx(scipy.stats.sem(tuned - base))
    halves = merge([pair(base[:30], tuned[:30]), pair(base[30:], tuned[30:])])
    parts = [scipy.stats.sem((tuned - base)[part]) for part in (slice(30), slice(30, 80))]
    assert difference_error(halves, [1], [0]) == pytest.approx(math.hypot(*parts) / 2)


def test_parts_in_which_every_question_adds_the_same_get_two_questions_of_each_kind():
    group = merge([pair([0] * 3, [1] * 3), pair([0, 1] * 2 + [1], [0, 1] * 2 + [1])])
    shares = (5 / 7, 2 / 9)  # 3 of 3 questions differ, and 0 of 5
    variance = sum(p * (1 - p) / n for p, n in zip(shares, (7, 9), strict=True)) / 4
    assert difference_error(group, [1], [0]) == pytest.approx(math.sqrt(variance))


@pytest.mark.parametrize("values", [([1, 1], [1, 1]), ([0, 1, 0, 1], [1, 1, 0, 1])])
def test_questions_that_no_model_has_a_grade_for_make_no_error_smaller(values):
    lost = [math.nan] * 96
    whole = difference_error(pair(*values), [1], [0])
    assert difference_error(pair(*([*x, *lost] for x in values)), [1], [0]) == pytest.approx(whole)


def test_the_spread_of_seeds_is_part_of_the_error():
    base = [0, 1] * 50
    seeds = [[1] * share + [0] * (100 - share) for share in (40, 50, 60)]
    scores = cluster([scored(base), *map(scored, seeds)])
    questions = np.mean(seeds, axis=0) - base
    spread = np.var([0.4, 0.5, 0.6], ddof=1) / 3
    expected = math.sqrt(scipy.stats.sem(questions) ** 2 + spread)
    assert difference_error(scores, [1, 2, 3], [0]) == pytest.approx(expected)


def test_a_true_difference_of_the_smallest_detectable_size_is_found_four_times_in_five():
    rng, n = np.random.default_rng(11), 400

    def draw(gain):
        fate = rng.random(n)  # of a question: gained, lost, or the same for both
        base = np.where(fate < 0.1, 0, np.where(fate < 0.2 - gain, 1, rng.integers(2, size=n)))
        tuned = np.where(fate < 0.1, 1, np.where(fate < 0.2 - gain, 0, base))
        return pair(base, tuned)

    sizes = [smallest_detectable(draw(0.054), [1], [0], 0.95) for _ in range(30)]
    size = float(np.mean(sizes))
    # Of 400 questions 14.6 % differ: (1.96 + 0.84) sqrt((0.146 - 0.054^2) / 400).
    assert size == pytest.approx(0.053, abs=0.002)
    found = [p_value(draw(size), [1], [0], 0) <= 0.05 for _ in range(500)]
    assert 0.72 < np.mean(found) < 0.88


def test_three_questions_answered_alike_could_only_show_a_large_difference():
    found = smallest_detectable(pair([0] * 3, [0] * 3), [1], [0], 0.95)
    z = scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)
    assert found == pytest.approx(z * math.sqrt(2 / 7 * 5 / 7 / 7))
    assert 0.4 < found < 0.6


def test_false_discovery_rates_by_hand_and_without_the_unknown():
    p = [0.01, 0.04, math.nan, 0.03, 0.5]
    # Sorted 0.01, 0.03, 0.04, 0.5 times 4 / rank: 0.04, 0.06, 0.0533, 0.5; smallest from above.
    found = false_discovery_rates(p)
    assert math.isnan(found[2])
    assert [found[i] for i in (0, 1, 3, 4)] == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert false_discovery_rates([]) == [] and math.isnan(false_discovery_rates([math.nan])[0])


def test_of_comparisons_called_true_few_are_false():
    rng, shares = np.random.default_rng(5), []
    for _ in range(300):
        p = np.concatenate([rng.random(80), rng.beta(0.05, 5, 20)])
        called = np.array(false_discovery_rates(p)) <= 0.1
        shares.append(called[:80].sum() / max(called.sum(), 1))
    assert np.mean(shares) < 0.1
