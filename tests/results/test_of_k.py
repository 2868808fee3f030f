"""pass@k and maj@k against counting all choices, and their refusals."""

import itertools
from collections import Counter

import numpy as np
import pytest

from jaxreason.errors import UserError
from jaxreason.results.of_k import maj_at_k, of_k_scores, pass_at_k


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (8, 0, 4), (8, 7, 2), (10, 3, 10)])
def test_pass_at_k_equals_counting_all_subsets(n, c, k):
    picks = list(itertools.combinations(range(n), k))
    expected = sum(any(i < c for i in pick) for pick in picks) / len(picks)
    assert pass_at_k(np.array([n]), np.array([c]), k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_refuses_fewer_samples_than_k():
    with pytest.raises(UserError, match="k = 4"):
        pass_at_k(np.array([5, 3]), np.array([1, 1]), 4)


def counted(answers, scores, k):
    """The majority vote of every choice of k samples, one by one."""
    total = 0.0
    picks = list(itertools.combinations(range(len(answers)), k))
    for pick in picks:
        votes = Counter(answers[i] for i in pick if answers[i] is not None)
        if votes:
            best = [a for a, n in votes.items() if n == max(votes.values())]
            of = {a: np.mean([s for b, s in zip(answers, scores) if b == a]) for a in best}
            total += np.mean(list(of.values()))
    return total / len(picks)


@pytest.mark.parametrize("seed", range(12))
def test_maj_at_k_equals_counting_all_subsets(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 11))
    answers = [None if a == 0 else str(a) for a in rng.integers(0, 5, size=n)]
    scores = [float(a == "1") for a in answers]
    for k in range(1, n + 1):
        found = maj_at_k(answers, scores, k)
        assert found == pytest.approx(counted(answers, scores, k), abs=1e-9), (answers, k)


def test_maj_at_k_by_hand():
    # Of 3 samples a, a, b the two drawn are aa once in three and ab, a tie, twice.
    assert maj_at_k(["a", "a", "b"], [1, 1, 0], 2) == pytest.approx(1 / 3 + 2 / 3 / 2)
    assert maj_at_k(["a", "a", "b"], [1, 1, 0], 3) == 1
    assert maj_at_k(["a", "a", "b"], [0, 0, 1], 3) == 0
    # One sample votes for itself, or for nothing.
    assert maj_at_k(["a", None, "b", None], [1, 0, 0, 0], 1) == pytest.approx(1 / 4)
    assert maj_at_k([None, None], [0, 0], 2) == 0


def test_answers_that_differ_in_white_space_are_the_same():
    assert maj_at_k(["1 + x", " 1  +\tx", "y", "z"], [1, 1, 0, 0], 4) == 1


def test_maj_at_k_of_many_samples_nears_the_most_likely_answer():
    answers = ["r"] * 30 + ["w"] * 20 + [str(i) for i in range(14)]
    scores = [1.0] * 30 + [0.0] * 34
    found = [maj_at_k(answers, scores, k) for k in (1, 16, 32, 64)]
    assert found[0] == pytest.approx(30 / 64) and found[3] == 1
    # Against simulation: 20,000 choices of 16.
    rng = np.random.default_rng(0)
    numbers = np.array([0] * 30 + [1] * 20 + list(range(2, 16)))
    won = 0.0
    for _ in range(20_000):
        votes = np.bincount(rng.choice(numbers, 16, replace=False), minlength=16)
        best = votes == votes.max()
        won += best[0] / best.sum()
    assert found[1] == pytest.approx(won / 20_000, abs=0.01)


def test_maj_at_k_refuses_fewer_samples_than_k():
    with pytest.raises(UserError, match=r"1 <= k <= 2, .* got k = 3"):
        maj_at_k(["a", "b"], [1, 0], 3)


def lines(*questions):
    """A question is a list of (answer, score); a score of None could not be graded."""
    return [
        {"id": str(i), "cluster": str(i), "subset": "", "extracted": answer}
        | {"error": "crash" if score is None else None}
        | {"scores": {} if score is None else {"right": float(score)}}
        for i, group in enumerate(questions)
        for answer, score in group
    ]


def test_questions_with_too_few_graded_samples_are_left_out():
    first, second = [("a", 1), ("a", 1), ("b", 0)], [("c", 0), ("d", 1), (None, None)]
    found = of_k_scores(lines(first, second), "right", (2, 3), (2, 3))
    assert list(found) == ["pass@2", "pass@3", "maj@2", "maj@3"]
    np.testing.assert_allclose(found["pass@2"][0].values, [1, 1])
    np.testing.assert_allclose(found["maj@2"][0].values, [2 / 3, 1 / 2])
    assert found["maj@3"][0].clusters == ("0",)
    assert "most frequent of 3 answers" in found["maj@3"][1]


@pytest.mark.parametrize(
    ("questions", "names"),
    [
        ([[("a", 1)], [("b", 0)]], []),
        ([[("a", 0.5), ("b", 1)]], []),
        ([[(None, 0), (None, 1)]], ["pass@1"]),
        ([[("a", 0), ("b", 1)]], ["pass@1", "maj@1"]),
    ],
)
def test_shares_and_single_samples_have_neither_and_answers_are_needed_to_vote(questions, names):
    assert list(of_k_scores(lines(*questions), "right", (1, 4), (1, 4))) == names
