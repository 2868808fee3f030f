"""The helper that runs several real JAX processes."""

import contextlib
import io
import logging
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


def test_functions_are_compiled_as_the_tests_are_and_jobs_and_studies_as_users_are(tmp_path):
    assert run_processes(optimization_level, 1) == [optimization_level()]
    (program,) = run_programs([["--version"]], tmp_path, before={0: SHOW_LEVEL})
    assert program.output.startswith("level 3\n")
    variables = {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    started = study_runs.start(tmp_path, "--help", before=SHOW_LEVEL, variables=variables)
    assert started.wait(timeout=100) == 0
    assert (tmp_path / "log").read_text().startswith("level 3\n")


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
