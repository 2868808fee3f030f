"""Joining the processes of a job, as far as the environment says that there are several, and who of them speaks."""

import logging
import os
import sys

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


def show_messages() -> None:
    """Sends the package's messages to standard error: all of process 0, of the others only errors."""
    log = logging.getLogger("jaxreason")
    log.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    log.handlers = [_StandardError()]
    log.propagate = False  # libraries give the root handlers of their own


class _StandardError(logging.Handler):
    """Writes to `sys.stderr` as it is at the time, which a progress bar may have put something before."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)
