import ctypes
import json
import os
import signal
import sys
import threading

import pytest
from jail_processes import descendants, is_running, wait_until

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import isolation, jail_ways
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
                found.setdefault(f"{way.name}{' with users' * way.new_user}", way)
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
        assert jail_ways.jail_filter.is_known_machine() is (outcome.ended == "failed")


def test_without_isolation_a_program_reaches_all_that_the_trial_looks_for():
    """So that a trial which finds nothing has been shown to find something."""
    reached = isolation.reached_from(NONE)
    expected = ["read a file", "write a file", "make a file", "change a mode", "connect", "signal"]
    assert reached[:6] == expected


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
