"""A model that is known by its identity before its weights are loaded, which may never be needed."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from jaxreason.models.decoder import Architecture, Model
from jaxreason.models.families import architecture_from_hf
from jaxreason.models.huggingface import ModelConfig, open_model, read_architecture, resolve
from jaxreason.models.weight_files import verified_identity


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
      name: for readers.
      config: how it is run.
      identity: what its results depend on: a hash of its weights.
      load: gives the network, run as it is told, and its parameters on the mesh.
      folder: the Hugging Face folder or hub name that it is loaded from; None of any other model.
    """

    name: str
    config: ModelConfig
    identity: dict[str, Any]
    load: Callable[[ModelConfig], tuple[Model, Any]]
    folder: str | None = None

    @classmethod
    def of_folder(cls, config: ModelConfig, mesh: Mesh) -> "ModelSource":
        """The Hugging Face folder or hub name of a recipe; every process must call it.

        Raises:
          UserError: there is no such model, or its weights are not as they were exported.
        """
        identity = verified_identity(resolve(config.path))
        load = lambda how: open_model(how, mesh)  # noqa: E731
        return cls(config.path, config, identity, load, config.path)

    def architecture(self) -> Architecture:
        """What the network computes, without its weights.

        Raises:
          UserError: the settings are missing, or cannot be honoured.
        """
        if self.config.init == "random":
            return architecture_from_hf(self.config.architecture)
        return read_architecture(resolve(self.config.path))

    def open(self, **changes: Any) -> tuple[Model, Any]:
        """The network and its parameters; `changes` are of fields of `config` that change no number."""
        return self.load(dataclasses.replace(self.config, **changes))
