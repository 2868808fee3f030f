"""Memory that a host keeps between two runs of a program."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxreason import host_memory
from jaxreason.host_memory import computes_on_cpu

ROOT = Path(__file__).parent.parent
# Takes 64 MB in each of four threads, as XLA does, writes to it and frees it, twice. Prints
# how many pages were paid for the second time.
PROGRAM = """
import ctypes, resource, sys, threading
from jaxreason.host_memory import keep_freed_memory

assert keep_freed_memory() == (sys.argv[1] == "True")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
faults, turns = [], threading.Barrier(4)

def use(number):
    for turn in range(4):  # One after the other, while all are there.
        turns.wait()
        for again in range(2) if turn == number else ():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            memory = ctypes.c_void_p(libc.malloc(1 << 26))
            ctypes.memset(memory, 1, 1 << 26)
            libc.free(memory)
            if again:
                faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(faults))
"""


def printed(program: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> str:
    """What a program prints that uses JAX on the CPU, and no settings of the C library but those that are given."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_", "MALLOC_"))}
    settings = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)} | environment
    words = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(
        words, env=inherited | settings, cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


def second_faults(keeps: bool, **environment: str) -> int:
    return int(printed(PROGRAM, keeps, **environment))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_kept_on_a_host_that_computes():
    assert second_faults(True) < 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_PLATFORMS": "tpu"},
        {"GLIBC_TUNABLES": "glibc.malloc.check=0"},
        {"MALLOC_TOP_PAD_": "0"},
    ],
    ids=["an accelerator's host", "its user's own settings", "its user's older settings"],
)
def test_elsewhere_it_is_left_to_the_system(environment):
    assert second_faults(False, **environment) > 10


LARGE_PAGES = """
import ctypes, re, sys
from pathlib import Path
from jaxreason import host_memory

if sys.argv[1:]:
    host_memory.OVERCOMMIT = sys.argv[1]
assert host_memory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
place = libc.malloc(1 << 28)
ctypes.memset(ctypes.c_void_p(place), 1, 1 << 28)
for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())[1:]:
    low, high = (int(x, 16) for x in part.split()[0].split("-"))
    if low <= place + (1 << 27) < high:
        print("hg" in re.search("VmFlags:(.*)", part)[1].split())
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) // 1024)
"""


def large_pages(*arguments: str) -> tuple[str, int]:
    """Whether 256 MB of the heap have large pages, and the largest memory of the process in MiB."""
    asked, peak = printed(LARGE_PAGES, *arguments).split()
    return asked, int(peak)


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists()
    or not hasattr(ctypes.CDLL(None), "mallopt")
    or host_memory._addresses_are_limited(),
    reason="no such pages here",
)
def test_large_pages_are_asked_for_and_take_no_memory_before_they_are_written(tmp_path):
    asked, peak = large_pages()
    assert asked == "True" and 256 < peak < 400  # of addresses for the whole machine's memory
    (tmp_path / "overcommit").write_text("2\n")
    assert large_pages(str(tmp_path / "overcommit"))[0] == "False"


HOLE = """
import ctypes, sys, threading, time
from pathlib import Path
from jaxreason import host_memory

MIB = 1 << 20
Path("meminfo").write_text(f"MemTotal: 9 kB\\nMemAvailable: {sys.argv[1]} kB\\n")
Path("group").write_text("12:cpu:/other\\n0::/jobs/mine\\n")
host_memory.MEMINFO, host_memory.OWN_GROUP, host_memory.GROUPS = "meminfo", "group", "groups"
host_memory.PERIOD = 0.05
assert host_memory.keep_freed_memory() and host_memory.keep_freed_memory()
assert [x.name for x in threading.enumerate()] == ["MainThread", "memory"]
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
spare, fence = libc.malloc(16 * MIB), libc.malloc(MIB)
places = [libc.malloc(320 * MIB) for _ in range(2)]
libc.free(ctypes.c_void_p(spare))  # Small pieces come here, and not behind the last place.
for place in places:
    ctypes.memset(ctypes.c_void_p(place), 1, 320 * MIB)
libc.free(ctypes.c_void_p(places[int(sys.argv[2])]))  # a hole before the other one, or the end
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // MIB
end = time.monotonic() + float(sys.argv[3])
while resident() > 480 and time.monotonic() < end:
    time.sleep(0.1)
print(resident())
"""


def kept(folder: Path, available: int, freed: int = 0, seconds: int = 1, **groups: str) -> bool:
    """Whether a process that has freed 320 of 640 MiB keeps them so long, where so many kB are available."""
    for name, value in groups.items():
        (folder / "groups" / "jobs").mkdir(parents=True, exist_ok=True)
        (folder / "groups" / "jobs" / f"memory.{name}").write_text(f"{value}\n")
    memory = int(printed(HOLE, available, freed, seconds, cwd=folder))
    assert memory < 480 or memory > 640
    return memory > 640


needs_sizes = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this C library does not tell its sizes"
)


@needs_sizes
def test_what_is_kept_is_given_back_where_memory_is_short(tmp_path):
    assert kept(tmp_path, 1 << 30)  # a terabyte is left
    assert kept(tmp_path, 100 << 10)  # more than a quarter of it
    assert not kept(tmp_path, 1 << 10, seconds=60)
    assert kept(tmp_path, 1 << 10, freed=1)  # It is no hole.


@needs_sizes
def test_memory_of_a_control_group_above_this_process_counts(tmp_path):
    sizes = {"max": f"{700 << 20}", "current": f"{699 << 20}"}
    assert not kept(tmp_path, 1 << 30, 0, 60, **sizes, stat="anon 9\ninactive_file 0")
    # What was read from files makes room.
    assert kept(tmp_path, 1 << 30, **sizes, stat=f"anon 9\ninactive_file {300 << 20}")
    assert kept(tmp_path, 1 << 30, max="max", stat="anon 9\ninactive_file 0")


# Looks at the memory where a terabyte and where a megabyte is left; prints how often the heap's sizes were added up.
LOOKED = """
import ctypes
from pathlib import Path
from jaxreason import host_memory

libc, asked = ctypes.CDLL(None), []
libc.mallinfo2.restype = host_memory._HeapSizes
class Heap:
    malloc_trim = libc.malloc_trim
    def mallinfo2(self):
        asked.append(1)
        return libc.mallinfo2()
written = bytearray(b"x" * host_memory.LEAST)
host_memory.MEMINFO, host_memory.OWN_GROUP = "meminfo", "group"
Path("group").touch()
for available in (1 << 30, 1 << 10):
    Path("meminfo").write_text(f"MemAvailable: {available} kB")
    host_memory._look(Heap(), 0)
    print(len(asked))
"""


@needs_sizes
def test_the_heaps_sizes_are_added_up_only_where_memory_is_short(tmp_path):
    assert printed(LOOKED, cwd=tmp_path).split() == ["0", "1"]


@needs_sizes
def test_a_look_that_fails_is_not_the_last(tmp_path):
    # The file is a folder until memory is a hole, and appears later.
    program = HOLE.replace(
        'Path("meminfo").write', 'Path("meminfo").mkdir(); Path("later").write', 1
    )
    appears = 'time.sleep(0.3); Path("meminfo").rmdir(); Path("later").rename("meminfo")'
    program = program.replace("end = ", f"{appears}; end = ", 1)
    # What is said of an error would be no number.
    program = f"import sys; sys.stderr = sys.stdout\n{program}"
    assert int(printed(program, 1 << 10, 0, 60, cwd=tmp_path)) < 480


def test_jax_computes_on_the_cpu_where_it_is_told_to_or_has_nothing_else(monkeypatch):
    assert computes_on_cpu("cpu")
    assert not computes_on_cpu("tpu,cpu") and not computes_on_cpu("cuda")
    for installed, expected in ((None, True), ("libtpu", False), ("jax_plugins", False)):
        find = {installed: True}.get
        monkeypatch.setattr(host_memory.importlib.util, "find_spec", find)
        assert computes_on_cpu("") is expected


# Prints what the collector did in the block and after it: a cycle is garbage, a list of lists stays.
COLLECTED = """
import gc, sys
from jaxreason.host_memory import no_collection

if sys.argv[1] == "False":
    gc.disable()
with no_collection(freeze=sys.argv[2] == "True"):
    pass
began, dead = [], []
gc.callbacks.append(lambda phase, info: began.append(phase) if phase == "start" else None)

class Cycle:
    def __init__(self):
        self.own = self
    def __del__(self):
        dead.append(1)

with no_collection():
    stays = [[i] for i in range(100_000)]
    Cycle()
    print(len(began), len(dead), gc.isenabled())
print(gc.get_freeze_count() > 100_000, gc.isenabled())
Cycle()
gc.collect()
print(len(dead))
"""


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_no_garbage_is_looked_for_until_the_end_and_in_our_process_none_of_before_after_it(
    enabled, own
):
    inside, after, found = printed(COLLECTED, enabled, own).splitlines()
    assert inside.split() == ["0", "0", "False"]
    assert after.split() == [str(own), str(enabled)]
    # Two cycles are garbage: one of before the end, which is kept in a process of our own, and one of after it.
    assert found == ("1" if own else "2")


# The tokenizer's thread comes first, as in a server; then memory is taken as above.
SERVING = (
    """
import sys
from jaxreason.models.huggingface import ModelConfig
from jaxreason.verbs.answering import begin_loading_tokenizer

begin_loading_tokenizer(ModelConfig("configs/tiny_base")).result()
"""
    + PROGRAM
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_the_tokenizers_thread_does_not_keep_others_from_using_one_heap():
    assert int(printed(SERVING, True).split()[-1]) < 1000


# Runs the program, and prints how often the collector ran before it was ready.
STARTED = """
import gc, sys
from jaxreason.__main__ import main

began = []
gc.callbacks.append(lambda phase, info: began.append(info["generation"]) if phase == "start" else None)
{patch}
main()
"""
AT_THE_END = """
import atexit
atexit.register(lambda: print(len(began), gc.isenabled(), gc.get_freeze_count() > 10_000))
"""
SERVED = """
from jaxreason.verbs import answering, call
from jaxreason.serve import server
loads = server.make_server_state
def load(*given):
    before = len(began)
    state = loads(*given)
    print("while it loads", len(began) - before)
    return state
server.make_server_state, server._serve = load, lambda *given: print("enabled", gc.isenabled())
"""


def started(patch, *words):
    return printed(STARTED.format(patch=patch), *words)


def test_no_garbage_is_looked_for_while_the_program_imports():
    out = started(AT_THE_END, "--version")
    assert out.splitlines()[-1].split() == ["0", "True", "True"]


@pytest.mark.slow
def test_no_garbage_is_looked_for_while_a_server_loads_its_model():
    out = started(SERVED, "serve", "--config", "configs/study_tiny.py", "--config.serve.port=0")
    assert "while it loads 0" in out and "enabled True" in out


# Fills half a GiB and frees it. Prints how much more room there is than before, if the host has the same left.
FREED = """
import numpy as np
from jaxreason import host_memory

host_memory.keep_freed_memory()
host_memory.available_memory = lambda: 1 << 40
before = host_memory.room_left()
part = np.ones(1 << 26)
held = host_memory.room_left()
del part
# The host alone has enough of this, so what was freed is not added up.
print(held - before, host_memory.room_left() - before, host_memory.room_left(1 << 39) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_what_a_process_has_freed_counts_as_room():
    held, freed, enough = map(int, printed(FREED).split())
    assert held < 1 << 24
    assert abs(freed - (1 << 29)) < 1 << 25
    assert enough < 1 << 24


def test_a_system_that_does_not_tell_its_memory_has_no_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(host_memory, "MEMINFO", str(tmp_path / "none"))
    assert host_memory.room_left() is None
