"""metrics.jsonl over restarts, and what is shown while a stage runs."""

import io
import json

import numpy as np
import rich.console
from event_files import events_of, read_scalars
from full_disks import files_of_at_most
from tensorboardX.proto import event_pb2

from jaxreason.tracking import metric_logger
from jaxreason.tracking.metric_logger import EventFiles, MetricsWriter, ProgressBar


def console(terminal):
    return rich.console.Console(file=io.StringIO(), force_terminal=terminal, width=120)


def writer(folder, resume_step=0, tensorboard=False, to=None):
    return MetricsWriter(folder, "sft", 10, tensorboard, resume_step, to or console(False))


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    with writer(tmp_path) as out:
        out.write(1, {"loss": np.float32(2.5), "tokens": 7})
        assert lines(tmp_path) == [{"step": 1, "stage": "sft", "loss": 2.5, "tokens": 7}]


def test_a_resumed_run_drops_later_lines_and_a_half_written_one(tmp_path):
    with writer(tmp_path) as out:
        for step in range(1, 6):
            out.write(step, {"loss": float(step)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "stage": "sf')
    with writer(tmp_path, resume_step=3) as out:
        out.write(4, {"loss": 40.0})
    assert [(row["step"], row["loss"]) for row in lines(tmp_path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 40.0),
    ]


def test_without_a_terminal_there_are_few_plain_lines(tmp_path, monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 2.5))
    monkeypatch.setattr(metric_logger.time, "monotonic", lambda: float(next(clock)))
    out = console(False)
    progress = ProgressBar("rl", 10, 0, out)
    for step in range(1, 11):
        progress.update(step, f"reward 0.{step}")
    shown = out.file.getvalue().splitlines()
    # A line first, then one every ten seconds, then the last; each update takes 2.5 s here.
    assert [line.split("  ")[1] for line in shown] == ["1/10", "5/10", "9/10", "10/10"]
    assert shown[1] == "rl  5/10  reward 0.5  0:12 left"


def test_time_left_goes_by_the_speed_of_this_run_alone(tmp_path, monkeypatch):
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(metric_logger.time, "monotonic", lambda: next(clock))
    out = console(False)
    ProgressBar("sft", 100, 80, out).update(81, "loss 1")
    assert out.file.getvalue() == "sft  81/100  loss 1  3:10 left\n"


def test_a_terminal_shows_stage_step_loss_and_time_left(tmp_path):
    to = console(True)
    with writer(tmp_path, to=to) as out:
        out.write(10, {"loss": 0.25, "tokens_per_second": 12345.6})
    shown = to.file.getvalue()
    for part in ("sft", "10/10", "loss 0.25  12,346 tokens/s", "left", "0:00:00"):
        assert part in shown


def test_tensorboard_gets_the_same_numbers_when_asked(tmp_path):
    with writer(tmp_path, tensorboard=True) as out:
        out.write(1, {"loss": 2.5})
        out.write(2, {"loss": 1.5})
    assert read_scalars(tmp_path / "tensorboard") == {"sft/loss": [(1, 2.5), (2, 1.5)]}
    with writer(tmp_path / "without") as out:
        out.write(1, {"loss": 2.5})
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_tensorboard_gets_what_the_line_of_the_step_before_a_start_lacks(tmp_path):
    late = {"validation/sums": np.float32(0.5)}
    with MetricsWriter(tmp_path, "sft", 10, True, 0, console(False), late=late) as out:
        out.write(1, {"loss": 2.5})
    found = read_scalars(tmp_path / "tensorboard")
    assert found == {"sft/validation/sums": [(0, 0.5)], "sft/loss": [(1, 2.5)]}
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_event_files_that_find_no_room_are_one_warning_and_the_run_goes_on(tmp_path, caplog):
    files = EventFiles(tmp_path, 0)
    with files_of_at_most(5000):
        for step in range(1, 1001):
            files.add({"sft/loss": 0.5}, step)
        files.close()
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("TensorBoard's files lack what follows ([Errno 27] File too large")


def test_tensorboard_is_told_from_which_step_a_resumed_run_writes_anew(tmp_path):
    with writer(tmp_path, resume_step=3, tensorboard=True) as out:
        out.write(4, {"loss": 40.0})
    (file,) = (tmp_path / "tensorboard").iterdir()
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    assert [e.step for e in events_of(file) if e.session_log == start] == [4]
