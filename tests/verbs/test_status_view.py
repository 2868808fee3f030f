"""`jaxreason status`: whether a run lives, where it is, how fast, what is left, and how it ended."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import object_store
import pytest
from etils import epath
from program import call, refused

from jaxreason.device_state import count_compilations, device_state
from jaxreason.errors import UserError
from jaxreason.results import process_life, run_status
from jaxreason.results.atomic_files import write_json
from jaxreason.results.run_status import at_hosts, at_progress, at_stage, keep_status, read_status
from jaxreason.tracking import profiling
from jaxreason.tracking.profiling import hear_progress, traced
from jaxreason.verbs.status_view import state_of

ROOT = Path(__file__).parents[2]


def shown(capsys, folder, code=0):
    capsys.readouterr()
    assert call("status", folder) == code
    return capsys.readouterr().out


def test_of_a_living_run_stage_progress_and_what_is_left_are_said(tmp_path, capsys):
    device = {
        "devices": 4,
        "kind": "TPU v5p",
        "processes": 2,
        "compilations": 7,
        "compile_seconds": 61.0,
    }
    device |= {"memory_bytes": 2**30, "memory_peak_bytes": 2**31, "memory_limit_bytes": 2**35}
    with keep_status(epath.Path(tmp_path), "study", lambda: device):
        at_stage("train rl", 2, 7)
        at_progress("rl", 1, 5)
        time.sleep(0.05)
        at_progress("rl", 3, 5)
        at_hosts([0.5, 2.0, 0.4])
        run_status._current._write()
        text = shown(capsys, tmp_path)
    assert "study in" in text and ": running\n" in text
    assert "stage 2 of 7: train rl" in text and "rl: 3 of 5, about 0:00:00 left" in text
    assert (
        "4 x TPU v5p, 2 processes, 1.0 GiB in use, at most 2.0 of 32.0, 7 programs compiled in 61 s"
        in text
    )
    assert "slowest host: process 1 works 2.00 s a step by itself, the others 0.50 s" in text


def test_what_is_left_follows_from_the_speed_since_the_first_word(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(run_status.time, "monotonic", lambda: clock[0])
    with keep_status(epath.Path(tmp_path), "rl"):
        clock[0] = 100.0
        at_progress("rl", 4, 20)  # a run that goes on from step 4
        clock[0] = 140.0
        at_progress("rl", 8, 20)
        clock[0] = 145.0
    value = read_status(tmp_path)
    assert value["progress"] == {"name": "rl", "done": 8, "of": 20, "seconds_left": 120.0}
    assert value["spent"] == {"preparing": 100.0, "working": 40.0, "finishing": 5.0}


@pytest.mark.parametrize(
    ("changes", "said", "code"),
    [
        ({"state": "done"}, ": done\n", 0),
        ({"state": "stopped"}, "stopped by a signal", 0),
        ({"state": "failed", "error": "UserError: x is y"}, "last error: UserError: x is y", 1),
        ({"state": "running", "host": "other", "life": ""}, "dead: it gives no sign of life", 1),
    ],
)
def test_the_end_of_a_run_is_told_and_a_dead_or_failed_one_ends_with_1(
    changes, said, code, tmp_path, capsys
):
    with keep_status(epath.Path(tmp_path), "sft"):
        pass
    path = tmp_path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    os.utime(path, (1e9, 1e9))
    assert said in shown(capsys, tmp_path, code)


@pytest.mark.parametrize(("ahead", "silent"), [(3600, 60), (-3600, 60), (3600, 0), (-3600, 0)])
def test_a_run_lives_or_is_dead_whatever_the_clock_of_its_host_says(
    tmp_path, capsys, ahead, silent
):
    with keep_status(epath.Path(tmp_path), "sft"):
        pass
    path, now = tmp_path / "status.json", time.time()
    told = {"state": "running", "host": "other", "life": "", "updated": now + ahead - silent}
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    os.utime(path, (now - silent, now - silent))  # The disk's own clock is the one here.
    said = ": dead: it gives no sign of life" if silent else ": running\n"
    assert said in shown(capsys, tmp_path, bool(silent))


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_living_run_on_a_bucket_is_running_by_the_time_of_the_store(scheme, monkeypatch, capsys):
    with object_store.opened(monkeypatch, scheme):
        folder = epath.Path(f"{scheme}://bucket/run")
        with keep_status(folder, "sft"):
            told = read_status(folder)
        write_json(folder / "status.json", told | {"host": "other", "life": "", "updated": 1e9})
        assert ": running\n" in shown(capsys, folder)


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert "no run has begun here" in refused(capsys, "status", tmp_path)


def test_a_path_that_no_library_opens_is_refused_in_a_line(capsys):
    assert "expected a folder, or a path" in refused(capsys, "status", "gcs://bucket/run")
    assert "expected a folder, or a path" in refused(capsys, "show", "gcs://bucket/run")


def test_of_a_run_of_a_version_without_a_status_its_files_are_told(tmp_path, capsys):
    arm = {"name": "rl", "method": "rl", "label": "RL", "seeds": [0]}
    study = {"name": "s", "base": "b", "groups": {}, "arms": [arm], "decodings": []}
    (tmp_path / "study.json").write_text(json.dumps(study))
    run = tmp_path / "rl/seed_0"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 1, "step_seconds": 2.0}\n')
    other = tmp_path / "damaged"
    other.mkdir()
    (other / "metrics.jsonl").write_text('{"loss": 2.0}\n')
    assert "damaged: step ? (last 1 steps)" in shown(capsys, other)
    (run / "done.json").write_text("{}")
    text = shown(capsys, tmp_path)
    assert "there is no status.json, as of a run of an older version" in text
    assert "seed_0: step 1, 2.00 s a step (last 1 steps)" in text
    assert "rl/seed_0  yes" in text


@pytest.mark.parametrize(("steps", "said"), [(2, "1.00 s"), (4, "2.00 s"), (9, "2.00 s")])
def test_the_speed_is_of_as_many_steps_as_asked_for_without_the_first_of_the_run(
    tmp_path, capsys, steps, said
):
    rows = [{"step": n, "step_seconds": s} for n, s in enumerate((60.0, 3.0, 3.0, 1.0, 1.0), 1)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("status", tmp_path, "--steps", steps) == 0
    assert f"{said} a step (last {min(steps, 4)} steps)" in capsys.readouterr().out


def test_what_else_is_damaged_is_named_and_hides_nothing_of_the_status(tmp_path, capsys):
    with pytest.raises(UserError), keep_status(epath.Path(tmp_path), "study"):
        raise UserError("the data are gone")
    (tmp_path / "study.json").write_text('{"name": "s", "ba')
    text = shown(capsys, tmp_path, 1)
    assert "last error: UserError: the data are gone" in text
    assert "study.json: not valid JSON" in text


@pytest.mark.slow
def test_a_run_tells_its_speed_and_a_profile_of_it_can_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"question": f"{n}+{n}", "answer": str(2 * n), "solution": f"#{2 * n}"} for n in range(9)
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = ("--model", ROOT / "configs/tiny_base", "--data", "mine.jsonl", "--target", "mine.py")
    assert call("init", *base) == 0
    few = ("--config.sft.epochs=3.0", "--config.sft.checkpoint_every=0")
    assert call("sft", "--config", "mine.py", *few, "--workdir", "run", "--profile") == 0
    text = shown(capsys, "run")
    assert "sft in run: done" in text and "run: step 2," in text and "tokens/s" in text
    assert "goodput of" in text and "programs compiled" in text
    value = read_status("run")
    assert value["device"]["compilations"] > 0 and value["progress"]["done"] == 2
    (trace,) = Path("run/profile").rglob("*.xplane.pb")
    planes = [plane.name for plane in jax.profiler.ProfileData.from_file(str(trace)).planes]
    assert any(name.startswith("/host:") for name in planes), planes


def test_processes_of_one_machine_trace_into_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "SECONDS", 0.0)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda number=process: number)
        with traced(epath.Path(tmp_path)):
            hear_progress()
            hear_progress()
    traces = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.xplane.pb")]
    assert sorted(path.split("/")[:2] for path in traces) == [
        ["profile", "process_0"],
        ["profile", "process_1"],
    ]


def test_a_trace_that_cannot_be_made_costs_the_run_nothing(tmp_path, caplog):
    jax.profiler.start_trace(str(tmp_path / "of_somebody_else"))
    try:
        with pytest.raises(UserError, match="the run's own"), traced(epath.Path(tmp_path)):
            hear_progress()
            hear_progress()
            raise UserError("the run's own")
    finally:
        jax.profiler.stop_trace()
    assert caplog.text.count("--profile: there is no trace") == 1


def test_nothing_is_traced_unless_asked_and_a_run_without_steps_says_so(tmp_path, caplog):
    with traced(None):
        hear_progress()
    with traced(epath.Path(tmp_path)):
        pass
    assert "nothing was traced" in caplog.text and list(tmp_path.iterdir()) == []


def test_every_program_that_is_compiled_is_counted():
    count_compilations()
    before = device_state()["compilations"]
    jax.jit(lambda x: x * 3 + 41)(7).block_until_ready()
    assert device_state()["compilations"] > before
    again = device_state()["compilations"]
    count_compilations()
    jax.jit(lambda x: x * 5 + 43)(7).block_until_ready()
    assert device_state()["compilations"] == again + 1


def test_a_run_whose_process_has_ended_is_dead_whatever_the_clock_says(tmp_path, capsys):
    program = (
        "import os, sys; from etils import epath; from jaxreason.results.run_status import keep_status\n"
        "with keep_status(epath.Path(sys.argv[1]), 'sft'): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT).returncode == -9
    value = read_status(tmp_path)
    assert value["state"] == "running" and value["life"]
    write_json(tmp_path / "status.json", value | {"updated": time.time() + 3600})
    assert "sft in" in (text := shown(capsys, tmp_path, 1)) and ": dead" in text


def test_only_the_very_process_of_a_run_is_looked_for(tmp_path, capsys):
    with keep_status(epath.Path(tmp_path), "sft"):
        own = read_status(tmp_path)
    living = own | {"state": "running", "updated": time.time()}
    boot, space, begun = own["life"].split()
    for life, state in (
        (own["life"], "running"),
        (f"{boot} {space} {int(begun) + 1}", "dead"),  # The id is another process's now.
        (
            f"{boot} pid:[1] {begun}",
            "running",
        ),  # Of another container: it cannot be seen from here.
        (f"other-boot {space} {begun}", "running"),
        ("", "running"),
        (7, "running"),
    ):
        assert state_of(living | {"life": life}, 0.0) == state, life
    del living["life"]  # Of an older version.
    assert state_of(living, 0.0) == "running"


def test_a_process_that_nobody_has_asked_for_yet_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    life = process_life.life_of(child.pid)
    assert life and not process_life.has_ended(child.pid, life)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_life.has_ended(child.pid, life)
    child.communicate()
    assert process_life.has_ended(child.pid, life)
