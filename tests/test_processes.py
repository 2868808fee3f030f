"""The helper that runs several real JAX processes."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import started_programs
import study_runs
from jax._src.lib import xla_client
from jax.experimental import multihost_utils
from processes import TESTS, ProcessError, run_processes, run_programs

from jaxreason.runtime.distributed import show_messages


def sum_over_processes(offset):
    values = multihost_utils.process_allgather(np.float32(jax.process_index() + offset))
    return [jax.process_count(), jax.local_device_count(), float(jnp.sum(values))]


def fail_in_process_one():
    assert jax.process_index() != 1, "process one gives up"
    multihost_utils.sync_global_devices("never reached by process one")


def test_processes_exchange_values_and_return_theirs():
    assert run_processes(sum_over_processes, 2, 5, num_devices=2) == [[2, 2, 11.0]] * 2


def test_a_failing_process_ends_all_and_its_output_is_shown():
    with pytest.raises(ProcessError, match="process one gives up"):
        run_processes(fail_in_process_one, 2)


def optimization_level():
    options = xla_client.CompileOptions().executable_build_options.debug_options
    return options.xla_backend_optimization_level


SHOW_LEVEL = "import test_processes; print('level', test_processes.optimization_level())"


@pytest.mark.parametrize(("flags", "level"), [("", 0), ("--xla_backend_optimization_level=2", 2)])
def test_llvm_optimizes_nothing_in_tests_unless_the_caller_says_so(flags, level):
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", f"import conftest; {SHOW_LEVEL}"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == f"level {level}\n"


def test_functions_and_jobs_are_compiled_as_the_tests_are_and_studies_as_users_are(tmp_path):
    assert run_processes(optimization_level, 1) == [optimization_level()]
    (program,) = run_programs([["--version"]], tmp_path, before={0: SHOW_LEVEL})
    assert program.output.startswith(f"level {optimization_level()}\n")
    variables = {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    started = study_runs.start(tmp_path, "--help", before=SHOW_LEVEL, variables=variables)
    assert started.wait(timeout=100) == 0
    assert (tmp_path / "log").read_text().startswith("level 3\n")


WHERE = """
import json, os, sys
import neighbour
from jax._src import xla_bridge
started = xla_bridge.backends_are_initialized()
print(json.dumps([os.getcwd(), os.environ.get("OWN"), sys.argv[1:], neighbour.SAID, started]))
print("an error", file=sys.stderr)
sys.exit(3)
"""


def test_a_started_program_has_its_own_folder_variables_words_output_and_exit_code(tmp_path):
    import lm_eval  # noqa: F401 (sets variables of its own)

    (tmp_path / "neighbour.py").write_text("SAID = 'hello'")
    variables = os.environ | {"OWN": "own", "PYTHONPATH": str(TESTS.parent)}
    with open(tmp_path / "log", "w") as log:
        process = started_programs.start(WHERE, ["one", "two"], tmp_path, variables, log)
    assert isinstance(process, started_programs.Program)  # not by hand
    assert (process.wait(timeout=100), process.poll()) == (3, 3)
    said, error = (tmp_path / "log").read_text().splitlines()
    assert json.loads(said) == [str(tmp_path), "own", ["one", "two"], "hello", False]
    assert error == "an error" and "OWN" not in os.environ


def test_a_started_program_that_is_killed_has_the_signal_as_its_code(tmp_path):
    with open(tmp_path / "log", "w") as log:
        code = "import time; time.sleep(600)"
        process = started_programs.start(code, [], tmp_path, os.environ, log)
    assert process.poll() is None and os.getpgid(process.pid) == process.pid
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.1)
    process.kill()
    assert process.wait(timeout=100) == -signal.SIGKILL


def test_a_program_whose_variables_are_read_by_imports_is_started_by_hand(tmp_path):
    with open(tmp_path / "log", "w") as log:
        code = "import jax; print(jax.config.jax_enable_x64)"
        variables = os.environ | {"JAX_ENABLE_X64": "1"}
        process = started_programs.start(code, [], tmp_path, variables, log)
    assert isinstance(process, subprocess.Popen) and process.wait(timeout=100) == 0
    assert (tmp_path / "log").read_text() == "True\n"


def speak():
    """What a process shows of a message and of an error."""
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        show_messages()
        log = logging.getLogger("jaxreason.anything")
        log.info("step done")
        log.error("step failed")
    return shown.getvalue().splitlines()


def programs_found(folder):
    """How many programs of one computation of all processes were in the cache."""
    found = []
    jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    sum_over_processes(0)
    return found.count("/jax/compilation_cache/cache_hits")


def test_every_process_finds_the_programs_that_it_compiled_before(tmp_path):
    assert run_processes(programs_found, 2, str(tmp_path)) == [0, 0]
    first, second = run_processes(programs_found, 2, str(tmp_path))
    assert first == second > 0


def test_only_process_zero_shows_messages_and_all_show_errors():
    assert run_processes(speak, 2) == [["step done", "step failed"], ["step failed"]]
