import numpy as np
import pytest

from jaxreason.results.clusters import pooled_mean, ratio_error


def clusters(rng, num):
    numbers = rng.poisson(2, size=num)
    return np.array([(rng.normal(3, 1) + rng.normal(size=n)).sum() for n in numbers]), numbers


def test_the_error_of_a_ratio_is_the_spread_that_resampling_its_clusters_gives():
    rng = np.random.default_rng(0)
    sums, numbers = clusters(rng, 400)
    drawn = rng.integers(400, size=(4000, 400))
    spread = (sums[drawn].sum(1) / numbers[drawn].sum(1)).std()
    assert ratio_error(sums, numbers) == pytest.approx(spread, rel=0.03)
    # values of a cluster go together: as independent ones they would seem surer than they are
    assert ratio_error(sums, numbers) > 1.2 * np.sqrt(2) / np.sqrt(numbers.sum())


def test_clusters_without_a_value_play_no_part_and_one_alone_has_no_error():
    assert ratio_error(np.array([2.0, 0, 6]), np.array([1, 0, 2])) == pytest.approx(
        ratio_error(np.array([2.0, 6]), np.array([1, 2]))
    )
    assert ratio_error(np.array([2.0, 0]), np.array([1, 0])) is None


def test_the_error_of_a_ratio_of_few_clusters_by_hand():
    # r = 8 / 3 and r = 9 / 4: the residuals are -2/3, 2/3 and -5/4, -1/4, 6/4.
    two = ratio_error(np.array([2.0, 6]), np.array([1, 2]))
    assert two == pytest.approx(np.sqrt(2 * 8 / 9) / 3)
    three = ratio_error(np.array([1.0, 2, 6]), np.array([1, 1, 2]))
    assert three == pytest.approx(np.sqrt(3 / 2 * 62 / 16) / 4)


def test_a_pooled_mean_weighs_values_alike_and_its_strata_do_not_add_to_its_error():
    mean, error = pooled_mean([1.0, 4.0], [0.3, 0.1], [1, 3])
    assert mean == pytest.approx((1 + 12) / 4)
    assert error == pytest.approx(np.sqrt((1 * 0.3) ** 2 + (3 * 0.1) ** 2) / 4)


def test_strata_of_one_cluster_are_taken_together():
    mean, error = pooled_mean([1.0, 4.0, 2.0], [0.3, None, None], [2, 1, 1])
    together = ratio_error(np.array([4.0, 2.0]), np.array([1, 1]))
    assert mean == pytest.approx(2.0)
    assert error == pytest.approx(np.sqrt((2 * 0.3) ** 2 + (2 * together) ** 2) / 4)
    mean, error = pooled_mean([1.0, 4.0, 2.0], [0.3, None, None], [2, 1, 3])
    # The two alone are 10 in 4 values, r = 2.5: the residuals are 1.5 and -1.5.
    assert mean == pytest.approx(2.0)
    assert error == pytest.approx(np.sqrt((2 * 0.3) ** 2 + 2 * 2 * 1.5**2) / 6)
    assert pooled_mean([1.0, 4.0], [0.3, None], [2, 3]) == (pytest.approx(2.8), None)
