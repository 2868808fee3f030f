"""How fast a step was: where its time went, tokens a second, and what share of the devices' peak the update used."""

from typing import Any

from jax.sharding import Mesh

from jaxreason.models.architecture import Model
from jaxreason.models.model_flops import peak_flops, training_flops, utilization, weight_products
from jaxreason.rl.generation import Collected
from jaxreason.rl.rollouts import is_trained
from jaxreason.sampling.engine_config import WeightSync
from jaxreason.training.phases import Phases

PHASES = (
    *("generate", "grade", "pack", "logprobs", "update", "weights", "validate", "checkpoint"),
)


class Speed:
    """Measures the steps of a run.

    Args:
      model: the policy.
      params: its parameters, or their shapes.
      mesh: where it trains.
      epochs: passes over a step's replies.
    """

    def __init__(self, model: Model, params: Any, mesh: Mesh, epochs: int):
        self._architecture, self._epochs = model.architecture, epochs
        self._num_weights = weight_products(params, model.architecture.tie_word_embeddings)
        self._peak = peak_flops(mesh)

    def measures(self, collected: Collected, phases: Phases, moved: WeightSync) -> dict[str, float]:
        """Seconds and shares of the phases, tokens a second, MFU where the peak is known, and weights moved."""
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
        """Of the tokens that went through the update, prompts included and padding not."""
        lengths = trained_lengths(collected)
        if not lengths:
            return {}
        tokens = self._epochs * sum(lengths)
        flops = self._epochs * training_flops(self._architecture, self._num_weights, lengths)
        rate = {"update_tokens_per_second": tokens / seconds}
        return rate | utilization(flops, seconds, self._peak)


def trained_lengths(collected: Collected) -> list[int]:
    """Tokens of each sequence that the step trains on, its prompt included."""
    return [
        len(group.prompt) + len(sample.completion.tokens)
        for group, row, used in zip(
            collected.groups, collected.weights, collected.trained, strict=True
        )
        for sample, weight in zip(group.samples, row, strict=False)
        if used and is_trained(sample, weight)
    ]
