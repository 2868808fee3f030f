import itertools

import numpy as np
import pytest
from state_features import features, on_all, pair, rotation

from jaxreason.analysis.cka import (
    cka_distance,
    debiased_alignment,
    gram,
    layer_map,
    plain_alignment,
    similarity,
)
from jaxreason.analysis.layerwise import resample_counts
from jaxreason.analysis.metric_types import bootstrap

KINDS = pytest.mark.parametrize("alignment", [plain_alignment, debiased_alignment])


def of(x, y, alignment=plain_alignment, texts=None):
    """CKA of each layer with itself, of all texts or a selection."""
    held = resample_counts(np.arange(len(x))[None] if texts is None else texts[None], len(x))
    pairs = zip(gram(x), gram(y), strict=True)
    return np.array([similarity(one, other, held, alignment)[0] for one, other in pairs])


def brute_force(K, L, texts):
    """HSIC as sums over different texts of a selection, by its definition."""

    def mean(size, term):
        chosen = itertools.permutations(range(len(texts)), size)
        found = [term(*(texts[i] for i in c)) for c in chosen if len({texts[i] for i in c}) == size]
        return np.mean(found)

    return (
        mean(2, lambda i, j: K[i, j] * L[i, j])
        - 2 * mean(3, lambda i, j, k: K[i, j] * L[i, k])
        + mean(4, lambda i, j, k, m: K[i, j] * L[k, m])
    )


def test_cka_is_kornbliths_formula_on_features():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 1, 5)), rng.normal(size=(20, 1, 5))
    a, b = (part[:, 0] - part[:, 0].mean(0) for part in (x, y))
    cross = np.linalg.norm(b.T @ a, "fro") ** 2
    expected = cross / (np.linalg.norm(a.T @ a, "fro") * np.linalg.norm(b.T @ b, "fro"))
    assert of(x, y)[0] == pytest.approx(expected)


@KINDS
def test_a_rotated_scaled_and_shifted_copy_has_cka_one(alignment):
    x = features()
    np.testing.assert_allclose(of(x, 3 * x @ rotation(6) + 1, alignment), 1)


@KINDS
def test_another_scale_on_each_axis_is_seen(alignment):
    x = features()
    stretched = x * np.array([1, 1, 1, 1, 1, 50.0])
    assert (of(x, stretched, alignment) < 0.9).all()


def test_orthogonal_directions_have_cka_zero():
    x = np.array([1, -1, 1, -1.0])[:, None, None] * np.ones((1, 1, 1))
    y = np.array([1, 1, -1, -1.0])[:, None, None] * np.ones((1, 1, 1))
    assert of(x, y)[0] == pytest.approx(0)


@KINDS
def test_states_that_do_not_vary_are_alike_only_if_both_do_not(alignment):
    still, moving = np.full((5, 1, 3), 0.1), np.random.default_rng(2).normal(size=(5, 1, 3))
    assert of(still, still, alignment)[0] == 1
    assert of(still, moving, alignment)[0] == 0


def test_debiased_alignment_is_the_mean_over_different_texts_also_where_a_resample_repeats_some():
    K, L = gram(features(7, 2, seed=3))
    for texts in ([0, 1, 2, 3, 4, 5, 6], [0, 0, 2, 3, 5, 5, 5], [6, 1, 1, 2, 2, 4, 0]):
        found = debiased_alignment(K, L, resample_counts(np.array([texts]), 7))[0]
        assert found == pytest.approx(brute_force(K, L, texts), rel=1e-9)


def test_debiased_cka_of_unrelated_features_is_about_zero_where_plain_cka_is_high():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 5, 400)), rng.normal(size=(40, 5, 400))
    assert of(x, y).mean() > 0.85
    assert abs(of(x, y, debiased_alignment).mean()) < 0.03


def test_the_map_of_layers_is_the_debiased_cka_of_every_pair():
    x, y = features(9, 3, seed=5), features(9, 3, seed=6)
    y[:, 2] = x[:, 0] @ rotation(6)
    y[:, 1] = 1.0
    found = layer_map(gram(x), gram(y))
    assert found.shape == (3, 3) and found[0, 2] == pytest.approx(1)
    np.testing.assert_array_equal(found[:, 1], 0)
    for row, column in itertools.product(range(3), (0, 2)):
        one = of(x[:, [row]], y[:, [column]], debiased_alignment)[0]
        assert found[row, column] == pytest.approx(one)


def test_in_the_map_layers_that_do_not_vary_are_alike_and_unlike_all_others():
    rng = np.random.default_rng(3)
    still, moving = np.ones((6, 1, 4)), rng.normal(size=(6, 1, 4))
    pair = [np.concatenate(both, axis=1) for both in ((still, moving), (moving, still))]
    found = layer_map(*map(gram, pair))
    np.testing.assert_allclose(found, [[0, 1], [1, 0]], atol=1e-12)


def test_a_resample_is_centred_anew():
    x, y = features(10, seed=7), features(10, seed=8)
    texts = np.array([0, 0, 3, 4, 9, 9, 8, 1])
    np.testing.assert_allclose(of(x, y, texts=texts), of(x[texts], y[texts]))
    found = cka_distance(pair(x, y, "all")).statistic(texts)
    expected = 1 - of(x, y, debiased_alignment, texts)
    assert found["debiased_distance.all"] == pytest.approx(expected.mean())


def test_the_values_of_plain_cka_on_all_texts_are_those_of_its_layers():
    x, y = features(10, seed=7), features(10, seed=8)
    found, expected = on_all(cka_distance(pair(x, y)), 10), 1 - of(x, y)
    assert found["distance.reply"] == pytest.approx(expected.mean())
    assert found["final_distance.reply"] == pytest.approx(expected[-1])


def test_the_interval_of_plain_cka_holds_the_value_with_fewer_texts_than_dimensions():
    """Copies of a text would raise the CKA of a resample, so that all of them would be nearer."""
    rng = np.random.default_rng(14)
    x, changes = (size * rng.normal(size=(40, 2, 400)) for size in (1, 0.5))
    found = bootstrap(cka_distance(pair(x, x + changes)), range(40), 200, (0,))
    for name in ("distance.reply", "final_distance.reply"):
        low, high = np.quantile(found.draws[name], (0.025, 0.975))
        assert low < found.values[name] < high, name


def test_a_resample_of_fewer_than_four_different_texts_has_no_debiased_cka_and_is_replaced():
    x, y = features(5, seed=10), features(5, seed=11)
    prepared = cka_distance(pair(x, y))
    found = prepared.statistic(np.array([0, 0, 1, 2, 2]))
    assert np.isnan(found["debiased_distance.reply"])
    draws = bootstrap(prepared, range(5), 200, (0,)).draws["debiased_distance.reply"]
    defined = [
        prepared.statistic(np.array(texts))["debiased_distance.reply"]
        for texts in itertools.product(range(5), repeat=5)
        if len(set(texts)) >= 4
    ]
    np.testing.assert_array_equal(np.isin(draws.round(9), np.round(defined, 9)), True)


def test_a_debiased_norm_below_zero_defines_no_cka():
    x, y = (np.random.default_rng(seed).normal(size=(6, 1, 64)) for seed in (1, 5))
    (K,), texts = gram(x), np.array([0, 0, 1, 1, 4, 5])
    assert brute_force(K, K, texts) < 0
    assert np.isnan(of(x, y, debiased_alignment, texts)[0])
    assert np.isnan(of(x, x, debiased_alignment, texts)[0])


def test_one_changed_layer_is_found_in_its_row_of_the_details():
    x = features(layers=4)
    y = x.copy()
    y[:, 2] = features(seed=9)[:, 0]
    details = cka_distance(pair(x, y)).details["reply"]
    assert np.flatnonzero(np.array(details["cka"]) < 1 - 1e-9).tolist() == [2]
    assert np.flatnonzero(np.array(details["debiased_distance"]) > 1e-9).tolist() == [2]
    moved = np.array(details["base_to_tuned"]) - details["base_to_base"]
    assert np.flatnonzero(np.abs(moved).max(0) > 1e-3).tolist() == [2]


def test_three_texts_have_no_debiased_cka():
    x = features(3)
    prepared = cka_distance(pair(x, x))
    assert on_all(prepared, 3) == {}
    assert prepared.details == {"undefined": "3 texts have no debiased CKA; it takes 4"}
