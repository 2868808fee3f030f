"""What the environment says of a job, and what one process does for all."""

import os
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest
from processes import free_port, run_processes

from jaxreason.errors import UnreachableError, UserError
from jaxreason.runtime import distributed
from jaxreason.runtime.distributed import LAUNCHERS, job, on_process_zero
from jaxreason.verbs.endings import explain

ADDRESS = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234"}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-4]",
    "SLURM_LOCALID": "0",
}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "1"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1"}, None),
        ({"JAX_COORDINATOR_ADDRESS": ""}, None),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, {}),
        ({"TPU_PROCESS_ADDRESSES": "10.0.0.1:8476,10.0.0.2:8476"}, {}),
        (SLURM, {}),
        # JAX gives a task the GPU of its number; one that is alone on its node, or has GPUs of its own, takes all.
        (SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_NUM_NODES": "1"}, {}),
        (
            SLURM | {"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_NUM_NODES": "4"},
            {"local_device_ids": [0, 1, 2, 3]},
        ),
        (
            SLURM | {"CUDA_VISIBLE_DEVICES": "2", "SLURM_GPUS_PER_TASK": "1"},
            {"local_device_ids": [0]},
        ),
        (
            ADDRESS | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
            {"num_processes": 2, "process_id": 1},
        ),
        (ADDRESS | SLURM, {"num_processes": 4, "process_id": 1}),
        (ADDRESS | MPI, {"num_processes": 4, "process_id": 3}),
        (ADDRESS | {"TPU_WORKER_HOSTNAMES": "a,b"}, {}),
    ],
)
def test_a_job_is_found_in_the_environment(environment, expected):
    assert job(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (ADDRESS, "JAX_NUM_PROCESSES and JAX_PROCESS_ID are not set"),
        (ADDRESS | {"JAX_NUM_PROCESSES": "2"}, "JAX_PROCESS_ID is not set"),
        (ADDRESS | {"JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES is not set"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "JAX_COORDINATOR_ADDRESS is not set"),
        (ADDRESS | {"JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES='two'"),
        (ADDRESS | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID='-1'"),
        (ADDRESS | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "less than JAX_NUM_PRO"),
        (
            {"JAX_COORDINATOR_ADDRESS": "host", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            "'host': expected host:port",
        ),
        # JAX dies of such a port, or waits for ever; it has 32 bits for a number of processes.
        *(
            (
                {"JAX_COORDINATOR_ADDRESS": f"host:{port}"}
                | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
                f"'host:{port[:60]}.*: expected host:port, with a port from 1 to 65535",
            )
            for port in ("0", "65536", "²", "9" * 5000)
        ),
        *(
            (ADDRESS | {"JAX_NUM_PROCESSES": number, "JAX_PROCESS_ID": "0"}, expected)
            for number, expected in (
                ("2147483648", "'2147483648': expected a whole number from 0 to 2147483647"),
                ("9" * 5000, "'9{79}: expected a whole number"),
                ("１２", "'１２': expected a whole number"),
            )
        ),
        (ADDRESS | {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "9" * 5000}, "JAX_PROCESS_ID='9"),
        ({"SLURM_NTASKS": "9" * 5000}, "SLURM_NTASKS='9"),
        (
            {"JAX_COORDINATOR_ADDRESS": "8476", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
            "'8476': expected host:port",
        ),
        ({"SLURM_NTASKS": "8"}, "SLURM_PROCID and SLURM_JOB_ID and SLURM_STEP_NODELIST"),
        ({"SLURM_NTASKS": "8(x2)"}, r"SLURM_NTASKS='8\(x2\)': expected a whole number"),
        (SLURM | {"SLURM_PROCID": "a"}, "SLURM_PROCID='a'"),
        (MPI, "OMPI_COMM_WORLD_LOCAL_RANK and OMPI_MCA_orte_hnp_uri are not set: start it with"),
        (
            {"MEGASCALE_COORDINATOR_ADDRESS": "10.0.0.1"},
            "MEGASCALE_NUM_SLICES and MEGASCALE_SLICE_ID are not set",
        ),
        (
            {
                "MEGASCALE_COORDINATOR_ADDRESS": "10.0.0.1",
                "MEGASCALE_NUM_SLICES": "2",
                "MEGASCALE_SLICE_ID": "x",
            },
            "MEGASCALE_SLICE_ID='x'",
        ),
    ],
)
def test_what_the_environment_lacks_is_said_by_name(environment, message):
    with pytest.raises(UserError, match=message):
        job(environment)


def test_a_process_that_waits_for_the_others_says_where_it_looks_for_them(monkeypatch, capsys):
    """As with a wrong address: JAX then waits, and ends the process by words that do not name it."""

    def wait(**_):
        time.sleep(0.5)
        raise ValueError("ended.")

    monkeypatch.setattr(distributed, "SECONDS_UNTIL_TOLD", 0.05)
    monkeypatch.setattr(jax.distributed, "initialize", wait)
    for name, value in zip(distributed.JAX_VARIABLES, ("wrong-host:1234", "2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="cannot be joined"):
        distributed.initialize_processes()
    said = (
        "process 0 is expected at JAX_COORDINATOR_ADDRESS=wrong-host:1234, for five minutes in all"
    )
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("launcher", sorted(LAUNCHERS))
def test_each_launcher_is_asked_for_every_variable_that_jax_reads_of_it(launcher):
    (number, index), more = LAUNCHERS[launcher]
    whole = {number: "4", index: "1", **dict.fromkeys(more, "1")}
    assert job(whole) == {}
    assert job(whole | {number: "1"}) is None
    for name in (index, *more):
        lacking = {other: value for other, value in whole.items() if other != name}
        with pytest.raises(UserError, match=rf"{name} is not set: start it with {launcher}"):
            job(lacking)


JOINED = """
from jaxreason.runtime.distributed import initialize_processes, on_process_zero
initialize_processes()
import jax
told = on_process_zero(lambda: "from zero")
print(jax.process_index(), jax.process_count(), jax.device_count(), told)
jax.distributed.shutdown()
"""


def test_tasks_of_srun_find_each_other_by_what_it_tells_them(tmp_path):
    port = next(p for p in range(61440, 65536) if is_free(p))  # JAX makes it of the job's number
    processes = []
    for index in range(2):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "SLURM_JOB_ID": str(4096 * 5 + port - 61440),
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_STEP_NUM_NODES": "1",
            "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(index),
            "SLURM_LOCALID": str(index),
        }
        command = [sys.executable, "-c", JOINED]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        )
    try:
        said = [process.communicate(timeout=120)[0].splitlines()[-1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert said == ["0 2 2 from zero", "1 2 2 from zero"]


def is_free(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def raise_on_process_zero(kind):
    def work():
        system = OSError(28, "No space left on device", "run/metrics.jsonl")
        if kind == "unreachable":
            raise UserError("stage 2 of 5: no hub") from UnreachableError("no hub")
        raise {"user": UserError("lock held"), "system": system, "other": KeyError("x")}[kind]

    try:
        on_process_zero(work)
    except Exception as error:
        return [type(error).__name__, str(error), explain(error, None, ())]


def raise_all_on_process_zero():
    return [raise_on_process_zero(kind) for kind in ("user", "unreachable", "system", "other")]


def test_a_value_of_process_zero_reaches_all():
    assert run_processes(value_of_process_zero, 2) == [[0, "ä", None]] * 2


def value_of_process_zero():
    return on_process_zero(lambda: [jax.process_index(), "ä", None])


def test_an_error_on_process_zero_is_raised_on_all():
    found = run_processes(raise_all_on_process_zero, 2)
    (user, unreachable, system, other) = zip(*found, strict=True)
    assert [one[:2] for one in unreachable] == [
        ["UserError", "stage 2 of 5: no hub"],
        ["UnreachableError", "process 0: stage 2 of 5: no hub"],
    ]
    assert [found[:2] for found in user] == [
        ["UserError", "lock held"],
        ["UserError", "process 0: lock held"],
    ]
    assert other == (["KeyError", "'x'", None], ["RuntimeError", "process 0: KeyError('x')", None])
    assert system[0] == system[1] and system[0][0] == "OSError"
    # A message on every process: with a traceback on some, whose note was first would say how the job ends.
    assert system[1][2].startswith("run/metrics.jsonl: No space left on device; free some space")


# A job of two whose processes only sleep: no collective notices that one is gone.
SLEEPER = """
import os, signal, sys, time
from jaxreason.runtime.distributed import initialize_processes
from jaxreason.runtime.ending import all_end_together
with all_end_together():
    initialize_processes(heartbeat_s=10)
    import jax
    if jax.process_index() == 1:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    time.sleep(120)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_process_that_vanishes_is_noticed_by_its_heartbeats(tmp_path, name):
    address = f"127.0.0.1:{free_port()}"
    processes = []
    for index in range(2):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(index),
        }
        with open(tmp_path / f"{index}.log", "w") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", SLEEPER, name],
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            )
    try:
        assert processes[1].wait(60) == -getattr(signal, name)
        assert processes[0].wait(60) != 0
    finally:
        for process in processes:
            process.kill()
    assert "stopped sending heartbeats" in (tmp_path / "0.log").read_text()
