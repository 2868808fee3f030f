"""Singular values, spread and angles: against numpy in float64, and known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import mesh_of

from jaxreason.analysis import spectra
from jaxreason.analysis.spectra import angles, factorise, spread


def orthonormal(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))[0]


def matrix(values, rows: int, columns: int) -> np.ndarray:
    left, right = orthonormal(rows, len(values), 0), orthonormal(columns, len(values), 1)
    return ((left * values) @ right.T).astype(np.float32)


def shares(values) -> np.ndarray:
    return np.square(values) / np.square(values).sum()


def entropy_rank(values) -> float:
    held = shares(values)[shares(values) > 0]
    return float(np.exp(-(held * np.log(held)).sum()))


SPECTRA = {
    "noise": None,
    "slow": np.arange(1, 301.0) ** -0.5,
    "fast": np.arange(1, 301.0) ** -1.5,
    "low rank": np.array([5.0, 4, 3, 2]),
    "flat": np.ones(240),
}


def of(name: str) -> np.ndarray:
    noise = np.random.default_rng(3).standard_normal((300, 420)).astype(np.float32)
    return noise if SPECTRA[name] is None else matrix(SPECTRA[name], 300, 420)


@pytest.mark.parametrize("name", SPECTRA)
def test_singular_values_are_those_of_numpy_in_float64(name):
    x = of(name)
    expected = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    found = factorise(x)
    assert found.exact
    np.testing.assert_allclose(found.values, expected, atol=1e-6 * expected[0])
    whole = (found.left * found.values) @ found.right.T
    np.testing.assert_allclose(whole, x, atol=1e-5 * expected[0])
    many = spread(x, found)
    assert many.effective_rank == pytest.approx(entropy_rank(expected), rel=1e-4)
    assert many.stable_rank == pytest.approx(1 / shares(expected)[0], rel=1e-5)
    assert many.top_1 == pytest.approx(shares(expected)[:3].sum(), rel=1e-5)
    assert many.top_10 == pytest.approx(shares(expected)[:30].sum(), rel=1e-5)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("wide", [True, False])
def test_of_a_large_matrix_the_leading_values_and_the_spread_are_as_close_as_documented(name, wide):
    x = of(name) if wide else of(name).T
    expected = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    found = factorise(x, side=100)
    assert not found.exact and len(found.values) == spectra.LEADING
    np.testing.assert_allclose(found.values[:32], expected[:32], atol=2e-3 * expected[0])
    many = spread(x, found)
    assert many.effective_rank == pytest.approx(entropy_rank(expected), rel=0.005)
    assert many.stable_rank == pytest.approx(1 / shares(expected)[0], rel=2e-3)
    assert many.top_1 == pytest.approx(shares(expected)[:3].sum(), rel=0.005)
    assert many.top_10 == pytest.approx(shares(expected)[:30].sum(), rel=0.005)


@pytest.mark.parametrize("name", SPECTRA)
def test_other_random_probes_give_nearly_the_same_spread(name):
    x = of(name)
    found = factorise(x, side=100)
    expected = entropy_rank(np.linalg.svd(x.astype(np.float64), compute_uv=False))
    ranks = [spread(x, found, seed).effective_rank for seed in range(12)]
    np.testing.assert_allclose(ranks, expected, rtol=0.005)


def test_directions_of_a_large_low_rank_matrix_are_found_exactly():
    found = factorise(of("low rank"), side=100)
    assert np.max(angles(orthonormal(300, 4, 0), found.left[:, :4])) < 0.01
    assert np.max(angles(orthonormal(420, 4, 1), found.right[:, :4])) < 0.01


def test_a_matrix_of_zeros_has_no_spread():
    x = np.zeros((20, 30), np.float32)
    assert spread(x, factorise(x)) is None


def test_principal_angles_are_those_of_a_known_rotation():
    basis = orthonormal(50, 6, 5)
    first, away = basis[:, :3], basis[:, 3:]
    radians = np.radians([1e-4, 30.0, 90.0])
    turned = first * np.cos(radians) + away * np.sin(radians)
    mixed = turned @ orthonormal(3, 3, 8)  # another basis of the same span
    np.testing.assert_allclose(sorted(angles(first, mixed)), [1e-4, 30, 90], rtol=1e-6)
    np.testing.assert_allclose(angles(first, first @ orthonormal(3, 3, 9)), 0, atol=1e-10)
    np.testing.assert_allclose(angles(first, basis), 0, atol=1e-10)  # one within the other


def test_random_directions_meet_as_often_as_chance_says():
    met = [
        np.square(np.cos(np.radians(angles(orthonormal(60, 6, i), orthonormal(60, 6, 100 + i)))))
        for i in range(40)
    ]
    assert np.mean(met) == pytest.approx(6 / 60, rel=0.1)


@pytest.mark.parametrize("side", [100, 2048])
def test_an_accelerator_gives_the_same_within_a_mesh_of_many_devices(monkeypatch, side):
    x = of("slow")
    expected = factorise(x, side), spread(x, factorise(x, side))
    monkeypatch.setattr(spectra, "_library", lambda: jnp)
    with jax.set_mesh(mesh_of(8)):
        found = factorise(x, side)
        many = spread(x, found)
    np.testing.assert_allclose(found.values, expected[0].values, rtol=1e-4)
    np.testing.assert_allclose(many, expected[1], rtol=1e-4)
