"""One call of the program: the verb with its recipe, its flags and its log."""

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import ml_collections
from etils import epath

from jaxreason.config import ConfigError, parse
from jaxreason.models.huggingface import ModelConfig
from jaxreason.results.redaction import hide
from jaxreason.verbs.log_file import LogFile

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """What was asked for.

    Attributes:
      verb: its name.
      config: the recipe with its overrides; None where the verb takes none.
      flags: values of the verb's flags by name.
      paths: arguments without a flag.
      log: the log file of the working directory.
    """

    verb: str
    config: ml_collections.ConfigDict | None
    flags: dict[str, Any]
    paths: tuple[str, ...]
    log: LogFile

    @property
    def workdir(self) -> epath.Path | None:
        """Where the run writes, if it does."""
        given = self.flags.get("workdir")
        return epath.Path(given) if given else None

    @property
    def model(self) -> ModelConfig:
        """The recipe's model."""
        return self.section("model", ModelConfig)

    def require(self, *names: str) -> None:
        """Refuses a recipe that lacks a section which the verb reads.

        Raises:
          ConfigError: naming the first of them.
        """
        for name in names:
            if name not in self.config:
                raise ConfigError(
                    f"config.{name}: this recipe has no such section (it has {', '.join(self.config.keys())}), "
                    f"and `jaxreason {self.verb}` reads it."
                )

    def tell(self, text: str) -> None:
        """Print a result, and write it into the log; on process 0 alone."""
        if jax.process_index() == 0:
            self.log.write(text)
            print(hide(text), flush=True)

    def section(self, name: str, cls: type[T]) -> T:
        """A section of the recipe as its dataclass.

        Raises:
          ConfigError: when the recipe has no such section, or it does not fit.
        """
        self.require(name)
        return parse(cls, self.config[name], f"config.{name}")
