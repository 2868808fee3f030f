"""One call of the program: the verb with its recipe, its flags and its log.

Verbs that only look at files start without JAX, so it is imported where a call needs it; `device_setup` prepares it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import ml_collections
from etils import epath

from jaxreason.config import ConfigError, parse
from jaxreason.results.redaction import hide
from jaxreason.verbs.log_file import LogFile

if TYPE_CHECKING:
    from jaxreason.models.huggingface import ModelConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """What one call of the program was given.

    Attributes:
      verb: name of the verb.
      config: the recipe with its overrides applied; None for a verb that takes no recipe.
      flags: the verb's flags, name -> value.
      paths: the arguments that belong to no flag.
      log: the log file of the working directory.
    """

    verb: str
    config: ml_collections.ConfigDict | None
    flags: dict[str, Any]
    paths: tuple[str, ...]
    log: LogFile

    @property
    def workdir(self) -> epath.Path | None:
        """The folder that the run writes into, if it has one."""
        given = self.flags.get("workdir")
        return epath.Path(given) if given else None

    @property
    def model(self) -> "ModelConfig":
        """The settings of the recipe's model."""
        from jaxreason.models.huggingface import ModelConfig

        return self.section("model", ModelConfig)

    def require(self, *names: str) -> None:
        """Checks that the recipe has the sections that the verb reads.

        Raises:
          ConfigError: a section is missing; the message names the first such one.
        """
        for name in names:
            if name not in self.config:
                raise ConfigError(
                    f"config.{name}: this recipe has no such section (it has {', '.join(self.config.keys())}), "
                    f"and `jaxreason {self.verb}` reads it."
                )

    def tell(self, text: str) -> None:
        """Prints a result and writes it into the log. Only process 0 does so."""
        import jax

        if jax.process_index() == 0:
            self.log.write(text)
            print(hide(text), flush=True)

    def section(self, name: str, cls: type[T]) -> T:
        """Parses a section of the recipe into its dataclass.

        Raises:
          ConfigError: the recipe has no such section, or a field of it is wrong.
        """
        self.require(name)
        return parse(cls, self.config[name], f"config.{name}")


def existing_folder(path: epath.PathLike) -> epath.Path:
    """Returns a folder that a verb reads.

    Raises:
      ConfigError: it does not exist, or is a file.
    """
    folder = epath.Path(path)
    if not folder.is_dir():
        found = "expected a folder, is a file" if folder.exists() else "no such folder"
        raise ConfigError(f"{folder}: {found}.")
    return folder
