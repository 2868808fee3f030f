import numpy as np
import pytest
import scipy.linalg
from state_features import features, in_one_layer, on_all, pair, rotation

from jaxreason.analysis.frechet import frechet
from jaxreason.analysis.metric_types import bootstrap


def reference(x, y):
    """Both parts by D x D matrices, as shares of the base's variance."""
    first, second = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    root = scipy.linalg.sqrtm(first)
    both = scipy.linalg.sqrtm(root @ second @ root).real
    mean = np.sum((x.mean(0) - y.mean(0)) ** 2)
    covariance = np.trace(first) + np.trace(second) - 2 * np.trace(both)
    return mean / np.trace(first), covariance / np.trace(first)


def test_both_parts_are_those_of_the_distance_of_gaussians():
    x, y = features(30), 1.5 * features(30, seed=1) @ rotation(6) - 1
    found = on_all(frechet(pair(x, y)), 30)
    expected = np.mean([reference(x[:, layer], y[:, layer]) for layer in range(3)], axis=0)
    assert found["mean.reply"] == pytest.approx(expected[0])
    assert found["covariance.reply"] == pytest.approx(expected[1], rel=1e-6)


def test_fewer_texts_than_dimensions_give_the_same_as_the_full_matrices():
    x, y = features(5, 1, 9), features(5, 1, 9, seed=1)
    padded = [np.concatenate([part] * 4) for part in (x, y)]  # the same mean and covariance
    one = frechet(pair(x, y)).statistic(np.arange(5))
    many = frechet(pair(*padded)).statistic(np.arange(20))
    assert one == pytest.approx(many)


def test_a_shift_is_seen_by_the_mean_part_alone():
    x = features()
    variance = x.var(0).sum(-1)
    found = on_all(frechet(pair(x, x + np.array([3.0, 4, 0, 0, 0, 0]))))
    assert found["mean.reply"] == pytest.approx((25 / variance).mean())
    assert found["covariance.reply"] == pytest.approx(0, abs=1e-12)


def test_a_scaling_about_the_mean_is_seen_by_the_covariance_part_alone():
    x = features()
    found = on_all(frechet(pair(x, x.mean(0) + 1.5 * (x - x.mean(0)))))
    assert found["covariance.reply"] == pytest.approx(0.25)
    assert found["mean.reply"] == pytest.approx(0, abs=1e-12)


def test_two_exchanged_axes_move_the_covariance_by_twice_the_squared_difference_of_their_spreads():
    x = np.array([[3.0, 1], [3, -1], [-3, 1], [-3, -1]])[:, None]
    found = on_all(frechet(pair(x, x[..., ::-1])), 4)
    assert found["covariance.reply"] == pytest.approx(2 * (3 - 1) ** 2 / 10)


def test_a_layer_in_which_the_base_does_not_vary_is_left_out():
    x = features()
    x[:, 0] = 4.0
    prepared = frechet(pair(x, in_one_layer(x, 1, lambda part: part + 1)))
    details = prepared.details["reply"]
    assert details["mean"][0] is None and details["mean"][1] > 0 and details["mean"][2] == 0
    assert on_all(prepared)["mean.reply"] == pytest.approx(details["mean"][1] / 2)
    still = frechet(pair(x[:, :1], x[:, :1] + 1))
    assert on_all(still) == {}
    assert still.details == {"undefined": "the base's features vary in no layer"}


def test_a_text_more_changes_both_parts_to_first_order_as_it_changes_the_distance():
    x, y = features(30, 1), 0.3 * features(30, 1, seed=1) + features(30, 1) @ rotation(6, 3)
    prepared = frechet(pair(x, y))
    whole, exact_whole = on_all(prepared, 30), reference(x[:, 0], y[:, 0])
    for text in (0, 7, 21):
        texts = np.concatenate([np.tile(np.arange(30), 50), [text]])
        found, exact = prepared.statistic(texts), reference(x[texts, 0], y[texts, 0])
        for name, one, all_of_it in zip(("mean", "covariance"), exact, exact_whole, strict=True):
            change = found[f"{name}.reply"] - whole[f"{name}.reply"]
            assert change == pytest.approx(one - all_of_it, rel=0.02), (name, text)


def test_the_interval_of_a_shift_that_is_small_beside_the_texts_changes_holds_the_value():
    """A resample's own squared shift would be larger by the variance of a mean over its texts."""
    rng, scales = np.random.default_rng(2), np.arange(1, 301.0) ** -0.5
    x, changes = (size * scales * rng.normal(size=(100, 1, 300)) for size in (1, 0.5))
    found = bootstrap(frechet(pair(x, x + 0.01 + changes)), range(100), 200, (0,))
    low, high = np.quantile(found.draws["mean.reply"], (0.025, 0.975))
    assert low < found.values["mean.reply"] < high


def test_a_layer_in_which_one_text_alone_differs_keeps_its_shares_in_resamples_without_that_text():
    """So it is with the embeddings under `last` if all replies but one end with the same token."""
    x = np.tile(np.array([3.0, 0, 0]), (12, 1, 1))
    x[5] = 4.0
    prepared = frechet(pair(x, x + np.array([100.0, 0, 0])))
    value = on_all(prepared)["mean.reply"]
    without = prepared.statistic(np.array([0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 10, 11]))
    assert value < without["mean.reply"] < 3 * value


def test_intervals_hold_the_value():
    prepared = frechet(pair(features(30), features(30, seed=1)))
    found = bootstrap(prepared, range(30), 200, (0,))
    for name, value in found.values.items():
        low, high = np.quantile(found.draws[name], (0.025, 0.975))
        assert low < value < high, name


def test_one_text_has_no_covariance():
    x = features(1)
    assert frechet(pair(x, x)).details == {"undefined": "1 text has no covariance; it takes 2"}
