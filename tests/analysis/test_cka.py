import numpy as np
import pytest

from jaxreason.analysis.cka import cka_distance, gram, linear_cka
from jaxreason.analysis.measured import Measured


def of(x, y):
    return linear_cka(gram(x), gram(y))


def test_cka_is_kornbliths_formula_on_features():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 1, 5)), rng.normal(size=(20, 1, 5))
    a, b = (part[:, 0] - part[:, 0].mean(0) for part in (x, y))
    cross = np.linalg.norm(b.T @ a, "fro") ** 2
    expected = cross / (np.linalg.norm(a.T @ a, "fro") * np.linalg.norm(b.T @ b, "fro"))
    assert of(x, y)[0] == pytest.approx(expected)


def test_a_rotated_scaled_and_shifted_copy_has_cka_one():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(12, 2, 4))
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(of(x, 3 * x @ rotation + 1), 1)


def test_orthogonal_directions_have_cka_zero():
    x = np.array([1, -1, 1, -1.0])[:, None, None] * np.ones((1, 1, 1))
    y = np.array([1, 1, -1, -1.0])[:, None, None] * np.ones((1, 1, 1))
    assert of(x, y)[0] == pytest.approx(0)


def test_states_that_do_not_vary_are_alike_only_if_both_do_not():
    still, moving = np.ones((5, 1, 3)), np.random.default_rng(2).normal(size=(5, 1, 3))
    assert of(still, still)[0] == 1
    assert of(still, moving)[0] == 0


def test_a_resample_is_centred_anew():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(10, 2, 3)), rng.normal(size=(10, 2, 3))
    texts = np.array([0, 0, 3, 4, 9, 9, 9, 1])
    measured = Measured({"all": x}, {"all": y}, np.zeros((10, 2)), {}, np.ones((10, 1), bool))
    found = cka_distance(measured).statistic(texts)
    assert found["distance.all"] == pytest.approx((1 - of(x[texts], y[texts])).mean())
    assert found["final_distance.all"] == pytest.approx(1 - of(x[texts], y[texts])[-1])
