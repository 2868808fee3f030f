"""The devices of a slice that is not here, as their compiler describes them. GPUs may be those of this machine, and
without a compiler for them there are stand-ins.
"""

import contextlib
import importlib.util
import os
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from jaxreason.config import ConfigError
from jaxreason.plan.gpu_compiler import described_gpus, has_driver
from jaxreason.plan.slices import Slice

# libtpu would ask for the metadata of a TPU VM and lock the TPU; on this machine there is neither.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def slice_devices(slice_: Slice) -> tuple[Sequence[jax.Device], bool]:
    """Returns the devices of a slice, and whether programs can be compiled for them here.

    Raises:
      ConfigError: the TPU compiler is not installed, or does not know the slice.
    """
    if slice_.kind.platform == "gpu":
        return _gpus(slice_)
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(
            "planning for TPUs needs their compiler, libtpu: pip install 'jaxreason[tpu]' "
            "(no TPU is needed)."
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    jax.config.update("jax_platforms", "cpu")
    try:
        return _topology(slice_).devices, True
    except Exception as error:  # Its type depends on the version of jax and libtpu.
        raise ConfigError(
            f"--slice {slice_.name}: the installed libtpu cannot compile for "
            f"{slice_.generation}:{slice_.topology}: {str(error).splitlines()[0]}"
        ) from error


def _topology(slice_: Slice):
    options = {}
    if slice_.generation == "v4":
        options["chip_config_name"] = "megacore"  # One device per chip, as on a TPU VM.
    if slice_.topology == "1x1":
        options["chips_per_host_bounds"] = [1, 1, 1]
    if slice_.num_slices > 1:
        options["num_slices"] = slice_.num_slices
    name = f"{slice_.generation}:{slice_.topology}"
    return topologies.get_topology_desc(name, "tpu", **options)


def _gpus_here() -> Sequence[jax.Device]:
    # Without the driver, JAX would not only find no GPU but also refuse to load their compiler.
    if not has_driver():
        return []
    try:
        return jax.devices("gpu")
    except RuntimeError:
        return []


def _gpus(slice_: Slice) -> tuple[Sequence[jax.Device], bool]:
    here = _gpus_here()
    if len(here) >= slice_.devices and slice_.generation in here[0].device_kind.lower():
        return here[: slice_.devices], True
    jax.config.update("jax_platforms", "cpu")
    described = described_gpus(slice_)
    if described:
        return described, True
    # Below 1 means that nothing was set: there is one device, or as many as XLA_FLAGS says.
    if max(jax.config.jax_num_cpu_devices, 1) < slice_.devices:
        # If jax has started already, its devices may be enough.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", slice_.devices)
    stand_ins = jax.devices("cpu")
    if len(stand_ins) < slice_.devices:
        raise ConfigError(
            f"--slice {slice_.name}: needs {slice_.devices} stand-in devices, there are "
            f"{len(stand_ins)}; set XLA_FLAGS=--xla_force_host_platform_device_count={slice_.devices}."
        )
    return stand_ins[: slice_.devices], False
