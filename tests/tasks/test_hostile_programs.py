import contextlib
import ctypes
import os
import select
import socket
import sys
import time

import pytest
from hostile_programs import FUNCTIONS, SCRIPTS
from jail_processes import descendants, is_running

from jaxreason.data.examples import Example
from jaxreason.tasks import code, code_asserts
from jaxreason.tasks.isolation import strongest
from jaxreason.tasks.sandbox import Jail, Limits

LIMITS = Limits(seconds=0.5, memory_bytes=400 << 20, output_bytes=1 << 20)
SECRET = "a secret of the grader"
CALLS = [(1, 2), (3, 4), (10, 20)]

pytestmark = pytest.mark.skipif(
    strongest()[0] is None, reason=f"nothing isolates: {strongest()[1]}"
)


def script_tests():
    return [
        {"input": f"{a}\n{b}\n", "output": f"{a + b}\n", "testtype": "stdin"} for a, b in CALLS[:1]
    ]


def call_tests():
    return [
        {"input": f"{a}\n{b}", "output": str(a + b), "testtype": "functional"} for a, b in CALLS
    ]


def assertions(program):
    metadata = {"assertions": [f"assert add({a}, {b}) == {a + b}" for a, b in CALLS]}
    example = Example("1", "mbpp", (), "", "test", metadata)
    return code_asserts.score_mbpp(example, f"```python\n{program}\n```")


class World:
    """What a program could reach if nothing held it, and whether it did."""

    def __init__(self, folder, stack):
        folder.chmod(0o777)
        self.folder, self.file = folder, folder / "canary"
        self.file.write_text(SECRET)
        self.file.chmod(0o666)
        self.listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0)))]
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", 0))
        self.abstract = f"\0jaxreason-{os.getpid()}-{time.monotonic_ns()}"
        self.unix = str(folder / "s")
        for address in (self.abstract, self.unix):
            for kind in (socket.SOCK_STREAM,):
                listener = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                listener.bind(address)
                listener.listen()
                self.listeners.append(listener)
        self.before = self.state()

    def names(self):
        return {
            "folder": str(self.folder),
            "file": str(self.file),
            "port": self.listeners[0].getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "abstract": self.abstract,
            "unix": self.unix,
            "pid": os.getpid(),
        }

    def state(self):
        facts = {path.name: path.lstat() for path in self.folder.iterdir()}
        kept = ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink")
        return {name: [getattr(fact, k) for k in kept] for name, fact in facts.items()}

    def check_untouched(self):
        assert self.state() == self.before
        assert self.file.read_text() == SECRET
        assert select.select([*self.listeners, self.udp], [], [], 0)[0] == []
        assert not os.path.exists("/dev/shm/owned")
        assert not os.path.exists(os.path.join(os.path.dirname(os.__file__), "owned.py"))


@pytest.fixture
def world(tmp_path):
    with contextlib.ExitStack() as stack:
        yield World(tmp_path, stack)


@pytest.fixture
def nobody_is_left():
    """What loses its parent becomes a child of this process, so that nothing can hide."""
    libc = ctypes.CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)
    Jail(strongest()[0], LIMITS).close()  # by now what is kept between jails is there
    before = set(descendants(os.getpid()))
    yield
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in set(descendants(os.getpid())) - before):
        assert time.monotonic() < deadline, "a process of the program's is still there"
        time.sleep(0.01)
    libc.prctl(36, 0, 0, 0, 0)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_hostile_script_harms_nothing_and_is_wrong(name, world, nobody_is_left, monkeypatch):
    monkeypatch.setenv("API_KEY", SECRET)
    program = SCRIPTS[name].format(**world.names()) if "{" in SCRIPTS[name] else SCRIPTS[name]
    began = time.monotonic()
    scores = code.program_metrics(program, script_tests(), "", LIMITS)
    assert scores["accuracy"] == scores["tests_passed"] == 0.0
    assert time.monotonic() - began < 60
    world.check_untouched()


@pytest.mark.parametrize("name", [name for name in SCRIPTS if "print" in name])
def test_what_a_script_can_read_holds_no_secret(name, world, monkeypatch):
    monkeypatch.setenv("API_KEY", SECRET)
    program = SCRIPTS[name].format(**world.names()) if "{" in SCRIPTS[name] else SCRIPTS[name]
    with code.Runs(LIMITS) as runs:
        outcome = runs.run(code.request_for(program, script_tests()[0], ""))
    assert SECRET.encode() not in outcome.output
    assert str(world.folder).encode() not in outcome.output


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_hostile_function_is_wrong(name, nobody_is_left):
    scores = code.program_metrics(FUNCTIONS[name], call_tests(), "add", LIMITS)
    assert scores["accuracy"] == 0.0
    assert scores["tests_passed"] <= (1 / 3 if name == "counts its calls" else 0.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_hostile_function_fails_assertions(name, monkeypatch):
    monkeypatch.setattr(code_asserts, "LIMITS", LIMITS)
    scores = assertions(FUNCTIONS[name])
    assert scores["accuracy"] == 0.0
    assert scores["tests_passed"] <= (1 / 3 if name == "counts its calls" else 0.0)


def test_the_problem_of_the_hostile_programs_can_be_solved():
    """The negative control of this file: a right program passes where they all fail."""
    script = "print(int(input()) + int(input()))"
    assert code.program_metrics(script, script_tests(), "")["accuracy"] == 1.0
    assert (
        code.program_metrics("def add(a, b): return a + b", call_tests(), "add")["accuracy"] == 1.0
    )
    assert assertions("def add(a, b): return a + b")["accuracy"] == 1.0


def test_there_are_enough_hostile_programs():
    assert len(SCRIPTS) + len(FUNCTIONS) >= 30
    assert sys.platform == "linux"
