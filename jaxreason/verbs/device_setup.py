"""The devices of a call: their mesh, JAX's settings, and what the log says of them."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator

import jax
from etils import epath
from jax.sharding import Mesh

from jaxreason import sharding
from jaxreason.compiling import make_products_exact
from jaxreason.device_state import count_compilations
from jaxreason.errors import UserError
from jaxreason.host_memory import keep_freed_memory
from jaxreason.plan.slices import GPU_SHARE
from jaxreason.results.atomic_files import is_remote
from jaxreason.results.checksums import user_cache
from jaxreason.runtime import distributed
from jaxreason.tracking.profiling import traced
from jaxreason.verbs.call import Call

_LOG = logging.getLogger(__name__)
# JAX's words where it is not installed for a platform.
NOT_INSTALLED = ("is not in the list of known backends", "Failed to open libtpu.so")


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
    """Sends the package's messages to standard error and, on process 0, into the log.

    Raises:
      UserError: as `find_devices`.
    """
    find_devices()
    distributed.show_messages()
    if jax.process_index() == 0:
        call.log.attach()


def find_devices() -> None:
    """Lets JAX look for its devices, which it does when it is first asked for one.

    Devices that fail or that another program holds are no mistake in a command: such an error stays as it is, since
    the same command may find them a moment later.

    Raises:
      UserError: JAX has no such platform here as JAX_PLATFORMS asks for.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        # JAX passes over `cuda` where there is no GPU, and then asserts that it has found some platform.
        if str(error) and not any(words in str(error) for words in NOT_INSTALLED):
            raise
        raise UserError(
            f"JAX_PLATFORMS={jax.config.jax_platforms}: expected platforms of this machine for which JAX is installed"
            f"{f' ({error})' if str(error) else ''}. Unset it to take what is there, or set JAX_PLATFORMS=cpu."
        ) from error


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
    from jaxreason.models.decoder import abstract_params
    from jaxreason.models.huggingface import static_model

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
