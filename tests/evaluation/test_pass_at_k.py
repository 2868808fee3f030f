"""pass@k against counting, and its refusal."""

import itertools

import numpy as np
import pytest

from jaxreason.evaluation.pass_at_k import pass_at_k


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (8, 0, 4), (8, 7, 2), (10, 3, 10)])
def test_pass_at_k_equals_counting_all_subsets(n, c, k):
    picks = list(itertools.combinations(range(n), k))
    expected = sum(any(i < c for i in pick) for pick in picks) / len(picks)
    assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_refuses_fewer_samples_than_k():
    with pytest.raises(ValueError, match="k = 4"):
        pass_at_k(np.array([5, 3]), np.array([1, 1]), 4)
