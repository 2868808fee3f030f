"""Joining the processes of a job, as far as the environment says that there are several."""

import os

import jax


def several_processes(environment: dict[str, str]) -> bool:
    """Whether the environment describes a job of more than one process.

    Known: JAX's own variables, a multi-host TPU slice, several slices, SLURM, and Open MPI.
    """
    if "JAX_COORDINATOR_ADDRESS" in environment or "MEGASCALE_COORDINATOR_ADDRESS" in environment:
        return True
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        return True
    sizes = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    return any(int(environment.get(name, "1")) > 1 for name in sizes)


def initialize_processes() -> None:
    """Calls `jax.distributed.initialize`, which finds the rest in the environment, where that is needed."""
    if several_processes(dict(os.environ)) and not jax.distributed.is_initialized():
        jax.distributed.initialize()
