"""Trackers: what a run sends, under which id, and that it survives them."""

import json
import logging
import sys

import pytest

from jaxreason.errors import UserError
from jaxreason.tracking.metric_logger import MetricsWriter
from jaxreason.tracking.trackers import Tracker, check_tracker

# What stands in for the libraries, which the tests do not install: it writes down how it was called.
WANDB = """
import json, pathlib
class Run:
    def define_metric(self, name, step_metric): note("define", name, step_metric)
    def log(self, values): note("log", values)
    def finish(self): note("finish")
def note(*call):
    with (pathlib.Path(__file__).parent / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + chr(10))
def init(**how):
    note("init", how)
    if (pathlib.Path(__file__).parent / "offline").exists():
        raise ConnectionError("no such host")
    return Run()
"""
TRACKIO = """
import wandb
def init(**how): wandb.note("init", how)
def log(values, step): wandb.note("log", values, step)
def finish(): wandb.note("finish")
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The calls that the libraries got, read when asked."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    (folder / "wandb.py").write_text(WANDB)
    (folder / "trackio.py").write_text(TRACKIO)
    monkeypatch.syspath_prepend(str(folder))
    yield lambda: [json.loads(x) for x in (folder / "calls.jsonl").read_text().splitlines()]
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


def a_run(tmp_path, name="wandb", steps=(1,), resume_step=0):
    folder = tmp_path / "runs" / "twin"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"claimed": {}, "recipe": {"seed": 4, "sft": {"length": 7}}}
    (folder / "config.json").write_text(json.dumps(recipe))
    with MetricsWriter(folder, "sft", 10, False, resume_step, tracker=name) as metrics:
        for step in steps:
            metrics.write(step, {"loss": 0.5 * step})
    return folder


def test_wandb_gets_name_recipe_and_the_numbers_of_each_step(tmp_path, calls):
    folder = a_run(tmp_path, steps=(1, 2))
    init, define, first, second, finish = calls()
    assert init[1]["name"] == "twin" and init[1]["config"] == {"seed": 4, "sft": {"length": 7}}
    assert init[1]["id"] == json.loads((folder / "tracker.json").read_text())["wandb"]
    assert define == ["define", "*", "step"]
    assert first == ["log", {"step": 1, "sft/loss": 0.5}]
    assert second == ["log", {"step": 2, "sft/loss": 1.0}]
    assert finish == ["finish"]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_resumed_run_goes_on_under_the_same_id(tmp_path, calls, name):
    a_run(tmp_path, name, steps=(1, 2))
    a_run(tmp_path, name, steps=(3,), resume_step=2)
    first, second = (call[1] for call in calls() if call[0] == "init")
    assert first == second and first["resume"] == "allow"


def test_trackio_gets_the_numbers_under_their_steps(tmp_path, calls):
    a_run(tmp_path, "trackio", steps=(1, 2))
    assert [call for call in calls() if call[0] == "log"] == [
        ["log", {"sft/loss": 0.5}, 1],
        ["log", {"sft/loss": 1.0}, 2],
    ]


def test_a_tracker_that_fails_is_one_warning_and_no_end(tmp_path, calls, caplog):
    (tmp_path / "libraries" / "offline").touch()
    with caplog.at_level(logging.WARNING):
        folder = a_run(tmp_path, steps=(1, 2, 3))
    assert [row.message for row in caplog.records] == [
        "wandb failed (ConnectionError('no such host')); training goes on."
    ]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3


def test_calls_that_fail_later_are_one_warning_too(tmp_path, calls, caplog):
    tracker = Tracker("wandb", tmp_path, "rl")
    tracker._run.log = None
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            tracker.log(step, {"loss": 1.0})
        tracker.close()
    assert len(caplog.records) == 1
    assert calls()[-1] == ["finish"]


def test_a_tracker_that_is_not_installed_is_refused_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"rl\.tracker='trackio': .* `pip install trackio`"):
        check_tracker("trackio", "rl")
    check_tracker("", "rl")
