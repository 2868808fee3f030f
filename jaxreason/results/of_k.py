"""Scores of k samples: whether one of them is right, and whether their most frequent answer is right."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxreason.errors import UserError
from jaxreason.results.clusters import SampleScores


def of_k_scores(
    lines: Sequence[dict], metric: str, pass_at: Sequence[int], maj_at: Sequence[int]
) -> dict[str, tuple[SampleScores, str]]:
    """Returns pass@k and maj@k of a set of samples: name -> a score for each question, and the formula.

    They cover the questions with at least k graded samples. Nothing is returned if there is one sample per question, if
    scores are not 0 or 1, or, for maj@k, if no sample has an answer.

    Args:
      lines: of the samples: `id`, `cluster`, `subset`, `error`, `extracted`, `scores`.
      metric: the score, right or wrong, of a sample.
      pass_at: the k of pass@k.
      maj_at: the k of maj@k.
    """
    questions: dict[str, list[dict]] = {}
    for line in lines:
        questions.setdefault(line["id"], []).append(line)
    graded = [[x for x in group if x["error"] is None] for group in questions.values()]
    flat = [line for group in graded for line in group]
    if len(lines) == len(questions) or any(x["scores"][metric] not in (0, 1) for x in flat):
        return {}
    found = {}
    for k in pass_at:
        formula = f"1 - C(n - c, {k}) / C(n, {k})"
        found |= _scored(f"pass@{k}", graded, k, lambda g, k=k: _passed(g, metric, k), formula)
    if any(line["extracted"] is not None for line in flat):
        for k in maj_at:
            formula = f"score of the most frequent of {k} answers, mean over all choices"
            found |= _scored(f"maj@{k}", graded, k, lambda g, k=k: _voted(g, metric, k), formula)
    return found


def _scored(
    name: str, graded: list[list[dict]], k: int, score: Callable[[list[dict]], float], formula: str
) -> dict[str, tuple[SampleScores, str]]:
    enough = [group for group in graded if len(group) >= k]
    if not enough:
        return {}
    values = SampleScores(
        values=np.array([score(group) for group in enough]),
        weights=np.ones(len(enough)),
        clusters=tuple(group[0]["cluster"] for group in enough),
        subsets=tuple(group[0]["subset"] for group in enough),
    )
    return {name: (values, formula)}


def _passed(group: list[dict], metric: str, k: int) -> float:
    right = round(sum(line["scores"][metric] for line in group))
    return float(pass_at_k(np.array([len(group)]), np.array([right]), k)[0])


def _voted(group: list[dict], metric: str, k: int) -> float:
    answers = [line["extracted"] for line in group]
    return maj_at_k(answers, [line["scores"][metric] for line in group], k)


def pass_at_k(
    num_samples: Int[np.ndarray, " C"], num_correct: Int[np.ndarray, " C"], k: int
) -> Float[np.ndarray, " C"]:
    """Returns the chance that at least one of k samples drawn from n is right: 1 - C(n - c, k) / C(n, k).

    This is the unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), through log factorials.

    Raises:
      UserError: k is larger than a question's number of samples.
    """
    n, c = np.asarray(num_samples, int), np.asarray(num_correct, int)
    if k < 1 or (n < k).any():
        raise UserError(
            f"pass@k: expected 1 <= k <= {n.min()}, the samples of every question, got k = {k}."
        )
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n.max() + 1)))])
    wrong = n - c
    missed = (
        log_factorial[wrong]
        - log_factorial[np.maximum(wrong - k, 0)]
        - log_factorial[n]
        + log_factorial[n - k]
    )
    return np.where(wrong >= k, -np.expm1(missed), 1.0)


def maj_at_k(answers: Sequence[str | None], scores: Sequence[float], k: int) -> float:
    """Returns the expected score of the most frequent answer among k of a question's n samples.

    It is the exact mean over all C(n, k) choices; of equally frequent answers each one is taken equally often. Answers
    are equal if their texts are, up to white space. A sample without an answer has no vote, and k samples without any
    answer score 0. An answer's score is the mean over the samples that gave it.

    Args:
      answers: of each sample; None if nothing was found in the reply.
      scores: of each sample.
      k: the number of votes.

    Raises:
      UserError: k is larger than the number of samples.
    """
    if not 1 <= k <= len(answers):
        raise UserError(
            f"maj@k: expected 1 <= k <= {len(answers)}, the samples of the question, got k = {k}."
        )
    texts = [None if answer is None else " ".join(answer.split()) for answer in answers]
    counts = Counter(text for text in texts if text is not None)
    total: dict[str, float] = dict.fromkeys(counts, 0.0)
    for text, score in zip(texts, scores, strict=True):
        if text is not None:
            total[text] += score
    classes = tuple(sorted((count, total[text] / count) for text, count in counts.items()))
    return _vote(classes, len(answers), k)


# Most of many questions have one of a few distributions of votes.
@functools.lru_cache(maxsize=4096)
def _vote(classes: tuple[tuple[int, float], ...], num_samples: int, k: int) -> float:
    """Returns the expected score. `classes` are (samples, score) of each answer; other samples have no answer."""
    silent = num_samples - sum(count for count, _ in classes)
    most = min(max((count for count, _ in classes), default=0), k)
    return float(sum(_won_with(top, classes, silent, num_samples, k) for top in range(1, most + 1)))


def _won_with(top: int, classes, silent: int, num_samples: int, k: int) -> float:
    """Returns the part of the expectation in which the winner has `top` votes.

    `ways[u, r]` is the share of choices that have taken u samples so far and have r answers with `top` votes. `won` is
    the same, weighted by the sum of those answers' scores.
    """
    ways = np.zeros((k + 1, k // top + 1))
    won = np.zeros_like(ways)
    ways[0, 0] = 1.0
    for count, score in ((silent, None), *classes):
        shares = _shares(count, num_samples, k)
        more_ways, more_won = np.zeros_like(ways), np.zeros_like(ways)
        limit = k if score is None else top
        for taken in range(min(count, limit) + 1):
            wins = int(score is not None and taken == top)
            old_ways = ways[: k + 1 - taken, : ways.shape[1] - wins] * shares[taken]
            old_won = won[: k + 1 - taken, : ways.shape[1] - wins] * shares[taken]
            more_ways[taken:, wins:] += old_ways
            more_won[taken:, wins:] += old_won + (score * old_ways if wins else 0.0)
        ways, won = more_ways, more_won
    return float((won[k, 1:] / np.arange(1, won.shape[1])).sum())


def _shares(count: int, num_samples: int, k: int) -> list[float]:
    """Returns C(count, i) for i up to k, divided by the part of C(n, k) that keeps products near 1."""
    part = _log_choose(num_samples, k) * count / num_samples
    return [math.exp(_log_choose(count, i) - part) for i in range(min(count, k) + 1)]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
