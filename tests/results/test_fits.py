"""Fits of forgetting against drift: against numpy and formulas worked out beside the code."""

import numpy as np
import pytest

from jaxreason.results.fits import Points, fit, predict, resampled_runs, why_no_fit


def made(noise=0.3, runs=6, steps=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 2, size=runs * steps)
    y = 1 + 0.5 * x + 2 * x**2 + noise * rng.normal(size=len(x))
    return Points(x, y, np.repeat(np.arange(runs), steps))


@pytest.mark.parametrize("degree", [1, 2])
def test_coefficients_and_r2_are_those_of_least_squares(degree):
    points = made()
    found = fit(points, degree, resampled_runs(6, 10, 0))
    expected = np.polyfit(points.x, points.y, degree)[::-1]
    assert found.coefficients == pytest.approx(expected, rel=1e-9)
    left = points.y - np.polyval(expected[::-1], points.x)
    r2 = 1 - left.var() / points.y.var()
    assert found.r2 == pytest.approx(r2, rel=1e-9)
    assert found.adjusted == pytest.approx(1 - (1 - r2) * 23 / (23 - degree), rel=1e-9)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_r2_of_points_left_out_one_by_one_is_that_of_the_hat_matrix(degree):
    """PRESS: what is left of a point that its fit has not seen is e_i / (1 - h_i)."""
    points = made(runs=12, steps=1)
    found = fit(points, degree, resampled_runs(12, 2, 0))
    powers = np.vander(points.x, degree + 1)
    hat = powers @ np.linalg.inv(powers.T @ powers) @ powers.T
    press = (((points.y - hat @ points.y) / (1 - np.diag(hat))) ** 2).sum()
    about = (((points.y - points.y.mean()) * 12 / 11) ** 2).sum()
    assert found.unseen == pytest.approx(1 - press / about, rel=1e-9)


def test_a_resample_holds_whole_runs_and_is_fitted_as_if_they_were_there_so_often():
    points, counts = made(), resampled_runs(6, 40, 3)
    assert (counts.sum(1) == 6).all() and len(np.unique(counts, axis=0)) > 30
    found = fit(points, 2, counts)
    for number in (0, 7):
        rows = np.repeat(np.arange(24), counts[number][points.runs])
        x, y = points.x[rows], points.y[rows]
        expected = np.polyfit(x, y, 2)
        assert found.coefficient_draws[number] == pytest.approx(expected[::-1], rel=1e-7)
        left = y - np.polyval(expected, x)
        assert found.r2_draws[number] == pytest.approx(1 - left.var() / y.var(), rel=1e-9)


def test_what_is_a_parabola_has_an_r2_of_1_and_noise_predicts_no_run_that_it_has_not_seen():
    exact = fit(made(noise=0), 2, resampled_runs(6, 50, 0))
    assert exact.coefficients == pytest.approx((1, 0.5, 2), rel=1e-6)
    assert exact.r2 == pytest.approx(1) and exact.unseen == pytest.approx(1)
    assert np.nanmin(exact.r2_draws) == pytest.approx(1)
    rng = np.random.default_rng(1)
    noise = Points(rng.normal(size=12), rng.normal(size=12), np.arange(12) // 2)
    found = fit(noise, 2, resampled_runs(6, 10, 0))
    assert 0 < found.r2 < 0.5 and found.unseen < found.adjusted


@pytest.mark.parametrize(
    ("x", "y", "degree", "why"),
    [
        ([1.0], [2.0], 1, "1 points, of 3 that a fit of degree 1 needs"),
        ([1.0, 2.0, 3.0], [2.0, 1.0, 0.0], 2, "3 points, of 4"),
        ([2.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], 1, "1 different values, of 2"),
        ([1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], 2, "2 different values, of 3"),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 1, "the same loss"),
        ([1.0, float("nan"), 3.0], [1.0, 2.0, 3.0], 1, "not a number"),
        ([0.9, 0.9 + 1e-8, 0.9 - 1e-8], [1.0, 2.0, 4.0], 1, "its values differ by rounding alone"),
        ([0.0, 1.0, 1.0 + 1e-12, 0.0], [1.0, 2.0, 4.0, 3.0], 2, "too many of its values differ"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 2.5], 1, ""),
    ],
)
def test_what_cannot_be_fitted_is_said(x, y, degree, why):
    points = Points(np.array(x), np.array(y), np.arange(len(x)))
    found = why_no_fit(points, degree)
    assert why in found and bool(why) == bool(found)


def test_resamples_and_left_out_runs_that_cannot_be_fitted_are_nan_and_nothing_else():
    """Two runs at one place each: a resample of one of them alone has no slope, and neither has what is left."""
    points = Points(
        np.array([1.0, 1.0, 2.0, 2.0]), np.array([0.0, 1.0, 2.0, 4.0]), np.array([0, 0, 1, 1])
    )
    counts = np.array([[1, 1], [2, 0], [0, 2]])
    found = fit(points, 1, counts)
    assert found.coefficients == pytest.approx((-2, 2.5))
    assert found.r2_draws[0] == pytest.approx(found.r2)
    assert np.isnan(found.r2_draws[1:]).all() and np.isnan(found.coefficient_draws[1:]).all()
    assert np.isnan(found.unseen)


@pytest.mark.parametrize("spread", [1e-3, 1e-5])
def test_a_measure_that_is_nearly_equal_at_every_point_has_the_fit_of_what_it_differs_by(spread):
    """The share of changed weights may lie between 99.90 and 99.91 % at every checkpoint of every run."""
    points, counts = made(), resampled_runs(6, 20, 0)
    near = Points(0.999 - spread * points.x, points.y, points.runs)
    assert why_no_fit(near, 2) == ""
    found, expected = fit(near, 2, counts), fit(points, 2, counts)
    assert found.r2 == pytest.approx(expected.r2, rel=1e-6)
    assert found.unseen == pytest.approx(expected.unseen, rel=1e-4)
    assert found.r2_draws == pytest.approx(expected.r2_draws, rel=1e-6)
    assert predict(found.coefficients, near.x) == pytest.approx(
        predict(expected.coefficients, points.x), rel=1e-4
    )


@pytest.mark.parametrize("loss", [0.1, 1.1, 7.7])
def test_a_resample_whose_losses_are_equal_has_no_r2_whatever_their_mean_rounds_to(loss):
    x = np.array([1.0, 2.0, 3.0, 1.5, 2.5, 3.5])
    points = Points(x, np.array([loss, loss, loss, 1.0, 2.0, 3.0]), np.array([0, 0, 0, 1, 1, 1]))
    counts = np.array([[number, 0] for number in (2, 3, 5, 7)] + [[1, 1]])
    found = fit(points, 1, counts)
    assert np.isnan(found.r2_draws[:4]).all() and np.isfinite(found.r2_draws[4])
