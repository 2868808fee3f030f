"""The metrics of an RL step: those of its replies and groups, of its updates, and of how its time was spent."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from jaxreason.models.architecture import Model
from jaxreason.models.model_flops import peak_flops, training_flops, utilization, weight_products
from jaxreason.results.of_k import pass_at_k
from jaxreason.rl.advantages import mixed_groups
from jaxreason.rl.generation import Collected
from jaxreason.rl.rollouts import RolloutGroup, group_scores, is_trained
from jaxreason.rl.update import gap_quantile
from jaxreason.sampling.engine_config import WeightSync
from jaxreason.training.train_step import NOT_FINITE


def describe_step(collected: Collected) -> dict[str, float]:
    """Describes a step's replies: the metrics that need no model.

    Metrics of rewards are means over graded replies; the others are means over all replies.
    """
    samples = [sample for group in collected.groups for sample in group.samples]
    graded = [sample.reward for sample in samples if sample.reward.graded]
    lengths = [len(sample.completion.tokens) for sample in samples]
    cut = [sample.completion.finish_reason == "length" for sample in samples]
    terms = {name for reward in graded for name in reward.terms} - {"answer"}
    return (
        {
            "reward": _mean([reward.total for reward in graded]),
            "correct": _mean([reward.correct for reward in graded]),
            **{name: _mean([reward.terms[name] for reward in graded]) for name in sorted(terms)},
            "response_tokens": _mean(lengths),
            "truncated": _mean(cut),
            "groups_equal": 1.0 - _mean(mixed_groups(group_scores(collected.groups))),
            "groups_dropped": 1.0 - _mean(collected.trained),
            "groups_trained": float(sum(collected.trained)),
            "generation_batches": float(collected.num_batches),
            "unparsed": _mean([reward.extracted is None for reward in graded]),
            "ungraded": float(len(samples) - len(graded)),
            "failed_as_wrong": float(sum(reward.error is not None for reward in graded)),
        }
        | measure_groups(collected.groups)
        | _staleness(collected)
    )


def _staleness(collected: Collected) -> dict[str, float]:
    """Returns the mean over the sampled tokens of the trained groups; empty if the recipe allows no staleness."""
    groups = collected.trained_groups
    tokens = [sum(len(s.completion.tokens) for s in g.samples if not s.given) for g in groups]
    if not sum(tokens) or groups[0].staleness is None:
        return {}
    return {"staleness": float(np.average([g.staleness for g in groups], weights=tokens))}


# P prompts (groups), G samples per prompt.


def measure_groups(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Returns `group_measures` of the sampled replies only: given replies say nothing about the policy."""
    sampled = [[sample for sample in group.samples if not sample.given] for group in groups]
    shape = len(groups), max(map(len, sampled))
    right, lengths = np.full(shape, np.nan), np.zeros(shape, int)
    truncated = np.zeros(shape, bool)
    for place, samples in enumerate(sampled):
        for number, sample in enumerate(samples):
            correct = sample.reward.correct
            right[place, number] = np.nan if np.isnan(correct) else correct >= 1.0
            lengths[place, number] = len(sample.completion.tokens)
            truncated[place, number] = sample.completion.finish_reason == "length"
    return group_measures(right, lengths, truncated) if lengths.any() else {}


def group_measures(
    right: Float[np.ndarray, "P G"],
    lengths: Int[np.ndarray, "P G"],
    truncated: Bool[np.ndarray, "P G"],
) -> dict[str, float]:
    """Returns metrics of the groups of a step; a mean over nothing is left out.

    Args:
      right: 1 for a right reply, 0 for a wrong one, NaN for one that was not graded.
      lengths: tokens of each reply.
      truncated: whether it reached the limit.
    """
    return {
        "response_tokens_max": float(lengths.max()),
        **_groups(right),
        **_by_outcome("right", right == 1, lengths, truncated),
        **_by_outcome("wrong", right == 0, lengths, truncated),
    }


def _groups(right: np.ndarray) -> dict[str, float]:
    """Returns pass@k for k = 1, 2, 4, ... and G, over groups with at least k graded replies, and shares of groups."""
    graded = np.isfinite(right).sum(axis=1)
    correct = np.nansum(right, axis=1).astype(int)
    size, found = right.shape[1], {}
    for k in sorted({2**power for power in range(size.bit_length()) if 2**power <= size} | {size}):
        enough = graded >= k
        if enough.any():
            chances = pass_at_k(graded[enough], correct[enough], k)
            found[f"pass_at_{k}"] = float(np.mean(chances))
    if graded.any():
        some = graded > 0
        found["groups_all_right"] = float(np.mean(correct[some] == graded[some]))
        found["groups_all_wrong"] = float(np.mean(correct[some] == 0))
    return found


def _by_outcome(name: str, chosen: np.ndarray, lengths, truncated) -> dict[str, float]:
    if not chosen.any():
        return {}
    return {
        f"response_tokens_{name}": float(np.mean(lengths[chosen])),
        f"response_tokens_max_{name}": float(np.max(lengths[chosen])),
        f"truncated_{name}": float(np.mean(truncated[chosen])),
    }


GAP_MEANS = ("sampled", "sampler_gap", "sampler_weight", "sampler_weight_squared")


def combine(measured: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """Combines the measurements of a step's updates: means over all their tokens."""
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
    """Measures how much the sampler's log-probs differ from the trainer's, over the sampled tokens."""
    counts = sum(found["sampler_gap_counts"] * found["tokens"] for found in measured)
    weight, squared, share = (
        gap[name] for name in ("sampler_weight", "sampler_weight_squared", "sampled")
    )
    # The training step divided maximum and counts by the tokens, as if they were sums over tokens. Undo that.
    largest = float(max(x["max_sampler_gap"].max() * x["tokens"] for x in measured))
    return {
        "sampler_gap": float(gap["sampler_gap"] / share),
        "max_sampler_gap": largest,
        # The last edge is infinite.
        "p99_sampler_gap": min(gap_quantile(counts, 0.99), largest),
        "sampler_effective_share": float(weight**2 / squared / share),
    }


class Phases:
    """Adds up the seconds of the named phases of a step; it is made when the step begins.

    Work that a phase starts on the devices must be waited for within the phase. Otherwise it counts
    for a later one that waits.

    Args:
      names: all phases, so that a phase that did not occur in a step is reported as 0.
    """

    def __init__(self, *names: str):
        self._began, self._seconds = time.perf_counter(), dict.fromkeys(names, 0.0)

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Counts the time inside the `with` block for a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Adds seconds that were measured elsewhere."""
        self._seconds[name] += seconds

    def __getitem__(self, name: str) -> float:
        return self._seconds[name]

    def measures(self) -> dict[str, float]:
        """Returns `step_seconds`, and for each phase, and for the rest `other`, its
        `_seconds` and `_share_of_seconds`.
        """
        whole = time.perf_counter() - self._began
        named = self._seconds | {"other": max(whole - sum(self._seconds.values()), 0.0)}
        total = sum(named.values())
        shares = {f"{name}_share_of_seconds": seconds / total for name, seconds in named.items()}
        seconds = {f"{name}_seconds": value for name, value in named.items()}
        return seconds | {"step_seconds": whole} | shares


PHASES = (
    *("generate", "grade", "pack", "logprobs", "update", "weights", "validate", "checkpoint"),
)


class Speed:
    """Measures the speed of a run's steps.

    Args:
      model: the policy.
      params: its parameters, or their shapes.
      mesh: the devices that train.
      epochs: passes over a step's replies.
    """

    def __init__(self, model: Model, params: Any, mesh: Mesh, epochs: int):
        self._architecture, self._epochs = model.architecture, epochs
        self._num_weights = weight_products(params, model.architecture.tie_word_embeddings)
        self._peak = peak_flops(mesh)

    def measures(self, collected: Collected, phases: Phases, moved: WeightSync) -> dict[str, float]:
        """Returns seconds and shares of the phases, tokens per second, MFU if the peak is
        known, and the weights moved.
        """
        for name, seconds in collected.seconds.items():
            phases.add(name, seconds)
        phases.add("weights", moved.weights_seconds)
        found = phases.measures()
        host = ("grade", "pack", "checkpoint", "other")
        found["host_seconds"] = collected.host_seconds + sum(found[f"{x}_seconds"] for x in host)
        found["graded_seconds"] = collected.graded_seconds
        sampled = sum(
            len(s.completion.tokens) for g in collected.groups for s in g.samples if not s.given
        )
        if sampled:
            found["tokens_per_second"] = sampled / found["step_seconds"]
        return found | self._update(collected, phases["update"]) | moved._asdict()

    def _update(self, collected: Collected, seconds: float) -> dict[str, float]:
        """Returns metrics over the tokens of the update, including prompts but not padding."""
        lengths = trained_lengths(collected)
        if not lengths:
            return {}
        tokens = self._epochs * sum(lengths)
        flops = self._epochs * training_flops(self._architecture, self._num_weights, lengths)
        rate = {"update_tokens_per_second": tokens / seconds}
        return rate | utilization(flops, seconds, self._peak)


def trained_lengths(collected: Collected) -> list[int]:
    """Returns the tokens of each sequence that the step trains on, including its prompt."""
    return [
        len(group.prompt) + len(sample.completion.tokens)
        for group, row, used in zip(
            collected.groups, collected.weights, collected.trained, strict=True
        )
        for sample, weight in zip(group.samples, row, strict=False)
        if used and is_trained(sample, weight)
    ]


def _mean(values: Sequence[float] | Float[np.ndarray, "N"]) -> float:
    return float(np.mean(values))
