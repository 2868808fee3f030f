"""Joins the processes of a job and runs work on process 0 for all of them.

How many processes there are is read from the environment.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxreason.errors import UnreachableError, UserError, is_unreachable
from jaxreason.results.redaction import hide
from jaxreason.runtime.ending import watch
from jaxreason.runtime.tpu_hosts import tpu_hosts

# A process that sends no heartbeat for so many seconds is given up: it was killed, or its machine is gone.
HEARTBEAT_S = 60
# JAX waits five minutes for all processes, and then ends this one by words that name no address.
SECONDS_UNTIL_TOLD = 10.0
MOST_PROCESSES = 2**31 - 1  # JAX counts them in 32 bits.
MOST_PORT = 65535
JAX_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Launcher -> (the variables for the number of processes and this one's index, the others that JAX
# needs to find process 0).
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
    """Returns the arguments of `jax.distributed.initialize` for the job that the environment describes.

    Returns None for a single process. Known are JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID,
    SLURM, Open MPI, and TPU slices on GKE. JAX itself reads the variables of a launcher.

    Raises:
      UserError: a variable is missing or is not a number; the message names it.
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
    """Gives a task of srun all visible GPUs if it is alone on its node or has GPUs of its own.

    Without this, JAX would give it one GPU only: the one whose number among the node's GPUs is the task's number.
    """
    visible = [name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    nodes = environment.get("SLURM_STEP_NUM_NODES")
    alone = nodes is not None and nodes == environment.get("SLURM_NTASKS")
    if not visible or not (alone or "SLURM_GPUS_PER_TASK" in environment):
        return {}
    return {"local_device_ids": list(range(len(visible)))}


def _by_address(environment: dict[str, str]) -> dict[str, Any] | None:
    """Returns the arguments for a given address; number and index are JAX's variables, or else a launcher's."""
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
    host, _, digits = address.rpartition(":")
    port = _number(digits, MOST_PORT)
    if not host or not port:
        raise UserError(
            f"{JAX_VARIABLES[0]}={address!r:.80}: expected host:port, with a port from 1 to {MOST_PORT}."
        )
    _range(environment, number, index)
    numbers = {
        "num_processes": _whole(environment, number),
        "process_id": _whole(environment, index),
    }
    return numbers | _devices(environment)


def _known_to_jax(environment: dict[str, str]) -> bool:
    """Whether JAX finds number and index by itself if they are not given: on a TPU slice, or in a Kubernetes job."""
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
    found = _number(environment[name], MOST_PROCESSES)
    if found is None:
        raise UserError(
            f"{name}={environment[name]!r:.80}: expected a whole number from 0 to {MOST_PROCESSES}."
        )
    return found


def _number(text: str, most: int) -> int | None:
    """Returns the number that is written in plain digits; None for another text, or for more than `most`."""
    found = int(text) if re.fullmatch("[0-9]{1,18}", text) else most + 1
    return found if found <= most else None


def _range(environment: dict[str, str], number: str, index: str) -> None:
    if not _whole(environment, index) < _whole(environment, number):
        raise UserError(
            f"{index}={environment[index]}: expected less than {number}={environment[number]}."
        )


def initialize_processes(heartbeat_s: int = HEARTBEAT_S) -> None:
    """Joins the processes of the job if the environment or a Cloud TPU's metadata says that there are several.

    From then on the processes end together; see `ending`.

    Raises:
      UserError: the environment lacks something that is needed.
    """
    arguments = job(dict(os.environ))
    if arguments is None and tpu_hosts(os.environ) > 1:
        arguments = {}
    if arguments is None or jax.distributed.is_initialized():
        return
    # JAX's preemption service would handle SIGTERM itself. Here a loop that can save its state handles SIGTERM, and
    # anywhere else SIGTERM ends the program.
    jax.config.update("jax_enable_preemption_service", False)
    waiting = threading.Timer(SECONDS_UNTIL_TOLD, _tell_waiting)
    waiting.daemon = True
    waiting.start()
    try:
        jax.distributed.initialize(**arguments, heartbeat_timeout_seconds=heartbeat_s)
    except ValueError as error:
        names = ", ".join(JAX_VARIABLES)
        raise UserError(f"The processes cannot be joined: {error} Set {names}.") from error
    finally:
        waiting.cancel()
    watch()


def _tell_waiting() -> None:
    given = os.environ.get(JAX_VARIABLES[0])
    where = f" at {JAX_VARIABLES[0]}={given}" if given else ""
    text = f"jaxreason: waiting for the job's other processes; process 0 is expected{where}, for five minutes in all."
    print(hide(text), file=sys.stderr, flush=True)


def on_process_zero(work: Callable[[], Any]) -> Any:
    """Runs `work` on process 0 only and returns its result on every process.

    Use it for files that one process writes and all read, and for decisions that must be the same on all processes.
    Every process must call it. The result must be a JSON value.

    Raises:
      Exception: whatever `work` raises, on process 0. The other processes raise UserError for a UserError, OSError with
        the same number and paths for an operating-system error, and RuntimeError for anything else.
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
    """Describes an error for the other processes, so that they can raise one that a user can fix as well."""
    if isinstance(error, UserError):
        return {"unreachable" if is_unreachable(error) else "user": str(error)}
    if isinstance(error, OSError) and error.errno is not None:
        paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
        return {"system": [error.errno, error.strerror, " -> ".join(paths) or None]}
    return {"other": repr(error)}


def _as_raised(told: dict[str, Any]) -> Exception:
    if "unreachable" in told:
        return UnreachableError(f"process 0: {told['unreachable']}")
    if "user" in told:
        return UserError(f"process 0: {told['user']}")
    if "system" in told:
        return OSError(*told["system"])
    return RuntimeError(f"process 0: {told['other']}")


def _broadcast(value: Any) -> Any:
    """Returns process 0's JSON value on every process."""
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    # Sizes are powers of two, so that few programs are compiled.
    buffer = np.zeros(1 << length.bit_length(), np.uint8)
    if jax.process_index() == 0:
        buffer[:length] = data
    received = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
    return json.loads(received[:length].tobytes())


def show_messages() -> None:
    """Sends the package's messages to standard error: all messages of process 0, only errors of the others."""
    log = logging.getLogger("jaxreason")
    log.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    log.handlers = [_StandardError()]
    # Libraries add handlers to the root logger, which would show each message twice.
    log.propagate = False


class _StandardError(logging.Handler):
    """Writes to the current `sys.stderr`: a progress bar may have replaced it since the start."""

    def emit(self, record: logging.LogRecord) -> None:
        print(hide(record.getMessage()), file=sys.stderr, flush=True)
