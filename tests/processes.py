"""Run a function, or the program, in several real JAX processes on this machine (`jax.distributed`, gloo, CPU).

    from processes import run_processes
    results = run_processes(train_two_steps, 2, str(tmp_path))   # one JSON value from each process
    ends = run_programs([["sft", ...], ["sft", ...]], tmp_path)   # code, output and end of each process

The function must be at the top level of its module: every process imports that file by its path.
Not named `multiprocess`: the `datasets` library imports a package of that name.
"""

import importlib.util
import inspect
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import started_programs

TESTS = Path(__file__).resolve().parent


class ProcessError(AssertionError):
    """A process failed or the deadline passed; the message holds the output of every process."""


def run_processes(
    function: Callable, num: int, *arguments: Any, num_devices: int = 1, timeout_s: float = 300.0
) -> list[Any]:
    """Call `function(*arguments)` in `num` processes of `num_devices` CPU devices each, connected.

    Args:
      function: a top-level function of a file; it returns something that JSON can hold.
      num: the number of processes. One process runs without `jax.distributed`.
      *arguments: JSON values.
      num_devices: virtual CPU devices of each process.
      timeout_s: seconds until all processes are killed.

    Returns:
      What the function returned, by process.

    Raises:
      ProcessError: when one exits with a code other than 0 (the others are then killed), or late.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = {
            "path": inspect.getsourcefile(function),
            "name": function.__name__,
            "arguments": arguments,
            "num": num,
            "address": f"127.0.0.1:{free_port()}",
        }
        (Path(folder) / "job.json").write_text(json.dumps(job))
        processes = [_start(folder, index, num_devices) for index in range(num)]
        _wait(processes, Path(folder), time.monotonic() + timeout_s)
        return [json.loads((Path(folder) / f"{index}.json").read_text()) for index in range(num)]


class End(NamedTuple):
    """How a process of a job ended: exit code, all that it wrote, and when (`time.monotonic()`)."""

    code: int
    output: str
    at: float


def run_programs(
    arguments: list[list[str]],
    folder: Path,
    before: dict[int, str] | None = None,
    timeout_s: float = 240.0,
    at_start: Callable[[list[Any]], None] | None = None,
    num_devices: int = 1,
) -> list[End]:
    """The program `jaxreason` in one process for each list of arguments, as one job.

    Args:
      arguments: of each process.
      folder: for what they write to the terminal.
      before: Python that a process runs first: how a test makes one of them fail.
      timeout_s: seconds until all are killed.
      at_start: called once all run.
      num_devices: virtual CPU devices of each process.

    Raises:
      ProcessError: when the deadline passes.
    """
    address = f"127.0.0.1:{free_port()}"
    processes = []
    for index, args in enumerate(arguments):
        job = {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(len(arguments)),
            "JAX_PROCESS_ID": str(index),
        }
        code = f"""{(before or {}).get(index, "")}
import processes
processes.let_every_process_keep_programs()
import sys
from jaxreason.__main__ import main
sys.argv = {["jaxreason", *args]}
main()
"""
        processes.append(_spawn(code, [], folder / f"{index}.log", num_devices, job))
    ended: dict[int, float] = {}
    deadline = time.monotonic() + timeout_s
    try:
        if at_start is not None:
            at_start(processes)
        while len(ended) < len(processes):
            for index, process in enumerate(processes):
                if process.poll() is not None:
                    ended.setdefault(index, time.monotonic())
            if time.monotonic() > deadline:
                raise ProcessError("the deadline passed\n" + _logs(folder, len(processes)))
            time.sleep(0.05)
    finally:
        _kill(processes)
    return [
        End(process.returncode, (folder / f"{index}.log").read_text(), ended[index])
        for index, process in enumerate(processes)
    ]


def let_every_process_keep_programs() -> None:
    """Lets this process write to JAX's cache of compiled programs, whichever process of a job it is.

    JAX lets process 0 alone write. On CPU its programs have other keys than those of the others, which would compile
    theirs in each test anew. With a version of JAX whose function has another name they still do.
    """
    from jax._src import compiler, distributed

    write = getattr(compiler, "_cache_write", None)
    if write is None:
        return

    def write_as_process_zero(*arguments, **named):
        state = distributed.global_state
        own, state.process_id = state.process_id, 0
        try:
            write(*arguments, **named)
        finally:
            state.process_id = own

    compiler._cache_write = write_as_process_zero


def free_port() -> int:
    """A TCP port of this machine that nothing listens to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _start(folder: str, index: int, num_devices: int) -> Any:
    code = "import sys, processes; processes.be_one_of(sys.argv[1], int(sys.argv[2]))"
    log = Path(folder) / f"{index}.log"
    return _spawn(code, [folder, str(index)], log, num_devices, {})


def _spawn(code: str, words: list[str], log: Path, num_devices: int, more: dict[str, str]) -> Any:
    # Compiled as in the tests' own process.
    flags = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={num_devices}",
        "PYTHONPATH": os.pathsep.join(
            [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
        ),
    }
    with open(log, "w") as file:
        return started_programs.start(code, words, os.getcwd(), environment | more, file)


def _wait(processes: list[Any], folder: Path, deadline: float) -> None:
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0) for process in processes):
                break
            if time.monotonic() > deadline:
                raise ProcessError("the deadline passed\n" + _logs(folder, len(processes)))
            time.sleep(0.05)
    finally:
        _kill(processes)
    codes = [process.returncode for process in processes]
    if any(codes):
        raise ProcessError(f"exit codes {codes}\n" + _logs(folder, len(processes)))


def _kill(processes: list[Any]) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _logs(folder: Path, num: int) -> str:
    texts = [(folder / f"{index}.log").read_text()[-6000:] for index in range(num)]
    return "\n".join(f"---- process {index} ----\n{text}" for index, text in enumerate(texts))


def _child(folder: Path, index: int) -> None:
    """What each process does: connect, call the function, write its result."""
    job = json.loads((folder / "job.json").read_text())
    import jax

    let_every_process_keep_programs()
    if job["num"] > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(job["address"], job["num"], index)
    sys.path.insert(0, str(Path(job["path"]).parent))  # as pytest does for the file's neighbours
    spec = importlib.util.spec_from_file_location(Path(job["path"]).stem, job["path"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    result = getattr(module, job["name"])(*job["arguments"])
    (folder / f"{index}.json").write_text(json.dumps(result))
    if job["num"] > 1:
        jax.distributed.shutdown()


def be_one_of(folder: str, index: int) -> None:
    """Makes this process the one with this number of `run_processes`."""
    try:
        _child(Path(folder), index)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # without jax's exit handler, which would wait half a minute for the others
