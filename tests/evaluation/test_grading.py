"""Lines are graded beside the caller, in real workers where the task needs them."""

import time

import pytest

from jaxreason.data.examples import Example
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.grading import EvalReply, Grader, sample_line
from jaxreason.results.jsonl import JsonlWriter, read_jsonl
from jaxreason.tasks.verify import VerifierPool


def reply(name, answer, text, sample=0, reason="stop", task="math"):
    messages = ({"role": "user", "content": f"question {name}"},)
    example = Example(name, task, messages, answer, "test", {})
    item = EvalItem(name, example, "", name)
    return item, sample_line("b", EvalReply(item, sample, (1, 2), (3, 4, 5), text, reason, {}))


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(num_workers=1, timeout_s=20.0) as pool:
        yield pool


def grade(pool, path, replies, task="math"):
    writer, seen = JsonlWriter(path), []
    with Grader(pool, task, writer, seen.extend) as grader:
        for one in replies:
            grader.put(*one)
    writer.close()
    lines = read_jsonl(path)
    assert seen == lines
    return lines


def test_mathematics_is_graded_in_a_worker(pool, tmp_path):
    replies = [
        reply("a", r"\frac{1}{2}", r"so \boxed{0.5}"),
        reply("b", "7", r"\boxed{8}"),
        reply("c", "7", "", reason="error: non-finite logits"),
        reply("d", "", r"\boxed{8}"),
    ]
    lines = grade(pool, tmp_path / "x.jsonl", replies)
    assert [line["scores"].get("accuracy") for line in lines] == [1.0, 0.0, None, None]
    assert [line["extracted"] for line in lines] == ["0.5", "8", None, None]
    assert lines[0]["error"] is None and lines[0]["answer"] == r"\frac{1}{2}"
    assert lines[2]["error"] == "sampling error: non-finite logits"
    assert lines[3]["error"].startswith("UserError: ") and "empty gold" in lines[3]["error"]


def test_putting_does_not_wait_for_grading(pool, tmp_path):
    grade(pool, tmp_path / "warm.jsonl", [reply("w", "1", r"\boxed{1}")])
    writer = JsonlWriter(tmp_path / "x.jsonl")
    with Grader(pool, "math", writer, lambda lines: time.sleep(0.5)) as grader:
        start = time.monotonic()
        for number in range(100):
            grader.put(*reply(str(number), "1", r"\boxed{1}"))
        assert time.monotonic() - start < 0.4
    writer.close()
    assert len(read_jsonl(tmp_path / "x.jsonl")) == 100


def test_an_exception_of_the_thread_reaches_the_caller(pool, tmp_path):
    def fail(lines):
        raise OSError("disk full")

    writer = JsonlWriter(tmp_path / "x.jsonl")
    with (
        pytest.raises(OSError, match="disk full"),
        Grader(pool, "hash_answer", writer, fail) as grader,
    ):
        grader.put(*reply("a", "1", "#1", task="hash_answer"))
    writer.close()


def test_an_exception_of_the_caller_ends_the_thread_without_grading_the_rest(pool, tmp_path):
    writer = JsonlWriter(tmp_path / "x.jsonl")
    grader = Grader(pool, "hash_answer", writer, lambda lines: time.sleep(0.2))
    with pytest.raises(KeyboardInterrupt), grader:
        for number in range(1000):
            grader.put(*reply(str(number), "1", "#1", task="hash_answer"))
        raise KeyboardInterrupt
    writer.close()
    assert len(read_jsonl(tmp_path / "x.jsonl")) < 1000
    assert not grader._thread.is_alive()
