import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading

import pytest
from jail_processes import descendants, is_running, wait_until

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import isolation, jail_filter, jail_ways
from jaxreason.tasks.jail_ways import NONE
from jaxreason.tasks.sandbox import Jail, JailError, Limits, run_program
from jaxreason.tasks.verify import VerifierPool

ON_LINUX = sys.platform == "linux"
BEST = isolation.strongest()[0]
needs_isolation = pytest.mark.skipif(BEST is None, reason=f"{isolation.strongest()[1]}")


def working_ways():
    found = {}
    for way in jail_ways.ways():
        try:
            if not isolation.reached_from(way):
                user = " as another user" * (way.new_user or "--unshare-user" in way.bubblewrap)
                found[f"{way.name}{user}{' with Landlock' * way.landlock}"] = way
        except JailError:
            continue
    return found


WAYS = working_ways() if ON_LINUX else {}


@pytest.mark.parametrize("name", WAYS)
def test_in_every_way_that_works_here_programs_run_and_reach_nothing(name):
    with Jail(WAYS[name], Limits(seconds=10.0)) as jail:
        outcome = jail.run({"kind": "stdin", "code": "print(input()[::-1])", "stdin": "abc\n"})
        assert (outcome.ended, outcome.output) == ("finished", b"cba\n")
        hostile = "import os\nos.fork()\nprint('a second process')"
        outcome = jail.run({"kind": "stdin", "code": hostile, "stdin": ""})
        assert jail_filter.is_known_machine() is (outcome.ended == "failed")


FILLS = """
import os
total = 0
for folder, _, _ in [("/dev/shm", 0, 0), *os.walk("/"), ("/tmp", 0, 0)]:
    for number in range(8):
        try:
            with open(f"{folder}/filler{number}", "xb") as file:
                for _ in range(10):
                    total += file.write(bytes(1 << 20))
        except OSError:
            break
print(total)
"""


@pytest.mark.parametrize("name", WAYS)
def test_in_every_way_that_works_here_a_program_can_fill_no_more_than_its_scratch(name):
    with Jail(WAYS[name], Limits(seconds=20.0)) as jail:
        outcome = jail.run({"kind": "stdin", "code": FILLS, "stdin": ""})
    assert outcome.ended == "finished"
    assert int(outcome.output) <= 16 << 20
    assert not os.path.exists("/dev/shm/filler0") and not os.path.exists("/tmp/filler0")


def test_without_isolation_a_program_reaches_all_that_the_trial_looks_for():
    """So that a trial which finds nothing has been shown to find something."""
    reached = isolation.reached_from(NONE)
    expected = ["read a file", "write a file", "make a file", "change a mode", "connect", "signal"]
    assert reached[:6] == expected
    assert "read a file of the system's" in reached


def test_code_is_refused_where_nothing_isolates_and_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(isolation, "ways", list)
    isolation.strongest.cache_clear()
    try:
        with pytest.raises(UserError, match=r"nothing isolates.*bubblewrap.*'none'"):
            isolation.find_isolation("auto")
        example = Example("1", "code", (), "", "test", {})
        with VerifierPool(1, 5.0) as pool, pytest.raises(UserError, match="nothing isolates"):
            pool.score("code", [(example, "print(1)")])
        assert isolation.find_isolation("none").name == "none"
    finally:
        isolation.strongest.cache_clear()


def test_a_way_that_leaks_is_not_taken(monkeypatch):
    monkeypatch.setattr(isolation, "ways", lambda: [NONE])
    isolation.strongest.cache_clear()
    try:
        found, reasons = isolation.strongest()
        assert found is None and "could read a file" in reasons[0]
    finally:
        isolation.strongest.cache_clear()


def test_an_unknown_setting_is_named():
    with pytest.raises(UserError, match="'docker': expected one of auto, none"):
        isolation.find_isolation("docker")


def test_with_isolation_switched_off_code_runs_and_is_limited_still():
    assert run_program("print(6 * 7)", "", NONE).output == b"42\n"
    limits = Limits(seconds=0.5, memory_bytes=1 << 30, output_bytes=1000)
    assert run_program("while True: pass", "", NONE, limits).ended == "timeout"
    assert run_program("while True: print(1)", "", NONE, limits).ended == "output"


def test_the_pool_hands_the_setting_to_its_workers():
    tests = {"public": '[{"input": "", "output": "True", "testtype": "stdin"}]', "private": None}
    example = Example("1", "code", (), "", "test", {"tests": tests})
    program = f"```python\nimport os\nprint(os.path.exists({__file__!r}))\n```"
    with VerifierPool(1, 30.0, code_isolation="none") as pool:
        assert pool.score("code", [(example, program)])[0].scores["accuracy"] == 1.0
    if (
        BEST is not None and BEST.name != "landlock"
    ):  # Landlock hides what is in a file, not that it is
        with VerifierPool(1, 30.0) as pool:
            assert pool.score("code", [(example, program)])[0].scores["accuracy"] == 0.0


def test_there_is_no_way_on_other_systems_and_fewer_on_unknown_machines(monkeypatch):
    monkeypatch.setattr(jail_filter, "is_known_machine", lambda: False)
    assert not {way.name for way in jail_ways.ways()} & {"landlock", "network+landlock"}
    monkeypatch.setattr(sys, "platform", "darwin")
    assert jail_ways.ways() == []


# (name, numbers on x86-64 and 64-bit Arm, arguments, whether a program in a jail may)
CALLS = [
    ("read", (0, 63), (), True),
    ("openat", (257, 56), (), True),
    ("futex", (202, 98), (), True),
    ("a thread", (56, 220), (0x3D0F00,), True),
    ("a process", (56, 220), (0x11,), False),
    ("clone3", (435, 435), (), False),
    ("vfork", (58, 58), (), False),
    ("execve", (59, 221), (), False),
    ("execveat", (322, 281), (), False),
    ("socket", (41, 198), (), False),
    ("socketpair", (53, 199), (), False),
    ("connect", (42, 203), (), False),
    ("sendto", (44, 206), (), False),
    ("kill", (62, 129), (), False),
    ("tgkill", (234, 131), (), False),
    ("pidfd_send_signal", (424, 424), (), False),
    ("ptrace", (101, 117), (), False),
    ("process_vm_readv", (310, 270), (), False),
    ("io_uring_setup", (425, 425), (), False),
    ("memfd_create", (319, 279), (), False),
    ("shmget", (29, 194), (), False),
    ("mount", (165, 40), (), False),
    ("unshare", (272, 97), (), False),
    ("setns", (308, 268), (), False),
    ("fchmodat", (268, 53), (), False),
    ("fchownat", (260, 54), (), False),
    ("utimensat", (280, 88), (), False),
    ("linkat", (265, 37), (), False),
    ("setuid", (105, 146), (), False),
    ("bpf", (321, 280), (), False),
    ("limits of its own", (302, 261), (0,), True),
    ("limits of another", (302, 261), (77,), False),
    ("fcntl F_GETFL", (72, 25), (0, 3), True),
    ("fcntl F_SETOWN", (72, 25), (0, 8), False),
    ("ioctl TCGETS", (16, 29), (0, 0x5401), True),
    ("ioctl TIOCSTI", (16, 29), (0, 0x5412), False),
    ("prctl PR_SET_NAME", (157, 167), (15,), True),
    ("prctl PR_SET_PDEATHSIG", (157, 167), (1,), False),
    ("a call of later kernels", (600, 600), (), False),
    ("a call of the x32 kind", (0x40000000, 0x40000000), (), False),
]


@pytest.mark.parametrize("machine, architecture", [("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)])
def test_the_filter_allows_what_python_needs_and_refuses_the_rest(machine, architecture):
    steps = jail_filter.filter_program(machine)
    for name, numbers, arguments, may in CALLS:
        answer = filtered(steps, architecture, numbers[machine == "aarch64"], arguments)
        assert (answer == 0x7FFF0000) is may, name
    assert filtered(steps, 0x40000003, 1, ()) == 0x80000000  # a call of 32 bits ends the program


def filtered(steps, architecture, number, arguments):
    """What the kernel would do: the filter's language, as far as the filter uses it."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    at = value = 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return operand
        else:
            holds = value == operand if code == 0x15 else bool(value & operand)
            at += if_true if holds else if_false


def may_change_user():
    with open("/proc/self/status") as file:
        (held,) = [line.split()[1] for line in file if line.startswith("CapEff:")]
    return int(held, 16) >> 6 & 3 == 3  # CAP_SETGID, CAP_SETUID


@pytest.mark.skipif(not ON_LINUX, reason="capabilities are Linux's")
def test_who_gave_up_its_privileges_has_no_capability_and_cannot_get_one():
    program = (
        "import os; from jaxreason.tasks import jail_kernel as k; "
        "print(k.drop_privileges('/'), os.getuid(), os.getgroups()); "
        "print(open('/proc/self/status').read())"
    )
    run = [sys.executable, "-c", program]
    told = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    if may_change_user():
        changed, user, groups = told.split("\n")[0].split(" ", 2)
        assert (changed, groups) == ("True", "[]") and int(user) >= 1 << 29
    fields = dict(line.split(":\t", 1) for line in told.split("\n")[1:] if ":\t" in line)
    assert [int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")] == [0, 0, 0]
    assert fields["NoNewPrivs"] == "1"


@needs_isolation
def test_the_file_that_a_program_may_write_is_gone_with_its_jail():
    code = "import os\nprint(os.listdir('/tmp'))\nopen('/tmp/mine', 'w').write('x')"
    for _ in range(2):
        outcome = run_program(code, "", BEST)
        assert b"mine" not in outcome.output
    assert not os.path.exists("/tmp/mine")


@needs_isolation
def test_a_program_is_ended_at_its_limits_and_the_jail_serves_on():
    limits = Limits(seconds=0.5, memory_bytes=300 << 20, output_bytes=100_000)
    programs = {
        "while True: pass": "timeout",
        "while True: print('x' * 1000)": "output",
        "x = bytearray(1 << 30)": "failed",
        "import ctypes; ctypes.string_at(0)": "failed",
        "raise SystemExit('why')": "failed",
        "print('x' * 99_000)": "finished",
    }
    with Jail(BEST, limits) as jail:
        for program, ended in programs.items():
            outcome = jail.run({"kind": "stdin", "code": program, "stdin": ""})
            assert outcome.ended == ended, program
            assert len(outcome.output) <= 100_000


@needs_isolation
def test_programs_of_one_jail_share_nothing_but_their_scratch():
    with Jail(BEST, Limits()) as jail:
        for _ in range(2):
            code = "import builtins\nprint(hasattr(builtins, 'mark'))\nbuiltins.mark = 1"
            assert jail.run({"kind": "stdin", "code": code, "stdin": ""}).output == b"False\n"


@needs_isolation
def test_large_inputs_and_outputs_arrive_whole():
    text = "\n".join(str(n) for n in range(300_000)) + "\u00e9\n"
    outcome = run_program("import sys\nsys.stdout.write(sys.stdin.read())", text, BEST)
    assert (outcome.ended, outcome.output) == ("finished", text.encode())


@needs_isolation
def test_a_program_finds_what_solutions_of_contests_use():
    code = """
import sys, threading
threading.stack_size(1 << 26)
sys.setrecursionlimit(10 ** 6)
def main():
    def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
    print(depth(100_000), open(0).read().split())
thread = threading.Thread(target=main)
thread.start()
thread.join()
"""
    outcome = run_program(code, "a b\n", BEST)
    assert (outcome.ended, outcome.output) == ("finished", b"100000 ['a', 'b']\n")
    numpy = run_program("import numpy as np\nprint(np.arange(5) @ np.arange(5))", "", BEST)
    assert (numpy.ended, numpy.output) == ("finished", b"30\n")


# What fast input and output of contests needs: a mode, files that stay open, and reads of many bytes at once.
OWN_STREAMS = """
import io, os, sys
class Fast(io.IOBase):
    def __init__(self, file):
        self._file, self.buffer = file.fileno(), io.BytesIO()
        self.writable = "x" in file.mode or "r" not in file.mode
    def readline(self):
        return b"" if self.writable else os.read(self._file, 100)
    def flush(self):
        if self.writable:
            os.write(self._file, self.buffer.getvalue())
sys.stdin, sys.stdout = Fast(sys.stdin), Fast(sys.stdout)
sys.stdout.buffer.write(sys.stdin.readline())
"""


@needs_isolation
@pytest.mark.parametrize(
    "code",
    [
        OWN_STREAMS,
        "import sys\nassert sys.stdin.buffer.peek(3) == b'a b\\n'\nprint(sys.stdin.buffer.read1().decode())",
        "import io, sys\nsys.stdout = io.StringIO()\nprint(input())\nsys.__stdout__.write(sys.stdout.getvalue())",
        "import sys\nprint(sys.__stdin__.read())\nsys.stdout.close()",
        "import sys\nsys.stdout.write(input())\nsys.stdout = None",
    ],
)
def test_the_standard_streams_are_those_of_a_script(code):
    outcome = run_program(code, "a b\n", BEST)
    assert (outcome.ended, outcome.output.strip()) == ("finished", b"a b")


@needs_isolation
def test_the_order_of_sets_is_the_same_in_every_run():
    outputs = {run_program("print(set('abcdefgh'))", "", BEST).output for _ in range(3)}
    assert len(outputs) == 1


@needs_isolation
def test_a_jail_that_answered_too_late_is_closed():
    request = {"kind": "stdin", "code": "import time; time.sleep(1); print(1)", "stdin": ""}
    with Jail(BEST, Limits()) as jail:
        assert jail.run({"kind": "no such kind"}).ended == "failed"
        with pytest.raises(JailError, match="in time"):
            jail.exchange(request | {"seconds": 9}, 0.2)
        # The late answer to that is not taken for the answer to the next.
        assert jail.run(request | {"code": "print(2)"}).ended == "lost"


@needs_isolation
def test_a_killed_worker_takes_its_programs_with_it():
    libc = ctypes.CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)  # orphans become ours
    tests = {"public": '[{"input": "", "output": "", "testtype": "stdin"}]', "private": None}
    example = Example("1", "code", (), "", "test", {"tests": tests})
    try:
        with VerifierPool(1, 30.0) as pool:
            pool.score("code", [(example, "print()")])
            worker = pool._workers[0].process.pid
            program = "```python\nimport time\ntime.sleep(100)\n```"
            verdicts = []
            thread = threading.Thread(
                target=lambda: verdicts.extend(pool.score("code", [(example, program)]))
            )
            thread.start()
            kept = len(descendants(worker))
            wait_until(lambda: len(descendants(worker)) >= kept + 2)
            inside = descendants(worker)
            os.kill(worker, signal.SIGKILL)
            thread.join(20)
            assert verdicts[0].error.startswith("crash")
        wait_until(lambda: not any(is_running(pid) for pid in inside))
    finally:
        libc.prctl(36, 0, 0, 0, 0)


@needs_isolation
def test_a_problem_may_take_longer_than_the_pool_allows_others():
    tests = [{"input": str(n), "output": "", "testtype": "stdin"} for n in range(3)]
    metadata = {"tests": {"public": json.dumps(tests), "private": None}}
    example = Example("1", "code", (), "", "test", metadata)
    program = "```python\nimport time\ntime.sleep(0.8)\n```"
    with VerifierPool(1, 1.0) as pool:
        (verdict,) = pool.score("code", [(example, program)])
    assert (verdict.error, verdict.scores["accuracy"]) == (None, 1.0)
