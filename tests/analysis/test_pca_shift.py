import numpy as np
import pytest

from jaxreason.analysis.metric_types import TextMeasurements
from jaxreason.analysis.pca_shift import pca_shift, principal_axes, project, shifts


def features(seed=0, texts=30, layers=3, width=6):
    rng = np.random.default_rng(seed)
    scales = np.array([5.0, 3.0, 1.0, 0.5, 0.2, 0.1])[:width]
    return rng.normal(size=(texts, layers, width)) * scales + 2.0


def test_axes_are_the_eigenvectors_of_the_covariance():
    x = features()[:, 0]
    axes, variances, explained = principal_axes(x)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    for number in range(2):
        cosine = abs(axes[number] @ vectors[:, -1 - number])
        assert cosine == pytest.approx(1, abs=1e-9)
        assert axes[number][np.argmax(np.abs(axes[number]))] > 0
    np.testing.assert_allclose(variances, values[::-1][:2], rtol=1e-9)
    np.testing.assert_allclose(explained, values[::-1][:2] / values.sum(), rtol=1e-9)


@pytest.mark.parametrize("size", [(30, 6), (5, 40)], ids=["many texts", "fewer than dimensions"])
def test_more_axes_are_those_of_the_svd_with_their_shares(size):
    x = np.random.default_rng(0).normal(size=size) * np.geomspace(5, 0.5, size[1])
    axes, variances, explained = principal_axes(x, 4)
    _, values, expected = np.linalg.svd(x - x.mean(0))
    np.testing.assert_allclose(np.abs((axes * expected[:4]).sum(1)), 1, rtol=1e-9)
    np.testing.assert_allclose(variances, values[:4] ** 2 / (size[0] - 1), rtol=1e-9)
    np.testing.assert_allclose(explained, values[:4] ** 2 / (values**2).sum(), rtol=1e-9)


def test_features_that_do_not_vary_have_no_axes():
    axes, variances, explained = principal_axes(np.full((10, 4), 3.0))
    assert not axes.any() and not variances.any() and not explained.any()


def test_a_known_shift_along_the_first_axis_has_its_size_in_every_layer():
    base = features()
    axes = np.stack([principal_axes(base[:, layer])[0][0] for layer in range(3)])
    found = shifts(project(base, base + 2.5 * axes), np.arange(30))
    assert found["shift"] == pytest.approx(2.5)
    assert found["layer_shift"] == pytest.approx(2.5)


def test_opposite_shifts_of_two_layers_cancel_in_the_papers_distance_only():
    base = features(layers=2)
    axes = np.stack([principal_axes(base[:, layer])[0][1] for layer in range(2)])
    axes[1] *= -1
    found = shifts(project(base, base + 4 * axes), np.arange(30))
    assert found["shift"] == pytest.approx(0, abs=1e-9)
    assert found["layer_shift"] == pytest.approx(4)


def test_a_shift_across_the_plane_is_not_seen():
    base = features(layers=1)
    axes = principal_axes(base[:, 0])[0]
    across = np.linalg.svd(axes)[2][-1]
    found = shifts(project(base, base + 7 * across), np.arange(30))
    assert found["layer_shift"] == pytest.approx(0, abs=1e-9)


def test_the_scaled_shift_counts_spreads_of_the_bases_texts():
    base = features(layers=1)
    axes, variances, _ = principal_axes(base[:, 0])
    found = shifts(project(base, base + 3 * np.sqrt(variances.sum()) * axes[0]), np.arange(30))
    assert found["scaled_shift"] == pytest.approx(3)


def test_the_distance_is_that_of_the_authors_coordinates():
    # (0, PC2 of the base) and (PC1 tuned - PC1 base, PC2 tuned), averaged over layers.
    base, tuned = features(0), features(1) * 1.3
    projected = project(base, tuned)
    b, t = projected.base.mean(0), projected.tuned.mean(0)
    expected = np.hypot((t[:, 0] - b[:, 0]).mean(), t[:, 1].mean() - b[:, 1].mean())
    assert shifts(projected, np.arange(30))["shift"] == pytest.approx(expected)


def test_two_texts_span_no_plane_and_have_no_shift():
    pair = {"reply": features(0)[:2]}
    prepared = pca_shift(TextMeasurements(pair, pair, np.zeros((2, 3)), {}, np.ones((2, 1), bool)))
    assert prepared.statistic(np.arange(2)) == {}
    assert prepared.details == {"undefined": "2 texts span no plane; it takes 3"}


def test_texts_whose_states_are_all_alike_have_no_shift():
    x = np.tile(np.random.default_rng(8).normal(size=(3, 6)), (5, 1, 1))
    measured = TextMeasurements({"all": x}, {"all": x + 1}, None, {}, np.ones((5, 1), bool))
    prepared = pca_shift(measured)
    assert prepared.statistic(np.arange(5)) == {}
    assert prepared.details == {"undefined": "the base's features vary in no layer"}


def test_the_metric_names_every_pooling_and_keeps_the_layers_centres():
    base = {"reply": features(0), "last": features(1)}
    tuned = {"reply": features(0) + 1, "last": features(1)}
    measured = TextMeasurements(base, tuned, np.zeros((30, 3)), {}, np.ones((30, 1), bool))
    prepared = pca_shift(measured)
    values = prepared.statistic(np.arange(30))
    assert values["shift.last"] == 0 and values["shift.reply"] > 0
    centres = prepared.details["reply"]
    moved = np.array(centres["tuned_centre"]) - np.array(centres["base_centre"])
    assert values["layer_shift.reply"] == pytest.approx(np.linalg.norm(moved, axis=1).mean())


def test_details_hold_the_shares_of_as_many_components_as_asked_for_of_both_models():
    base = features(layers=2)
    tuned = base * np.array([1, 1, 4.0, 1, 1, 1])
    pair = {"reply": base}, {"reply": tuned}
    measured = TextMeasurements(*pair, np.zeros((30, 2)), {}, np.ones((30, 1), bool))
    kept = pca_shift(measured, 5).details["reply"]
    for layer in range(2):
        for name, part in (("explained_variance", base), ("explained_variance_tuned", tuned)):
            variances = np.linalg.eigvalsh(np.cov(part[:, layer].T))[::-1]
            expected = variances[:5] / variances.sum()
            np.testing.assert_allclose(kept[name][layer], expected, atol=1e-6)


def test_details_say_how_much_of_the_shift_the_plane_holds():
    base = features(layers=2)
    axes = np.linalg.svd(base[:, 0] - base[:, 0].mean(0))[2]
    tuned = base + np.stack([3 * axes[1] + 4 * axes[3], np.zeros(6)])
    pair = {"reply": base}, {"reply": tuned}
    measured = TextMeasurements(*pair, np.zeros((30, 2)), {}, np.ones((30, 1), bool))
    assert pca_shift(measured).details["reply"]["shift_in_plane"] == pytest.approx([9 / 25, 0])
