"""SIGKILL at random moments over all stages of a study, and damage: the same results, or a word on what is wrong.

    JAXREASON_KILLS=48 pytest -m slow tests/test_kills.py      # 12 unless set

Every run is the program itself, in a process of its own. The moments are drawn with a seed (JAXREASON_KILLS_SEED), but
which write a kill hits also depends on the machine.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RECIPE = Path(__file__).parent / "smallest_study.py"
NUM_KILLS = int(os.environ.get("JAXREASON_KILLS", "12"))
SEED = int(os.environ.get("JAXREASON_KILLS_SEED", "0"))
LONGEST_S = 3.0  # from the stage that is drawn to the kill
NUM_STAGES = 9
TIMES = ("_seconds", "tokens_per_second")  # what no two runs measure alike
NOT_RESULTS = (".lock", "log.txt", "report.html")  # the page holds pictures whose ids are random

pytestmark = pytest.mark.slow


def start(folder):
    """The study in `folder`/run; all it says is added to `folder`/log."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JAX_COMPILATION_CACHE_DIR": os.environ.get(
            "JAX_COMPILATION_CACHE_DIR", str(folder.parent / "compiled")
        ),
    }
    command = "from jaxreason.cli import main; main()"
    arguments = ["study", "--config", str(RECIPE), "--workdir", "run"]
    with open(folder / "log", "a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", command, *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(folder):
    """Exit code and output of one run to its end."""
    log = folder / "log"
    log.write_text("")
    code = start(folder).wait(timeout=600)
    return code, log.read_text()


def kill_in_stage(process, log, number, seconds):
    """Kills a run and its workers `seconds` after stage `number` began; the stage, or None if it ended before."""
    log_start = log.stat().st_size
    moment = None
    while process.poll() is None:
        shown = log.read_text()[log_start:]
        if moment is None and f"stage {number}/" in shown:
            moment = time.monotonic() + seconds
        if moment is not None and time.monotonic() > moment:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            last = [line for line in shown.splitlines() if line.startswith("stage ")][-1]
            return int(last.split("/")[0].removeprefix("stage "))
        time.sleep(0.01)
    assert process.returncode == 0, log.read_text()[-6000:]
    return None


def results(workdir):
    """Everything a study measured, by file: without times, hashes of files that hold times, and its own place."""
    found = {}
    for path in sorted(p for p in workdir.rglob("*") if p.is_file()):
        name = str(path.relative_to(workdir))
        if "checkpoints/" in name or path.name in NOT_RESULTS:
            continue
        if path.name == "metrics.jsonl":
            found[name] = [_without_times(json.loads(line)) for line in path.open()]
        elif name == "report/summary.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "inputs"}
        else:
            found[name] = re.sub(rb'[^"\s:]*/run/', b"", path.read_bytes())
    return found


def _without_times(row):
    return {name: value for name, value in row.items() if not name.endswith(TIMES)}


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a study that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, output = run(folder)
    assert code == 0, output[-6000:]
    return folder


def test_killed_at_random_moments_and_continued_a_study_gives_the_same_results(
    undisturbed, tmp_path
):
    expected, draw = results(undisturbed / "run"), random.Random(SEED)
    stages, rounds = [], 0
    while len(stages) < NUM_KILLS:
        rounds += 1
        folder = tmp_path / str(rounds)
        folder.mkdir()
        (folder / "log").write_text("")
        finished, stage = False, 1
        while not finished and len(stages) < NUM_KILLS:
            number = draw.randint(stage, min(stage + 3, NUM_STAGES))  # on, so that all are reached
            seconds = draw.uniform(0, LONGEST_S)
            killed_in = kill_in_stage(start(folder), folder / "log", number, seconds)
            finished, stage = killed_in is None, killed_in or stage
            stages += [] if finished else [stage]
        if not finished:
            code, output = run(folder)
            assert code == 0, output[-6000:]
        assert_same(results(folder / "run"), expected)
        shutil.rmtree(folder)
    print(f"{NUM_KILLS} kills in {rounds} studies, in stages {stages}")
    assert len(set(stages)) >= min(4, NUM_KILLS // 2)  # not all in one place


# ---- damage ----


@pytest.fixture
def stopped(undisturbed, tmp_path):
    """A study as a kill left it after the last step of the SFT arm, before its model was written."""
    shutil.copytree(undisturbed / "run", tmp_path / "run")
    arm = tmp_path / "run" / "sft_top" / "seed_3"
    for name in ("done.json", "model", "evaluation", "analysis"):
        path = arm / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(tmp_path / "run" / "report")
    (tmp_path / "run" / "transfer.json").unlink()
    return tmp_path


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_a_bit(arm):
    path = largest_file(arm / "checkpoints" / "4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def truncate(arm):
    path = largest_file(arm / "checkpoints" / "4")
    os.truncate(path, path.stat().st_size // 2)


def remove_a_file(arm):
    largest_file(arm / "checkpoints" / "4").unlink()


def remove_the_table_of_arrays(arm):
    (arm / "checkpoints" / "4" / "default" / "_METADATA").unlink()


@pytest.mark.parametrize(
    "damage", [flip_a_bit, truncate, remove_a_file, remove_the_table_of_arrays]
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_gives_the_same(
    stopped, undisturbed, damage
):
    damage(stopped / "run" / "sft_top" / "seed_3")
    code, output = run(stopped)
    assert code == 0, output[-6000:]
    assert "checkpoints/4" in output
    assert_same(results(stopped / "run"), results(undisturbed / "run"))


def add_half_a_line(workdir):
    with open(workdir / "sft_top/seed_3/metrics.jsonl", "a") as file:
        file.write('{"step": 5, "sta')


def add_half_a_sample(workdir):
    path = workdir / "rl/seed_3/evaluation/add.t1.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:20])


def leave_temporary_files(workdir):
    for name in ("config.json", "study.json", "sft_top/seed_3/data.json"):
        (workdir / f"{name}.tmp-1").write_text("{")


def add_a_stray_checkpoint_folder(workdir):
    (workdir / "sft_top/seed_3/checkpoints/99").mkdir()


@pytest.mark.parametrize(
    "damage",
    [add_half_a_line, add_half_a_sample, leave_temporary_files, add_a_stray_checkpoint_folder],
)
def test_what_a_kill_or_a_full_disk_leaves_is_cleaned_up_and_changes_nothing(
    stopped, undisturbed, damage
):
    damage(stopped / "run")
    code, output = run(stopped)
    assert code == 0, output[-6000:]
    assert_same(results(stopped / "run"), results(undisturbed / "run"))


def double_a_sample(workdir):
    path = workdir / "base/evaluation/add.greedy.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines(keepends=True)[0])
    return "add.greedy.jsonl"


def add_an_unknown_question(workdir):
    path = workdir / "base/evaluation/add.greedy.jsonl"
    row = json.loads(path.read_text().splitlines()[0]) | {"id": "nobody"}
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    return "add.greedy.jsonl"


def empty_the_metrics(workdir):
    (workdir / "sft_top/seed_3/metrics.jsonl").write_text("")
    return "metrics.jsonl"


def lose_a_line_of_the_metrics(workdir):
    path = workdir / "sft_top/seed_3/metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))
    return "metrics.jsonl"


def halve_the_questions(workdir):
    path = workdir / "questions/sft.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    return "sft.jsonl"


def empty_a_completion_mark(workdir):
    (workdir / "rl/seed_3/done.json").write_text("")
    return "done.json"


def flip_a_bit_of_the_model(workdir):
    path = workdir / "rl/seed_3/model/model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    return "model.safetensors"


@pytest.mark.parametrize(
    "damage",
    [
        double_a_sample,
        add_an_unknown_question,
        empty_the_metrics,
        lose_a_line_of_the_metrics,
        halve_the_questions,
        empty_a_completion_mark,
        flip_a_bit_of_the_model,
    ],
)
def test_damage_that_cannot_be_made_good_is_refused_with_the_file(stopped, damage):
    name = damage(stopped / "run")
    code, output = run(stopped)
    assert code == 2, output[-6000:]
    assert name in output.splitlines()[-1] or name in output[-2000:]
    assert "Traceback" not in output
    assert not (stopped / "run" / "report" / "summary.json").exists()
