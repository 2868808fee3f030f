"""The hidden states that a drift run keeps, written one batch at a time (`results.state_files`)."""

from typing import Any

import jax
from etils import epath

from jaxreason.analysis.origin import Origin, unit_name
from jaxreason.analysis.texts import TextBatch, Unit
from jaxreason.config import ConfigError
from jaxreason.models.architecture import Model
from jaxreason.results.drift_files import MADE_WITH
from jaxreason.results.state_files import StatesWriter, holds_states


def are_kept(config: Any) -> bool:
    """Returns whether the drift settings request states."""
    return bool(config.keep_states or config.keep_token_states)


def are_there(workdir: epath.PathLike, config: Any, unit: Unit, origin: Origin) -> bool:
    """Returns whether all requested states of a unit exist and have this origin."""
    if not unit.texts or not are_kept(config):
        return True
    return holds_states(workdir, unit_name(unit), _made_with(config, unit, origin))


def check_layers(layers: tuple[int, ...], *models: Model) -> None:
    """Refuses layers that a model does not have.

    Raises:
      ConfigError: the message names the layer.
    """
    depth = min(model.architecture.num_hidden_layers for model in models)
    for layer in layers:
        if not 0 <= layer <= depth:
            raise ConfigError(
                f"drift.keep_token_states: expected layers from 0 (embeddings) to {depth}, got {layer}."
            )


def _made_with(config: Any, unit: Unit, origin: Origin) -> dict[str, Any]:
    asked = {"pools": list(config.keep_states), "layers": list(config.keep_token_states)}
    # The settings that decide which texts are read are covered by the texts' own hash.
    made_with = origin.of_part(unit)[MADE_WITH]
    return {"models": made_with["models"], "texts": made_with["texts"], "states": asked}


class KeptStates:
    """Keeps the states of a unit while its batches are measured; does nothing if the settings request none.

    Args:
      workdir: of the run.
      config: the drift settings.
      unit: the unit whose texts are read.
    """

    def __init__(self, workdir: epath.PathLike, config: Any, unit: Unit):
        self._config, self._unit = config, unit
        writes = are_kept(config) and jax.process_index() == 0
        self._writer = StatesWriter(workdir, unit_name(unit)) if writes else None

    def add(self, batch: TextBatch, found: dict[str, Any]) -> None:
        """Writes the states of a batch: whole arrays on the host."""
        if self._writer is None:
            return
        texts = [self._unit.texts[row] for row in batch.rows]
        pooled = {
            model: {pool: states[pool][: len(texts)] for pool in self._config.keep_states}
            for model, states in found["pooled"].items()
        }
        tokens = {
            model: [x[:, : len(text.tokens)] for x, text in zip(states, texts, strict=False)]
            for model, states in found.get("states", {}).items()
        }
        starts = [text.reply_start for text in texts]
        self._writer.add([text.id for text in texts], starts, pooled, tokens)

    def finish(self, origin: Origin) -> None:
        """Marks the states of the unit as complete."""
        if self._writer is not None:
            made_with = _made_with(self._config, self._unit, origin)
            self._writer.finish(made_with)
