import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import misbehaving_tasks
import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks import verify
from jaxreason.tasks.registry import TASKS
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


def test_grading_happens_in_other_processes_and_a_worker_may_serve_several_tasks():
    with VerifierPool(1, 5.0, SOURCE) as pool:
        (cheap,) = pool.score("cheap", [(example("1"), "1")])
        (pooled,) = pool.score("pooled", [(example("1"), "1")])
    assert cheap.scores["pid"] == pooled.scores["pid"] != os.getpid()


def test_one_text_for_one_question_is_graded_once():
    one, other = example("1"), example("2")
    with VerifierPool(1, 0.7, SOURCE) as pool:
        items = [(one, "hang"), (one, "1"), (one, "hang"), (other, "1"), (one, "hang")]
        verdicts = pool.score("pooled", items)
        assert pool.failures == {"timeout": 3}
    assert [v.scores.get("accuracy") for v in verdicts] == [None, 1.0, None, 0.0, None]


def test_after_its_budget_a_round_names_the_rest_timeouts_and_the_next_round_grades_again():
    with VerifierPool(1, 1.0, SOURCE) as pool:
        items = [(example(str(n)), "hang") for n in range(30)]
        verdicts = pool.score("pooled", items, budget_s=2.0)
        tried = sum("no verdict" in v.error for v in verdicts)
        assert 2 <= tried <= 3
        assert all("not tried" in v.error for v in verdicts[tried:])
        assert pool.score("pooled", [(example("1"), "1")])[0].error is None


def test_closing_does_not_wait_for_what_another_thread_has_graded():
    pool = VerifierPool(1, 600.0, SOURCE)
    with ThreadPoolExecutor(1) as other:
        grading = other.submit(pool.score, "pooled", [(example("1"), "hang")])
        deadline = time.monotonic() + 60
        while not any(worker.index >= 0 for worker in pool._workers):
            assert time.monotonic() < deadline, "grading has not begun"
            time.sleep(0.01)
        pool.close()
        with pytest.raises(RuntimeError, match="closed while it graded"):
            grading.result(timeout=60)
    with pool:
        assert pool.score("pooled", [(example("1"), "1")])[0].error is None


def test_what_a_grader_prints_or_starts_neither_blocks_nor_outlives_it(capfd):
    with VerifierPool(1, 3.0, SOURCE) as pool:
        printed, forked = pool.score("pooled", [(example("1"), t) for t in ("print", "fork")])
        pool.close()
    assert printed.error is None
    assert capfd.readouterr() == ("", "")
    child = int(forked.scores["child"])
    deadline = time.monotonic() + 20
    while is_running(child):
        assert time.monotonic() < deadline, "what the grader started is still there"
        time.sleep(0.05)


@pytest.mark.parametrize("text", ["x" * 10_000_000, "\ud800 lone", "NUL \0 in it", "\U0001f600"])
def test_long_and_strange_replies_reach_the_grader_whole(text):
    with VerifierPool(1, 20.0, SOURCE) as pool:
        verdicts = pool.score("pooled", [(example(text), text)])
    assert (verdicts[0].error, verdicts[0].scores["accuracy"]) == (None, 1.0)


def test_workers_go_first_where_memory_ends():
    with VerifierPool(1, 20.0, SOURCE) as pool:
        pool.score("pooled", [(example("1"), "1")])
        path = f"/proc/{pool._workers[0].process.pid}/oom_score_adj"
        if not os.path.exists(path):
            pytest.skip("not Linux")
        with open(path) as file:
            assert int(file.read()) == 1000


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


def test_an_exception_in_a_task_without_setup_is_a_named_error_too():
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
    with (
        broken as pool,
        pytest.raises(RuntimeError, match=r"do not start.*the library of this task is not there"),
    ):
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
    assert verify.load_tasks("jaxreason.tasks.registry:TASKS") is TASKS
    assert verify.load_tasks(SOURCE) is misbehaving_tasks.TASKS
