"""Joining the processes of a job, as far as the environment says that there are several, and what one does for all."""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxreason.errors import UserError
from jaxreason.results.redaction import hide
from jaxreason.runtime.ending import watch
from jaxreason.runtime.tpu_hosts import tpu_hosts

# Seconds after which a process that sends no more signs of life (SIGKILL, a machine that is gone) is given up.
HEARTBEAT_S = 60
JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Launcher -> the variables with its number of processes and this one's index, and all that JAX needs to find process 0.
LAUNCHERS = {
    "srun": (
        ("SLURM_NTASKS", "SLURM_PROCID"),
        ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_LOCALID"),
    ),
    "mpirun": (
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_MCA_orte_hnp_uri"),
    ),
}
SLICES = ("MEGASCALE_COORDINATOR_ADDRESS", "MEGASCALE_NUM_SLICES", "MEGASCALE_SLICE_ID")


def job(environment: dict[str, str]) -> dict[str, Any] | None:
    """The arguments of `jax.distributed.initialize` for the job that the environment describes; None: one process.

    Known: JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID, SLURM, Open MPI, TPU slices on GKE. What
    a launcher says of itself is left to JAX to read.

    Raises:
      UserError: a variable is missing or no number; says which.
    """
    environment = {name: value for name, value in environment.items() if value}
    if "JAX_COORDINATOR_ADDRESS" in environment or _count(environment, "JAX_NUM_PROCESSES") > 1:
        return _by_address(environment)
    if SLICES[0] in environment:
        _need(environment, SLICES, "several slices", "set all three, as GKE does")
        _range(environment, *SLICES[1:])
        return {}
    for launcher, (names, more) in LAUNCHERS.items():
        if _count(environment, names[0]) > 1:
            advice = f"start it with {launcher}, set {' and '.join(JAX_VARIABLES)}, or unset {names[0]} for one process"
            _need(environment, (*names, *more), f"{names[0]}={environment[names[0]]}", advice)
            _range(environment, *names)
            return _devices(environment)
    hosts = (
        environment.get(name, "") for name in ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
    )
    return {} if any("," in names for names in hosts) else None


def _devices(environment: dict[str, str]) -> dict[str, Any]:
    """All visible GPUs, for a task of srun that is alone on its node or has GPUs of its own.

    JAX would give it one: the GPU with the task's number among those of the node.
    """
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    nodes = environment.get("SLURM_STEP_NUM_NODES")
    alone = nodes is not None and nodes == environment.get("SLURM_NTASKS")
    if not visible or not (alone or "SLURM_GPUS_PER_TASK" in environment):
        return {}
    return {"local_device_ids": list(range(len(visible)))}


def _by_address(environment: dict[str, str]) -> dict[str, Any] | None:
    """Joins with a given address; number and index come from JAX's variables, or else from a launcher's."""
    pairs = [JAX_VARIABLES[1:], *(names for names, _ in LAUNCHERS.values())]
    number, index = next((p for p in pairs if set(p) <= set(environment)), JAX_VARIABLES[1:])
    if number == JAX_VARIABLES[1] and _known_to_jax(environment):
        return {}
    _need(
        environment,
        (JAX_VARIABLES[0], number, index),
        "several processes",
        "set all three, or none for one process",
    )
    address = environment[JAX_VARIABLES[0]]
    if not address.rpartition(":")[2].isdigit():
        raise UserError(f"{JAX_VARIABLES[0]}={address!r}: expected host:port.")
    _range(environment, number, index)
    numbers = {"num_processes": int(environment[number]), "process_id": int(environment[index])}
    return numbers | _devices(environment)


def _known_to_jax(environment: dict[str, str]) -> bool:
    """Whether JAX finds number and index by itself, if they are not given: on a TPU slice, in a job of Kubernetes."""
    given = "JAX_NUM_PROCESSES" in environment or "JAX_PROCESS_ID" in environment
    return not given and bool(
        {"TPU_WORKER_HOSTNAMES", "KUBERNETES_SERVICE_HOST"} & set(environment)
    )


def _need(environment: dict[str, str], names: tuple[str, ...], what: str, advice: str) -> None:
    missing = [name for name in names if name not in environment]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"The environment asks for {what}, but {' and '.join(missing)} {verb} not set: {advice}."
        )


def _count(environment: dict[str, str], name: str) -> int:
    return _whole(environment, name) if name in environment else 1


def _whole(environment: dict[str, str], name: str) -> int:
    if not environment[name].isdecimal():
        raise UserError(f"{name}={environment[name]!r}: expected a whole number.")
    return int(environment[name])


def _range(environment: dict[str, str], number: str, index: str) -> None:
    if not _whole(environment, index) < _whole(environment, number):
        raise UserError(
            f"{index}={environment[index]}: expected less than {number}={environment[number]}."
        )


def initialize_processes(heartbeat_s: int = HEARTBEAT_S) -> None:
    """Joins the processes of the job, if the environment or a Cloud TPU's metadata say that there are several.

    From then on the processes end together; see `ending`.

    Raises:
      UserError: the environment does not say all that is needed.
    """
    arguments = job(dict(os.environ))
    if arguments is None and tpu_hosts(os.environ) > 1:
        arguments = {}
    if arguments is None or jax.distributed.is_initialized():
        return
    # It would take SIGTERM for itself; a loop that can save catches it, and it ends the program everywhere else.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=heartbeat_s)
    except ValueError as error:
        names = ", ".join(JAX_VARIABLES)
        raise UserError(f"The processes cannot be joined: {error} Set {names}.") from error
    watch()


def on_process_zero(work: Callable[[], Any]) -> Any:
    """Runs `work` on process 0 alone and returns its result on every process.

    For files that one process writes and all read, and for decisions that all must take alike. Every process must
    call it. The value must be one that JSON can hold.

    Raises:
      what `work` raises; on the other processes UserError for one, OSError with the same number and paths for an
        error of the system, RuntimeError for any other.
    """
    if jax.process_count() == 1:
        return work()
    outcome, error = {}, None
    if jax.process_index() == 0:
        try:
            outcome = {"value": work()}
        except Exception as caught:
            error, outcome = caught, {"error": _told(caught)}
    outcome = _broadcast(outcome)
    if error is not None:
        raise error
    if "error" in outcome:
        raise _as_raised(outcome["error"])
    return outcome["value"]


def _told(error: Exception) -> dict[str, Any]:
    """The text of an error for the other processes, so that a user can mend it there too if that is possible."""
    if isinstance(error, UserError):
        return {"user": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
        return {"system": [error.errno, error.strerror, " -> ".join(paths) or None]}
    return {"other": repr(error)}


def _as_raised(told: dict[str, Any]) -> Exception:
    if "user" in told:
        return UserError(f"process 0: {told['user']}")
    if "system" in told:
        return OSError(*told["system"])
    return RuntimeError(f"process 0: {told['other']}")


def _broadcast(value: Any) -> Any:
    """Process 0's JSON value on every process."""
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    buffer = np.zeros(1 << length.bit_length(), np.uint8)  # few sizes, so few compilations
    if jax.process_index() == 0:
        buffer[:length] = data
    received = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
    return json.loads(received[:length].tobytes())


def show_messages() -> None:
    """Sends the package's messages to standard error: all of process 0, of the others only errors."""
    log = logging.getLogger("jaxreason")
    log.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    log.handlers = [_StandardError()]
    log.propagate = False  # libraries give the root handlers of their own


class _StandardError(logging.Handler):
    """Writes to `sys.stderr` as it is at the time, which a progress bar may have put something before."""

    def emit(self, record: logging.LogRecord) -> None:
        print(hide(record.getMessage()), file=sys.stderr, flush=True)
