"""Memory that a host keeps between two runs of a program."""

import os
import subprocess
import sys

import pytest

from jaxreason import host_memory
from jaxreason.host_memory import computes_on_cpu

# Takes 64 MB in a thread, as XLA does, writes to it and frees it; how many pages are paid for the second time.
PROGRAM = """
import ctypes, resource, sys, threading
from jaxreason.host_memory import keep_freed_memory

assert keep_freed_memory() == (sys.argv[1] == "True")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
faults = []

def use():
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        memory = ctypes.c_void_p(libc.malloc(1 << 26))
        ctypes.memset(memory, 1, 1 << 26)
        libc.free(memory)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=use)
thread.start()
thread.join()
print(faults[1])
"""


def second_faults(keeps: bool, **environment: str) -> int:
    inherited = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(keeps)],
        env=inherited | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_kept_on_a_host_that_computes():
    assert second_faults(True, JAX_PLATFORMS="cpu") < 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.parametrize(
    "environment",
    [{"JAX_PLATFORMS": "tpu"}, {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.check=0"}],
    ids=["an accelerator's host", "its user's own settings"],
)
def test_elsewhere_it_is_left_to_the_system(environment):
    assert second_faults(False, **environment) > 10


def test_jax_computes_on_the_cpu_where_it_is_told_to_or_has_nothing_else(monkeypatch):
    assert computes_on_cpu("cpu")
    assert not computes_on_cpu("tpu,cpu") and not computes_on_cpu("cuda")
    for installed, expected in ((None, True), ("libtpu", False), ("jax_plugins", False)):
        find = {installed: True}.get
        monkeypatch.setattr(host_memory.importlib.util, "find_spec", find)
        assert computes_on_cpu("") is expected
