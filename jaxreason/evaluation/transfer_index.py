"""The transferability index of Huan et al. 2025 (arXiv 2507.00432), as pure functions of arrays (numpy only).

Scores are in points (0..100). The last axis is the benchmarks of one group, and leading axes are resamples. A degree
(DI) says how far a group moved; the index (TI) is 100 times this degree divided by the degree of math.

The paper allows four readings. v1 averages relative gains. v2 takes signed square roots of gains in standard
deviations, weighted by what the base left to gain. Its deviation is either that of the model's own gains (as the text
reads) or one constant per group: pooled over the compared models, or the paper's own (with which the published numbers
were made). NaN stands for undefined here; `why_undefined` puts it into words.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxreason.results.groups import MATH, NON_REASONING, OTHER

ZERO = 1e-9  # Degrees, deviations and scores below this are rounding noise.


def relative_degree(
    base: Float[np.ndarray, "... b"], tuned: Float[np.ndarray, "... b"], scale: float
) -> np.ndarray:
    """Returns v1: the mean of (tuned - base) / base; undefined if a base score is 0."""
    del scale
    usable = base > ZERO
    ratio = (tuned - base) / np.where(usable, base, np.nan)
    return ratio.mean(-1)


def pooled_degree(
    base: Float[np.ndarray, "... b"], tuned: Float[np.ndarray, "... b"], scale: float
) -> np.ndarray:
    """Returns v2 with a given deviation: sum_b w_b sign(D_b) sqrt(|D_b| / scale).

    w_b is proportional to 100 - base_b and sums to 1; D_b = tuned_b - base_b.
    """
    return _weighted_root(base, tuned - base, np.full(base.shape[:-1], scale))


def literal_degree(
    base: Float[np.ndarray, "... b"], tuned: Float[np.ndarray, "... b"], scale: float
) -> np.ndarray:
    """Returns v2 with the population deviation of this model's gains; undefined if all gains are equal."""
    del scale
    gains = tuned - base
    return _weighted_root(base, gains, gains.std(-1))


def _weighted_root(base: np.ndarray, gains: np.ndarray, scale: np.ndarray) -> np.ndarray:
    scale = np.where(scale > ZERO, scale, np.nan)[..., None]
    room = 100 - base
    total = room.sum(-1, keepdims=True)
    weights = room / np.where(total > ZERO, total, np.nan)
    return (weights * np.sign(gains) * np.sqrt(np.abs(gains) / scale)).sum(-1)


DEGREES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "v1_relative": relative_degree,
    "v2_literal": literal_degree,
    "v2_pooled": pooled_degree,
    "paper_scales": pooled_degree,
}
# Ratios of the deviations with which 13 of the 18 published pairs are reproduced to 0.55 points (tables 5 and 9 to 11
# of v2); only ratios affect the index.
PAPER_SCALES = {MATH: 1.0, OTHER: 1.1344, NON_REASONING: 1.2753}


def scale_of(mode: str, group: str, scales: dict[str, float]) -> float:
    """Returns the deviation of a group's gains by which a mode divides: the paper's, or one of `scales`.

    It is NaN if the paper has no such group.
    """
    return PAPER_SCALES.get(group, np.nan) if mode == "paper_scales" else scales[group]


def gain_and_drop(
    base: Float[np.ndarray, " b"], tuned: Float[np.ndarray, " b"]
) -> tuple[float, float]:
    """Returns the mean gain and the mean drop over a group's benchmarks, in points, both 0 or more.

    A benchmark that rose has drop 0, and one that fell has gain 0, so gain - drop is the mean change. What one
    benchmark lost is thus not hidden by what another one gained, as it may be in the index. This follows the gain and
    drop of Chen et al. 2025 (arXiv 2510.18874), who average the changes on the trained tasks and on all others. NaN if
    a benchmark has no score.
    """
    change = tuned - base
    gains, drops = np.where(change < 0, 0.0, change), np.where(change > 0, 0.0, -change)
    return float(gains.mean()), float(drops.mean())


def transfer_index(
    degree: Float[np.ndarray, "..."], degree_math: Float[np.ndarray, "..."]
) -> np.ndarray:
    """Returns 100 * DI_group / DI_math; NaN if math did not gain, since the sign would then have no meaning."""
    degree, degree_math = np.asarray(degree, float), np.asarray(degree_math, float)
    return 100 * degree / np.where(degree_math > ZERO, degree_math, np.nan)


def pooled_scale(gains: list[Float[np.ndarray, " b"]]) -> float:
    """Returns the population deviation of the gains of all models on all benchmarks of a group.

    Benchmarks without a score (NaN) are left out.
    """
    values = np.concatenate(gains)
    return float(values[np.isfinite(values)].std()) if np.isfinite(values).any() else float("nan")


def signed_log(values: Float[np.ndarray, "..."]) -> np.ndarray:
    """Returns sign(x) * log(1 + |x|), for plots: v1 used some signed logarithm whose form is not published."""
    return np.sign(values) * np.log1p(np.abs(values))


def why_undefined(
    mode: str, group: str, names: tuple[str, ...], base: np.ndarray, tuned: np.ndarray, scale: float
) -> str:
    """Returns in words why the degree of a group is NaN; "" if it is a number."""
    if np.isfinite(DEGREES[mode](base, tuned, scale)):
        return ""
    if not np.isfinite(np.concatenate([base, tuned])).all():
        return f"{group}: a benchmark has no score"
    if mode == "paper_scales" and np.isnan(scale):
        return f"{group}: the paper has no such group, and so no deviation for it"
    if mode == "v1_relative":
        zero = [name for name, score in zip(names, base, strict=True) if score <= ZERO]
        return f"{group}: the base scores 0 on {', '.join(zero)}"
    if (100 - base).sum() <= ZERO:
        return f"{group}: the base already scores 100 everywhere"
    if mode == "v2_literal" and len(names) == 1:
        return f"{group}: one benchmark has no spread of gains"
    return f"{group}: the gains do not vary (deviation 0)"
