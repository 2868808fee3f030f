import numpy as np
import pytest
import scipy.linalg
from state_features import features, in_one_layer, on_all, pair, rotation

from jaxreason.analysis.metric_types import bootstrap
from jaxreason.analysis.procrustes import procrustes

NAMES = ("rotation", "scaling", "rest")


def values(x, y):
    found = on_all(procrustes(pair(x, y)), len(x))
    return [found[f"{name}.reply"] for name in NAMES]


def reference(x, y):
    """By SciPy's rotation, as shares of the base's variance."""
    x, y = x - x.mean(0), y - y.mean(0)
    turn, _ = scipy.linalg.orthogonal_procrustes(x, y)
    turned = x @ turn
    scale = (turned * y).sum() / (x * x).sum()
    whole, rotated, scaled = (np.sum((y - part) ** 2) for part in (x, turned, scale * turned))
    return np.array([whole - rotated, rotated - scaled, scaled]) / (x * x).sum()


@pytest.mark.parametrize("size", [(30, 6), (8, 20)], ids=["many texts", "fewer than dimensions"])
def test_parts_are_those_of_the_best_rotation_and_scaling(size):
    texts, width = size
    x, y = (features(texts, 1, width, seed=seed) for seed in (0, 1))
    expected = reference(x[:, 0], 2 * y[:, 0])
    np.testing.assert_allclose(values(x, 2 * y), expected, rtol=1e-6)


def test_the_parts_and_the_shift_of_the_mean_add_up_to_the_mean_squared_distance():
    x, y = features(20, 1), features(20, 1, seed=1) + 3
    moved = np.sum((x.mean(0) - y.mean(0)) ** 2)
    whole = np.sum((x - y) ** 2, axis=-1).mean()
    variance = x.var(0).sum()
    assert sum(values(x, y)) + moved / variance == pytest.approx(whole / variance)


def test_a_shift_is_none_of_the_parts():
    x = features()
    np.testing.assert_allclose(values(x, x + 7), 0, atol=1e-12)


def test_a_half_turn_is_rotation_alone_and_four_times_the_variance():
    x = features()
    np.testing.assert_allclose(values(x, -x), [4, 0, 0], atol=1e-9)


def test_doubling_is_scaling_alone_and_once_the_variance():
    x = features()
    np.testing.assert_allclose(values(x, 2 * x), [0, 1, 0], atol=1e-9)


def test_a_rotated_scaled_and_shifted_copy_has_no_rest():
    x = features()
    parts = values(x, 1.5 * x @ rotation(6) + 4)
    np.testing.assert_allclose(parts[1:], [0.25, 0], atol=1e-9)
    assert parts[0] > 0.1


def test_another_scale_on_one_axis_is_what_is_left():
    x = features()
    assert values(x, x * np.array([1, 3.0, 1, 1, 1, 1]))[2] > 0.1


def test_one_rotated_layer_is_found_where_it_is():
    x = features(layers=5)
    tuned = in_one_layer(x, 3, lambda part: part @ rotation(6))
    details = procrustes(pair(x, tuned)).details["reply"]
    assert [number > 1e-9 for number in details["rotation"]] == [False] * 3 + [True, False]
    np.testing.assert_allclose(details["rest"], 0, atol=1e-9)


def test_intervals_hold_the_value():
    x = features(30)
    tuned = 1.3 * x @ rotation(6) + 0.5 * features(30, seed=1)
    found = bootstrap(procrustes(pair(x, tuned)), range(30), 200, (0,))
    for name, value in found.values.items():
        low, high = np.quantile(found.draws[name], (0.025, 0.975))
        assert low < value < high, name


def test_a_resample_in_which_the_base_does_not_vary_has_no_part_and_is_replaced():
    x = features(3)
    tuned = 1.3 * x @ rotation(6) + features(3, seed=1)
    prepared = procrustes(pair(x, tuned))
    assert all(np.isnan(value) for value in prepared.statistic(np.array([1, 1, 1])).values())
    draws = bootstrap(prepared, range(3), 200, (0,)).draws
    assert (draws["rotation.reply"] > 0).all() and np.isfinite(draws["rest.reply"]).all()


def test_one_text_has_no_shape():
    x = features(1)
    assert procrustes(pair(x, x)).details == {"undefined": "1 text has no shape; it takes 2"}
