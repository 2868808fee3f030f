"""The helper that runs several real JAX processes."""

import contextlib
import io
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils
from processes import ProcessError, run_processes

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


def speak():
    """What a process shows of a message and of an error."""
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        show_messages()
        log = logging.getLogger("jaxreason.anything")
        log.info("step done")
        log.error("step failed")
    return shown.getvalue().splitlines()


def test_only_process_zero_shows_messages_and_all_show_errors():
    assert run_processes(speak, 2) == [["step done", "step failed"], ["step failed"]]
