import numpy as np
import pytest

from jaxreason.analysis.metric_types import Prepared, bootstrap, of_many
from jaxreason.results.clusters import ratio_error
from jaxreason.results.statistics import percentiles


def mean_of(values):
    values = np.asarray(values, float)
    return Prepared(lambda texts: {"mean": float(values[texts].mean())}, {})


def test_resamples_have_the_spread_of_a_mean():
    values = np.random.default_rng(0).normal(size=100)
    found = bootstrap(mean_of(values), range(100), 2000, (0, 1))
    assert found.values["mean"] == pytest.approx(values.mean())
    assert found.draws["mean"].std() == pytest.approx(values.std() / 10, rel=0.03)
    low, high = percentiles(found.draws["mean"], 0.95)
    assert low == pytest.approx(values.mean() - 0.196 * values.std(), abs=0.02)
    assert high == pytest.approx(values.mean() + 0.196 * values.std(), abs=0.005)


def test_the_same_seed_draws_the_same_texts_for_every_metric():
    values = np.arange(20.0)
    one = bootstrap(mean_of(values), range(20), 50, (3, 4)).draws["mean"]
    two = bootstrap(mean_of(2 * values), range(20), 50, (3, 4)).draws["mean"]
    np.testing.assert_allclose(two, 2 * one)


def test_texts_of_one_cluster_are_drawn_together_and_count_as_one():
    """40 questions, of which 20 are in the file three times: 80 texts tell no more than 40."""
    each = np.random.default_rng(0).normal(size=40)
    clusters = [*range(20), *range(20), *range(40)]
    values = each[clusters]
    found = bootstrap(mean_of(values), clusters, 4000, (3, 4))
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters)
    assert found.values["mean"] == pytest.approx(values.mean())
    assert found.draws["mean"].std() == pytest.approx(ratio_error(sums, sizes), rel=0.05)
    many = of_many(lambda texts: {"mean": values[texts].mean(1)}, {})
    at_once = bootstrap(many, clusters, 4000, (3, 4)).draws["mean"]
    np.testing.assert_allclose(at_once, found.draws["mean"])


def test_a_metric_that_does_many_selections_at_once_has_the_same_draws():
    values = np.random.default_rng(0).normal(size=20)
    many = of_many(lambda texts: {"mean": values[texts].mean(1)}, {})
    one, two = (bootstrap(metric, range(20), 50, (3, 4)) for metric in (mean_of(values), many))
    assert two.values == pytest.approx(one.values)
    np.testing.assert_allclose(two.draws["mean"], one.draws["mean"])


def test_what_is_undefined_on_all_texts_is_left_out_and_a_resample_without_a_value_is_replaced():
    """The share of threes among what is not zero: with one text that is not, most resamples are undefined."""
    values = np.array([0.0, 0.0, 0.0, 3.0])

    def statistic(texts):
        some = values[texts][values[texts] > 0]
        return {"threes": float((some == 3).mean()) if len(some) else np.nan, "never": np.nan}

    found = bootstrap(Prepared(statistic, {}), range(4), 50, (0,))
    assert found.values == {"threes": 1.0} and list(found.draws) == ["threes"]
    np.testing.assert_array_equal(found.draws["threes"], np.ones(50))
    values[3] = 0.0
    assert bootstrap(Prepared(statistic, {}), range(4), 50, (0,)).values == {}
