"""`status.json`: what the run in a working directory is doing, or how it ended."""

import json
import threading
import time

import bucket
import pytest
from etils import epath
from program import call

from jaxreason.errors import UserError
from jaxreason.results import run_status
from jaxreason.results.run_status import at_progress, at_stage, keep_status, read_status, say_failed


def test_a_living_run_says_what_it_does_and_a_finished_one_that_it_is_done(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREASON_RUN", "the name of this run")
    monkeypatch.setattr(run_status, "SECONDS", 0.02)
    with keep_status(epath.Path(tmp_path), "study"):
        first = read_status(tmp_path)
        at_stage("train rl", 2, 7)
        at_progress("rl", 3, 10)
        value = wait_for(tmp_path, lambda value: value["progress"])
    assert first["state"] == "running" and first["stage"] is None
    assert value["stage"] == {"name": "train rl", "number": 2, "of": 7}
    assert value["progress"] == {"name": "rl", "done": 3, "of": 10, "seconds_left": None}
    assert value["started"] <= value["moved"] <= value["updated"]
    done = read_status(tmp_path)
    assert (done["verb"], done["state"], done["error"]) == ("study", "done", "")
    assert done["run"] == "the name of this run" and done["every"] == 0.02


def test_a_stage_that_counts_no_steps_is_work_from_its_beginning_to_its_end(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(run_status.time, "monotonic", lambda: clock[0])
    with keep_status(epath.Path(tmp_path), "study"):
        for moment, name in ((3.0, "train"), (60.0, "drift"), (90.0, "report")):
            clock[0] = moment
            at_stage(name, 1, 3)
            if name == "train":
                for clock[0], done in ((10.0, 1), (50.0, 9)):
                    at_progress("sft", done, 9)
        clock[0] = 95.0
    assert read_status(tmp_path)["spent"] == {"preparing": 10.0, "working": 75.0, "finishing": 10.0}


def wait_for(folder, found):
    for _ in range(500):
        value = read_status(folder)
        if found(value):
            return value
        time.sleep(0.01)
    raise AssertionError(value)


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (UserError("the data are gone"), "failed", "UserError: the data are gone"),
        (OSError("x" * 5000), "failed", "OSError: " + "x" * 1991),
        (SystemExit(143), "stopped", ""),
        (KeyboardInterrupt(), "stopped", ""),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (SystemExit(0), "done", ""),
    ],
)
def test_an_end_is_said_with_its_error(tmp_path, error, state, said):
    with pytest.raises(type(error)), keep_status(epath.Path(tmp_path), "rl"):
        raise error
    value = read_status(tmp_path)
    assert (value["state"], value["error"]) == (state, said)


def test_a_stage_within_a_run_leaves_the_status_to_the_run(tmp_path):
    with keep_status(epath.Path(tmp_path), "study"):
        with keep_status(epath.Path(tmp_path) / "rl", "rl"):
            pass
        assert read_status(tmp_path)["state"] == "running"
    assert read_status(tmp_path / "rl") is None


def test_the_reason_of_the_process_that_had_it_counts_for_more_than_what_this_one_saw(tmp_path):
    with pytest.raises(ValueError), keep_status(epath.Path(tmp_path), "rl"):
        raise ValueError("connection closed by peer")
    say_failed("process 1 ended this job: OSError: disk full")
    value = read_status(tmp_path)
    assert (value["state"], value["error"]) == (
        "failed",
        "process 1 ended this job: OSError: disk full",
    )


def test_the_program_says_how_a_verb_ended_and_hides_secrets_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    folder = str(tmp_path / "hf_of_somebody")
    assert call("weights", "--base", folder, "--tuned", folder, "--workdir", tmp_path / "run") == 2
    value = read_status(tmp_path / "run")
    assert (value["verb"], value["state"]) == ("weights", "failed")
    assert str(tmp_path) in value["error"] and "hf_of_somebody" not in value["error"]


def test_a_status_that_cannot_be_written_never_stops_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    with keep_status(epath.Path(tmp_path) / "file" / "run", "rl"):
        at_progress("rl", 1, 2)
    assert not list(tmp_path.glob("status*"))


def test_a_device_that_does_not_answer_stops_neither_the_run_nor_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr(run_status, "SECONDS_FOR_THE_DEVICE", 0.05)
    hangs = threading.Event()
    begun = time.monotonic()
    with keep_status(epath.Path(tmp_path), "rl", lambda: hangs.wait(60) and {}):
        assert read_status(tmp_path)["state"] == "running"
        for step in range(3):
            at_progress("rl", step, 3)
    assert time.monotonic() - begun < 20
    hangs.set()
    value = read_status(tmp_path)
    assert (value["state"], value["device"]) == ("done", {}) and value["progress"]["done"] == 2


def test_a_device_that_cannot_tell_and_a_bucket_that_is_slow_cost_the_run_nothing(tmp_path):
    def cannot():
        raise RuntimeError("memory_stats is not implemented")

    with keep_status(epath.Path(tmp_path), "rl", cannot), run_status._current._writing:
        # As while an object is on its way to the bucket.
        at_progress("rl", 1, 3)
        at_stage("train rl", 1, 2)
    value = read_status(tmp_path)
    assert (value["state"], value["device"], value["stage"]["number"]) == ("done", {}, 1)


def test_an_error_of_any_characters_is_told(tmp_path):
    with pytest.raises(ValueError), keep_status(epath.Path(tmp_path), "rl"):
        raise ValueError("\udcff.jsonl, line 3:\nnaïve \0")
    value = read_status(tmp_path)
    assert value["state"] == "failed"
    assert value["error"] == "ValueError: \\udcff.jsonl, line 3:\nnaïve \0"


@pytest.mark.parametrize("gone", ["updated", "every", "spent", "process", "verb"])
def test_a_status_that_lacks_what_every_status_has_is_refused_by_its_name(tmp_path, gone):
    with keep_status(epath.Path(tmp_path), "rl"):
        pass
    path = tmp_path / "status.json"
    value = json.loads(path.read_text())
    del value[gone]
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"status.json, {gone}: expected .* got nothing"):
        read_status(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"updated": 1e300}, "updated: expected seconds since 1970, got 1e\\+300"),
        ({"started": float("nan")}, "started: expected seconds since 1970, got nan"),
        ({"spent": {"working": "a"}}, "working: expected a number, got 'a'"),
        ({"stage": {"name": "rl", "number": "x", "of": 9}}, "number: expected a whole number"),
        ({"device": {"kind": "cpu"}}, "devices: expected"),
    ],
)
def test_a_status_that_was_edited_is_refused_with_the_place(tmp_path, changes, said):
    with keep_status(epath.Path(tmp_path), "rl"):
        pass
    path = tmp_path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=f"status.json.*{said}"):
        read_status(tmp_path)


def test_on_a_bucket_it_is_one_object_written_rarely(monkeypatch):
    store = bucket.use(monkeypatch)
    with keep_status(epath.Path("gs://bucket/run"), "rl"):
        for step in range(100):
            at_progress("rl", step, 100)
    assert store.changes == ["bucket/run/status.json"] * 2
    assert read_status("gs://bucket/run")["every"] == 60


def test_without_a_run_nothing_is_written_or_read(tmp_path, monkeypatch):
    monkeypatch.setattr(run_status, "_last", None)
    at_stage("train", 1, 2)
    at_progress("sft", 1, 2)
    say_failed("nobody")
    assert read_status(tmp_path) is None and not list(tmp_path.iterdir())
