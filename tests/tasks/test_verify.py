import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import misbehaving_tasks
import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks import verify
from jaxreason.tasks.verify import VerifierPool

SOURCE = "misbehaving_tasks:TASKS"


def example(answer: str) -> Example:
    return Example("1", "pooled", (), answer, "test", {})


def grade(texts, num_workers=2, timeout_s=3.0, task="pooled"):
    with VerifierPool(num_workers, timeout_s, SOURCE) as pool:
        verdicts = pool.score(task, [(example(str(i)), text) for i, text in enumerate(texts)])
        return verdicts, dict(pool.failures), pool


def test_verdicts_keep_the_order_of_their_items():
    verdicts, failures, _ = grade([str(i % 7) for i in range(40)])
    assert [v.scores["accuracy"] for v in verdicts] == [float(i < 7) for i in range(40)]
    assert [v.extracted for v in verdicts] == [str(i % 7) for i in range(40)]
    assert failures == {}


def test_grading_happens_in_other_processes_and_cheap_tasks_in_this_one():
    pooled, _, _ = grade(["x"])
    cheap, _, pool = grade(["x"], task="cheap")
    assert pooled[0].scores["pid"] != os.getpid()
    assert cheap[0].scores["pid"] == os.getpid()
    assert pool._workers == []


def test_hang_spin_raise_crash_exit_and_memory_are_named_and_the_others_are_graded():
    texts = [
        "0",
        "hang",
        "2",
        "raise",
        "4",
        "crash",
        "spin",
        "7",
        "exit",
        "memory",
        "recurse",
        "11",
    ]
    start = time.monotonic()
    verdicts, failures, _ = grade(texts)
    assert time.monotonic() - start < 60
    words = [None if v.error is None else v.error.split(":")[0] for v in verdicts]
    assert words == [
        None, "timeout", None, "ZeroDivisionError", None, "crash",
        "timeout", None, "crash", "MemoryError", "RecursionError", None,
    ]  # fmt: skip
    assert verdicts[3].error == "ZeroDivisionError: no such answer"
    assert "code 7" in verdicts[5].error
    assert all(v.scores["accuracy"] == 1.0 for v in verdicts if v.error is None)
    assert all(v.scores == {} and v.extracted is None for v in verdicts if v.error is not None)
    assert failures == {
        "timeout": 2, "crash": 2, "ZeroDivisionError": 1, "MemoryError": 1, "RecursionError": 1,
    }  # fmt: skip


def test_an_exception_in_a_cheap_task_is_a_named_error_too():
    verdicts, failures, _ = grade(["raise", "1"], task="cheap")
    assert [v.error for v in verdicts] == ["ZeroDivisionError: no such answer", None]
    assert failures == {"ZeroDivisionError": 1}


def test_a_pool_goes_on_after_its_idle_workers_were_killed():
    with VerifierPool(2, 5.0, SOURCE) as pool:
        pool.score("pooled", [(example("1"), "1")] * 4)
        for worker in pool._workers:
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
        verdicts = pool.score("pooled", [(example("1"), "1")] * 4)
    assert [v.error for v in verdicts] == [None] * 4


def test_no_worker_outlives_the_pool():
    with VerifierPool(2, 5.0, SOURCE) as pool:
        pool.score("pooled", [(example("1"), "1")] * 4)
        processes = [worker.process for worker in pool._workers]
    assert processes
    assert all(process.poll() is not None for process in processes)


def test_workers_that_cannot_start_end_the_call_with_an_error():
    broken = VerifierPool(1, 2.0, "misbehaving_tasks:BROKEN")
    with broken as pool, pytest.raises(RuntimeError, match="do not start"):
        pool.score("pooled", [(example("1"), "1")])


def test_unknown_tasks_and_impossible_pools_are_refused():
    with VerifierPool(1, 2.0, SOURCE) as pool:
        with pytest.raises(ValueError, match=r"'polled' is unknown.*pooled"):
            pool.score("polled", [])
        assert pool.score("pooled", []) == []
    with pytest.raises(ValueError, match="timeout_s > 0"):
        VerifierPool(1, 0.0)


def test_mathematics_is_graded_from_a_process_in_which_jax_runs():
    assert jax.numpy.ones(3).sum() == 3
    items = [
        (Example("1", "math", (), r"\frac{1}{2}", "", {}), text) for text in (r"\boxed{0.5}", "")
    ]
    with VerifierPool(2, 60.0) as pool:
        verdicts = pool.score("math", items)
    assert [v.scores["accuracy"] for v in verdicts] == [1.0, 0.0]
    assert verdicts[0].extracted == "0.5"


def test_a_caller_without_a_main_guard_is_not_run_again(tmp_path):
    program = """
        print("started")
        from jaxreason.data.examples import Example
        from jaxreason.tasks.verify import VerifierPool
        with VerifierPool(2, 5.0, "misbehaving_tasks:TASKS") as pool:
            items = [(Example("1", "pooled", (), "1", "", {}), "1")] * 3
            print([v.scores["accuracy"] for v in pool.score("pooled", items)])
    """
    path = tmp_path / "caller.py"
    path.write_text(textwrap.dedent(program))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "started\n[1.0, 1.0, 1.0]\n", done.stderr


def test_a_grading_worker_ends_by_itself_when_its_parent_is_killed(tmp_path):
    program = f"""
        import sys, threading, time
        from jaxreason.data.examples import Example
        from jaxreason.tasks.verify import VerifierPool
        pool = VerifierPool(1, 1.5, "{SOURCE}")
        spin = (Example("1", "pooled", (), "1", "", {{}}), "spin")
        threading.Thread(target=pool.score, args=("pooled", [spin]), daemon=True).start()
        while not pool._workers or pool._workers[0].index < 0:
            time.sleep(0.05)
        print(pool._workers[0].process.pid, flush=True)
        time.sleep(60)
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while is_running(worker):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_do_not_import_jax():
    program = (
        "import sys, jaxreason.tasks.verify; print('jax' in sys.modules, 'sympy' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False False\n", done.stderr


def test_the_default_tasks_are_the_registry():
    assert verify.load_tasks("jaxreason.tasks.registry:TASKS") is verify.TASKS
    assert verify.load_tasks(SOURCE) is misbehaving_tasks.TASKS
