import numpy as np
import pytest

from jaxreason.evaluation.scores import SampleScores, cluster, means
from jaxreason.report.files import Sample
from jaxreason.report.statistics import average, estimate, interval, pool_seeds, tabulate, wilson


def samples(values, subset="", failed=()):
    return [
        Sample(subset, f"q{i}", {"correct": float(v)}, i in failed, True, 5, False)
        for i, v in enumerate(values)
    ]


def test_a_score_is_the_mean_over_subsets_of_the_share_of_right_answers():
    model = samples([1, 1, 1, 0], "a") + samples([0, 1], "b")
    found = estimate(tabulate([model], "correct"), 10, (0,))
    assert found.means[0] == pytest.approx((0.75 + 0.5) / 2)


def test_failed_samples_are_left_out():
    found = estimate(tabulate([samples([1, 0, 0, 1], failed={1, 2})], "correct"), 10, (0,))
    assert found.means[0] == 1.0


def test_a_weight_counts_a_sample_as_often_as_it_says():
    model = [
        Sample("", f"q{i}", {"share": share, "instructions": n}, False, True, 5, False)
        for i, (share, n) in enumerate(((0.5, 2.0), (1.0, 3.0), (0.0, 1.0)))
    ]
    found = estimate(tabulate([model], "share", "instructions"), 10, (0,))
    assert found.means[0] == pytest.approx(4 / 6)


def test_only_questions_that_all_models_were_asked_count():
    items = tabulate([samples([1, 0, 1]), samples([1, 1])], "correct")
    assert items.sums.shape == (2, 2)
    np.testing.assert_array_equal(items.sums.sum(0), [1, 2])


def test_resamples_of_one_model_have_the_binomial_spread():
    model = samples([1] * 60 + [0] * 40)
    found = estimate(tabulate([model], "correct"), 4000, (1,))
    assert found.draws[:, 0].std() == pytest.approx(np.sqrt(0.6 * 0.4 / 100), rel=0.05)


def test_differences_are_paired_over_questions():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, 200)
    tuned = base.copy()
    tuned[:20] = 1 - tuned[:20]
    found = estimate(tabulate([samples(base), samples(tuned)], "correct"), 4000, (1,))
    difference = tuned - base.astype(float)
    assert (found.draws[:, 1] - found.draws[:, 0]).std() == pytest.approx(
        difference.std() / np.sqrt(200), rel=0.06
    )
    same = estimate(tabulate([samples(base), samples(base)], "correct"), 100, (1,))
    assert not (same.draws[:, 1] - same.draws[:, 0]).any()


def test_groups_average_benchmarks_and_their_resamples():
    parts = [
        estimate(tabulate([samples(v)], "correct"), 50, (i,)) for i, v in enumerate(([1, 0], [1]))
    ]
    whole = average(parts)
    assert whole.means[0] == pytest.approx(0.75)
    np.testing.assert_allclose(whole.draws, (parts[0].draws + parts[1].draws) / 2)


@pytest.mark.parametrize("seeds", [(0.1, 0.3), (0.0, 0.2, 0.7)])
def test_resampled_seeds_vary_as_much_as_fresh_ones_would(seeds):
    draws = np.tile(seeds, (200_000, 1))
    pooled = pool_seeds(draws, (0,))
    assert pooled.mean() == pytest.approx(np.mean(seeds), abs=2e-3)
    assert pooled.var() == pytest.approx(np.var(seeds, ddof=1) / len(seeds), rel=0.02)


def test_one_seed_does_not_vary():
    draws = np.random.default_rng(0).normal(size=(50, 1))
    np.testing.assert_array_equal(pool_seeds(draws, (0,)), draws[:, 0])


def test_the_interval_is_the_middle_of_the_draws():
    found = interval(0.5, np.arange(101) / 100, 0.9)
    assert (found.mean, found.low, found.high) == (0.5, pytest.approx(0.05), pytest.approx(0.95))


def test_wilsons_interval_is_the_published_one():
    # 0 of 15 at 95 %: 0 to 0.2039 (Newcombe 1998's method 3).
    found = wilson(0.0, 15, 1.959964)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(0.2039, abs=1e-4)


def test_means_are_those_of_the_evaluation():
    rng = np.random.default_rng(0)
    model = [
        Sample(
            "ab"[i % 2],
            f"q{i // 3}",
            {"hit": float(v), "size": float(1 + i % 4)},
            i % 11 == 0,
            True,
            5,
            False,
        )
        for i, v in enumerate(rng.integers(0, 2, 90))
    ]
    theirs = SampleScores(
        values=np.array([np.nan if s.failed else s.scores["hit"] for s in model]),
        weights=np.array([s.scores["size"] for s in model]),
        clusters=tuple(s.cluster for s in model),
        subsets=tuple(s.subset for s in model),
    )
    ours = estimate(tabulate([model], "hit", "size"), 10, (0,))
    assert ours.means[0] == pytest.approx(means(cluster([theirs]))[0])
