"""The compiler for GPUs that are not here. XLA needs no card for it, only a description of one.

It is part of `jaxreason[cuda]`. What it cannot do without a card is to time its choices for matrix products. So the
programs are not those of a run to the last kernel, and cuDNN's own workspace is not counted.
"""

import ctypes
import logging
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from jaxreason.plan.slices import GPU_SHARE, Slice

_LOG = logging.getLogger(__name__)
# What both cards have, from NVIDIA's table of compute capability 9.0 (CUDA C++ Programming Guide).
_HOPPER = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  memory_bandwidth: {bandwidth}
  device_memory_size: {memory}
  device_vendor: "NVIDIA Corporation"
  name: "{name}"
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{name}"
"""
_ADVICE = "pip install 'jaxreason[cuda]' (no GPU is needed)"
NAMES = {"h100": "NVIDIA H100 80GB HBM3", "h200": "NVIDIA H200"}  # As JAX names these devices.


def has_driver() -> bool:
    """Whether this machine has NVIDIA's driver, without which JAX finds no GPU."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def described_gpus(slice_: Slice) -> Sequence[jax.Device]:
    """Returns devices for which programs can be compiled but not run; none if their compiler is not installed."""
    nodes, name = slice_.num_slices, NAMES[slice_.generation]
    memory = round(slice_.kind.hbm / GPU_SHARE)
    config = _HOPPER.format(name=name, memory=memory, bandwidth=round(slice_.kind.hbm_speed))
    shape = f"1x{nodes}x{slice_.devices // nodes}"
    try:
        found = topologies.get_topology_desc("", "cuda", target_config=config, topology=shape)
    # The type of the error depends on the version of jax, and on whether there is a plugin.
    except Exception as error:
        reason = str(error).splitlines()[0]
        _LOG.info("estimating, with no compiler for GPUs: %s (%s)", _ADVICE, reason)
        return []
    return found.devices
