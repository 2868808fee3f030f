import numpy as np
import pytest
import scipy.linalg
from state_features import features, in_one_layer, on_all, pair, rotation, turn

from jaxreason.analysis.metric_types import bootstrap
from jaxreason.analysis.subspaces import subspaces


def values(x, y, components):
    found = on_all(subspaces(pair(x, y), components), len(x))
    return found["angle.reply"], found["lost_variance.reply"]


def axes_of(x, components):
    return np.linalg.svd(x - x.mean(0))[2][:components].T


@pytest.mark.parametrize("size", [(30, 6), (8, 20)], ids=["many texts", "fewer than dimensions"])
@pytest.mark.parametrize("components", [1, 2, 4])
def test_angles_and_lost_variance_are_those_of_the_axes(size, components):
    texts, width = size
    x, y = (features(texts, 1, width, seed=seed) for seed in (0, 1))
    y = 0.3 * y + x @ rotation(width)
    ours, theirs = (axes_of(part[:, 0], components) for part in (x, y))
    angle, lost = values(x, y, components)
    expected = np.degrees(scipy.linalg.subspace_angles(ours, theirs).mean())
    assert angle == pytest.approx(expected, rel=1e-6)
    covariance = np.cov(y[:, 0].T)
    along = [np.trace(part.T @ covariance @ part) for part in (ours, theirs)]
    assert lost == pytest.approx(1 - along[0] / along[1], rel=1e-6)


def uncorrelated():
    """Two axes with spreads 3 and 1, and nothing else."""
    return np.array([[3.0, 1, 0], [3, -1, 0], [-3, 1, 0], [-3, -1, 0]])[:, None] + 5


def test_the_first_axis_turned_by_thirty_degrees_is_at_thirty_degrees():
    x = uncorrelated()
    angle, lost = values(x, x @ turn(3, 30), 1)
    assert angle == pytest.approx(30)
    # along the base's axis: 9 cos^2 + 1 sin^2, along its own: 9
    assert lost == pytest.approx(1 - (9 * 0.75 + 0.25) / 9)


def test_a_rotation_within_the_subspace_is_none_and_one_out_of_it_is():
    x = uncorrelated()
    assert values(x, x @ turn(3, 30), 2) == pytest.approx((0, 0), abs=1e-6)
    assert values(x, x @ turn(3, 40, 1, 2), 2)[0] == pytest.approx(20)  # of 0 and 40 degrees


def test_a_shift_and_a_scaling_turn_nothing():
    x = features()
    assert values(x, 3 * x - 8, 2) == pytest.approx((0, 0), abs=1e-6)


def test_one_rotated_layer_is_found_where_it_is():
    x = features(layers=5)
    tuned = in_one_layer(x, 3, lambda part: part @ rotation(6))
    found = subspaces(pair(x, tuned), 2).details["reply"]["angle"]
    assert np.flatnonzero(np.array(found) > 1e-4).tolist() == [3]


def test_as_many_axes_are_compared_as_both_models_have():
    x = uncorrelated()
    flat = x.copy()
    flat[..., 1] = 0
    assert values(x, flat, 3)[0] == pytest.approx(0, abs=1e-6)


def test_axes_that_one_model_lacks_hide_no_lost_variance():
    x = uncorrelated()
    line = (x - 5) * [1, 0, 0] @ turn(3, 30)
    # Along the base's first axis lies 9 cos^2 of 9; its second axis is not compared.
    assert values(x, line, 3) == pytest.approx((30, 0.25))


def test_intervals_hold_the_value():
    x = features(40, 2, 60)
    tuned = x + 0.5 * np.random.default_rng(3).normal(size=x.shape)
    found = bootstrap(subspaces(pair(x, tuned), 4), range(40), 200, (0,))
    for name, value in found.values.items():
        low, high = np.quantile(found.draws[name], (0.025, 0.975))
        assert low < value < high, name


def test_the_influence_of_texts_gives_the_spread_that_fresh_texts_have():
    """Of forty sets of texts, the values' spread is about what each set's interval says."""
    spreads, whole = [], []
    for seed in range(40):
        x = features(40, 1, seed=seed)
        tuned = x @ turn(6, 20) + 0.3 * features(40, 1, seed=100 + seed)
        found = bootstrap(subspaces(pair(x, tuned), 1), range(40), 100, (0,))
        spreads.append(found.draws["angle.reply"].std())
        whole.append(found.values["angle.reply"])
    assert np.mean(spreads) == pytest.approx(np.std(whole), rel=0.05)


def test_two_texts_span_no_plane():
    x = features(2)
    reason = {"undefined": "2 texts span no plane; it takes 3"}
    assert subspaces(pair(x, x)).details == reason
