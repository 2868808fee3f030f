"""The verb: its table and its exit codes; a run that is killed, told to end, or on a bucket goes on where it was."""

import collections
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import bucket
import jax
import pytest
from program import call, refused
from serving import one_device
from teachers import Teacher, said
from test_endpoint import solve
from tiny_distill import MODEL, at, config_of, distill, files_of, replies_of, write_questions

from jaxreason.distill.distiller import run_distill
from jaxreason.recipes import load_recipe
from jaxreason.results import jsonl

ROOT = Path(__file__).parents[2]
RECIPE = """from configs import sections, distill_tiny, tiny


def get_config():
    config = distill_tiny.get_config()
    del config.procedural, config.sft
    data = sections.dataset(
        "{questions}", {{"id": "id", "prompt": "question", "answer": "answer"}}, task="hash_answer"
    )
    config.distill.datasets = {{"sums": data}}
    config.distill.grader_workers = 1
    config.distill.tokenizer = "{tokenizer}"
    config.distill.teacher.update(url="{url}", name="teacher", concurrency=4, backoff_s=0.01)
    return config
"""


def write_recipe(folder: Path, url: str, num: int = 12) -> Path:
    questions = write_questions(folder / "made", num)
    names = {"questions": questions, "tokenizer": folder / "made" / "tokenizer", "url": url}
    (folder / "recipe.py").write_text(RECIPE.format(**names))
    return folder / "recipe.py"


def start(recipe: Path, workdir: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", "from jaxreason.__main__ import main; main()"]
        + ["distill", "--config", str(recipe), "--workdir", str(workdir)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_verb_prints_the_yield_and_a_second_call_does_nothing(tmp_path, capsys):
    teacher = Teacher(solve)
    with teacher.serve() as url:
        recipe = write_recipe(tmp_path, url)
        for _ in range(2):
            assert call("distill", "--config", recipe, "--workdir", tmp_path / "run") == 0
            shown = capsys.readouterr().out.splitlines()
            assert any(line.split() == ["all", "12", "48", "48", "12", *"00000"] for line in shown)
            assert f"12 rows: {tmp_path / 'run' / 'distill' / 'data'}/*.jsonl" in shown
    assert len(teacher.bodies) == 48
    assert call("show", tmp_path / "run") == 0
    assert "tokens of think_response with its question: mean" in capsys.readouterr().out


def test_a_teacher_without_a_right_answer_is_one_message_and_code_2(tmp_path, capsys):
    with Teacher(lambda body, before: said("#0")).serve() as url:
        recipe = write_recipe(tmp_path, url)
        words = ("distill", "--config", recipe, "--workdir", tmp_path / "run")
        assert call(*words) == 2
        message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("jaxreason distill: ") and "answered nothing right" in message
    assert len(replies_of(tmp_path / "run")) == 48
    assert "no such section" in refused(
        capsys, "distill", "--config", "configs/eval_tiny.py", "--workdir", tmp_path / "x"
    )


def test_check_looks_a_distillation_over(capsys):
    assert call("check", "--config", str(ROOT / "configs/distill_tiny.py")) == 0
    shown = capsys.readouterr().out
    assert "distill: 2048 prompts" in shown and "nothing was found that would stop a run" in shown
    assert "sft: teacher is what `jaxreason distill` makes" in shown


def test_the_recipe_takes_another_teacher_after_a_colon():
    assert load_recipe("configs/distill_tiny.py").distill.teacher.path == ""
    assert load_recipe("configs/distill_tiny.py:runs/rl/model").distill.teacher.path == (
        "runs/rl/model"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_loses_no_more_than_the_replies_in_flight(tmp_path, number):
    ready, hold = threading.Event(), threading.Event()

    def answer(body, before):
        with teacher.lock:
            many = len(teacher.bodies) > 30
        if many and not hold.is_set():
            ready.set()
            hold.wait(60)
        return solve(body)

    teacher = Teacher(answer)
    with teacher.serve() as url:
        recipe = write_recipe(tmp_path, url)
        process = start(recipe, tmp_path / "run")
        assert ready.wait(120)
        time.sleep(0.5)  # those that were answered are written
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), output
        written = {(line["id"], line["sample"]) for line in replies_of(tmp_path / "run")}
        assert len(written) == 30
        hold.set()
        before = collections.Counter(body["seed"] for body in teacher.bodies)
        assert call("distill", "--config", recipe, "--workdir", tmp_path / "run") == 0
        after = collections.Counter(body["seed"] for body in teacher.bodies) - before
        assert after.total() == 48 - 30 and set(after.values()) == {1}
        assert call("distill", "--config", recipe, "--workdir", tmp_path / "undisturbed") == 0
    assert files_of(tmp_path / "run") == files_of(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("name", "change"),
    [("replies/main.parts/*", 3), ("verdicts/main.jsonl", 1), ("data/*", 2), ("done.json", 1)],
)
def test_a_run_on_a_bucket_that_dies_at_a_write_goes_on_to_what_a_disk_has(
    tmp_path, monkeypatch, name, change
):
    monkeypatch.setattr(jsonl, "FLUSH_LINES", 2)
    questions, store = write_questions(tmp_path), bucket.use(monkeypatch)
    with Teacher(solve).serve() as url:
        config = config_of(questions, teacher=at(url), tokenizer=str(tmp_path / "tokenizer"))
        config = dataclasses.replace(config, shard_rows=5)
        distill(config, tmp_path / "run")
        store.die_at(f"bucket/run/distill/{name}", change)
        with pytest.raises(bucket.Killed), jax.set_mesh(one_device()):
            run_distill(config, MODEL, one_device(), "gs://bucket/run", 0)
        store.revive()
        with jax.set_mesh(one_device()):
            run_distill(config, MODEL, one_device(), "gs://bucket/run", 0)
    prefix = "bucket/run/distill/"
    found = {name.removeprefix(prefix): data for name, data in store.objects.items()}
    assert found == files_of(tmp_path / "run")
