"""Eight virtual CPU devices for every test, set before jax is first imported."""

import atexit
import collections
import contextlib
import ctypes
import gc
import logging
import os
import pathlib
import shutil
import sys
import tempfile
from importlib import metadata

import pytest
from made_once import made_once


def _folder_until_the_end(name):
    folder = tempfile.mkdtemp(prefix=f"jaxreason-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Most of the tests' time goes into compiling programs that run once, so LLVM optimizes nothing here, and XLA makes its
# fusions the older way where it still can (up to JAX 0.10), which takes a third of the time. XLA's own passes stay.
# Studies in processes of their own (study_runs.py) are compiled as users' are. Flags that the caller has set come later
# and win. No program notes where each of its operations was called from: nothing reads that here.
_OLDER = metadata.version("jaxlib").startswith("0.10.")
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    + ("--xla_cpu_use_fusion_emitters=false " if _OLDER else "")
    + os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # Eight devices on two busy cores wait for each other longer than XLA's 40 s, after which it aborts the process.
    + " --xla_cpu_collective_call_terminate_timeout_seconds=600"
)
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Many tests, and the processes that they start, make the same programs; what one has compiled the others load.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _folder_until_the_end("programs")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
if "JAXREASON_CACHE" not in os.environ:
    os.environ["JAXREASON_CACHE"] = _folder_until_the_end("hashes")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Read when gcsfs is first imported: it would ask a service outside of the tests for the kind of bucket, each time.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
# No power cut is tested, so nothing waits until the disk has what was written. That took a thirtieth of the time.
os.fsync = lambda file: None
# Memory that many threads allocate, each from an arena of its own, is hardly given back to the system.
M_ARENA_MAX = -8
with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


@pytest.fixture(autouse=True)
def messages_go_where_pytest_looks():
    """A verb of the program that ran in this process has turned the package's messages away from the root."""
    yield
    log = logging.getLogger("jaxreason")
    log.handlers, log.propagate = [], True


# A process may hold 65,530 maps of memory where Linux has its default. Each compiled program takes some, and LLVM ends
# the process where there are no more. Two workers should stay below 4 GB, torch included.
MANY_MAPS = 8_000
MUCH_MEMORY = 1_200_000_000  # bytes of a worker
# Since programs were freed last: what is left then may be much already.
MUCH_MORE = 150_000_000
_PROCESS = pathlib.Path("/proc/self")
_left = [0]


def _memory():
    pages = int((_PROCESS / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _free_compiled_programs():
    """Frees them; the cache on the disk has what is needed again."""
    sys.modules["jax"].clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone can give freed memory back
        ctypes.CDLL(None).malloc_trim(0)
    _left[0] = _memory()


@pytest.fixture(autouse=True)
def compiled_programs_take_little_memory():
    """Frees compiled programs after a test when the worker has grown large."""
    yield
    if (
        "jax" in sys.modules
        and _PROCESS.exists()
        and _memory() > max(MUCH_MEMORY, _left[0] + MUCH_MORE)
    ):
        _free_compiled_programs()


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_are_few():
    """Frees compiled programs after a file's tests when they are many."""
    yield
    if "jax" not in sys.modules or not _PROCESS.exists():
        return
    if (_PROCESS / "maps").read_bytes().count(b"\n") > MANY_MAPS:
        _free_compiled_programs()


def pytest_collection_modifyitems(items):
    """Files of which most tests are slow come first: at the end no worker waits minutes for the other's last file."""
    tests = collections.Counter(item.path for item in items)
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path] / tests[item.path])


def pytest_collection_finish():
    """What was imported and collected stays to the end: to look for garbage in it took a tenth of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 20)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The folder of a study that nothing disturbed."""
    import study_runs

    def make(folder):
        code, output = study_runs.run(folder)
        assert code == 0, output[-6000:]

    return made_once(tmp_path_factory, "undisturbed", make)
