"""One call of the program: the verb with its recipe, its flags and its log, and the devices that it runs on."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import ml_collections
from etils import epath
from jax.sharding import Mesh

from jaxreason import sharding
from jaxreason.compiling import make_products_exact
from jaxreason.config import ConfigError, parse
from jaxreason.device_state import count_compilations
from jaxreason.host_memory import keep_freed_memory
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig, static_model
from jaxreason.plan.slices import GPU_SHARE
from jaxreason.results.atomic_files import is_remote
from jaxreason.results.checksums import user_cache
from jaxreason.results.redaction import hide
from jaxreason.runtime import distributed
from jaxreason.tracking.profiling import traced
from jaxreason.verbs.log_file import LogFile

_LOG = logging.getLogger(__name__)
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
    def model(self) -> ModelConfig:
        """The settings of the recipe's model."""
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


@contextlib.contextmanager
def on_mesh(call: Call, *sections: str) -> Iterator[Mesh]:
    """Builds the recipe's device mesh and sets it for the time of the run.

    Raises:
      ConfigError: the recipe lacks one of `sections`. This is checked before any device is taken.
    """
    call.require("mesh", "model", *sections)
    config = call.section("mesh", sharding.MeshConfig)
    model = call.model
    keep_freed_memory()
    # JAX's own default is to take three quarters of a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_SHARE))
    log_messages(call)
    enable_compilation_cache(call.workdir)
    count_compilations()
    mesh = sharding.make_mesh(config)
    make_products_exact(model.dtype)
    with jax.set_mesh(mesh), traced(call.workdir if call.flags.get("profile") else None):
        announce(call, mesh)
        yield mesh


def without_devices(call: Call) -> None:
    """Makes JAX use the CPU, for verbs that only read and write files: another run may be using the accelerator."""
    jax.config.update("jax_platforms", "cpu")
    log_messages(call)


def log_messages(call: Call) -> None:
    """Sends the package's messages to standard error and, on process 0, into the log."""
    distributed.show_messages()
    if jax.process_index() == 0:
        call.log.attach()


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


def enable_compilation_cache(workdir: epath.Path | None = None) -> None:
    """Makes JAX keep programs that took half a second to compile, in `cache_folder`.

    The variables JAX_COMPILATION_CACHE_DIR and JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS choose otherwise.
    """
    if not jax.config.jax_compilation_cache_dir:
        folder = cache_folder(workdir, jax.process_count())
        if why := _why_not_writable(folder):
            _LOG.info(
                "compiled programs are not kept for the next start: %s; XDG_CACHE_HOME may name another folder",
                why,
            )
        else:
            jax.config.update("jax_compilation_cache_dir", folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _why_not_writable(folder: str | None) -> str | None:
    """Returns None for a folder that JAX can write its cache into, which may be on a bucket; else what is wrong."""
    if folder is None:
        return "this user has no home"
    if is_remote(folder):
        return None
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        return str(error)
    return None if os.access(folder, os.W_OK) else f"{folder} cannot be written"


def cache_folder(workdir: epath.Path | None, num_processes: int) -> str | None:
    """Returns the folder for compiled programs; None if the user has no home.

    It is the user's cache folder. If there are several processes and the working directory is on a bucket, it is
    `programs` in the working directory: only process 0 writes to JAX's cache, so hosts that each have a disk of their
    own would otherwise compile everything at every start.
    """
    if workdir is not None and num_processes > 1 and is_remote(workdir):
        return f"{workdir}/programs"
    cache = user_cache()
    return None if cache is None else f"{cache}/jax"


def announce(call: Call, mesh: Mesh) -> None:
    """Logs which devices the run uses, which model, and where it will write."""
    axes = " ".join(f"{name}={size}" for name, size in mesh.shape.items() if size > 1) or "1 device"
    device, processes = jax.devices()[0], jax.process_count()
    over = f", {processes} processes" if processes > 1 else ""
    _LOG.info("devices: %d x %s, mesh %s%s", jax.device_count(), device.device_kind, axes, over)
    if call.workdir is not None:
        _LOG.info("writes: %s", call.workdir)
    model = call.model
    if model.is_absent:
        return
    size = sum(math.prod(x.shape) for x in jax.tree.leaves(abstract_params(static_model(model))))
    name = model.path or "made at random"
    _LOG.info("model: %s, %s parameters, computes in %s", name, f"{size:,}", model.dtype)
