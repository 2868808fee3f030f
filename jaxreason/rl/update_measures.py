"""What the updates of a step measured, as one set of numbers."""

from collections.abc import Sequence

import numpy as np

from jaxreason.rl.update import gap_quantile
from jaxreason.training.step import NOT_FINITE

GAP_MEANS = ("sampled", "sampler_gap", "sampler_weight", "sampler_weight_squared")


def combine(measured: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """The measurements of a step from those of its updates, as means over all their tokens."""
    if not measured:
        return {"updates": 0.0, "tokens": 0.0}
    tokens = np.array([found["tokens"] for found in measured], float)
    means = {
        name: tokens @ np.array([found[name] for found in measured], float) / tokens.sum()
        for name in measured[0]
        if name not in ("tokens", "max_sampler_gap", "sampler_gap_counts", NOT_FINITE)
    }
    gap = {name: means.pop(name) for name in GAP_MEANS}
    numbers = {name: float(mean) for name, mean in means.items()}
    if gap["sampled"] > 0:
        numbers |= sampler_mismatch(measured, gap)
    return numbers | {"updates": float(len(measured)), "tokens": float(tokens.sum())}


def sampler_mismatch(
    measured: Sequence[dict[str, np.ndarray]], gap: dict[str, float]
) -> dict[str, float]:
    """How far the sampler's log-probs are from the trainer's, over the tokens that were sampled."""
    counts = sum(found["sampler_gap_counts"] * found["tokens"] for found in measured)
    weight, squared, share = (
        gap[name] for name in ("sampler_weight", "sampler_weight_squared", "sampled")
    )
    # The training step has divided the largest and the counts by the tokens, as if they were sums over them.
    return {
        "sampler_gap": float(gap["sampler_gap"] / share),
        "max_sampler_gap": float(max(x["max_sampler_gap"].max() * x["tokens"] for x in measured)),
        "p99_sampler_gap": gap_quantile(counts, 0.99),
        "sampler_effective_share": float(weight**2 / squared / share),
    }
