"""The metric logger: metrics.jsonl, a progress bar, TensorBoard, and an experiment tracker if one is asked for.

Only process 0 writes and shows anything. The other processes may make the same calls, which then do nothing.
"""

import contextlib
import logging
import pathlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import rich.console
import rich.progress
from etils import epath

from jaxreason.results.atomic_files import copy_files, is_remote
from jaxreason.results.run_status import at_progress
from jaxreason.results.training_files import metrics_writer
from jaxreason.tracking.profiling import hear_progress
from jaxreason.tracking.trackers import Tracker, TrackerName

_LOG = logging.getLogger(__name__)
SECONDS_BETWEEN_COPIES = 60.0
SECONDS_BETWEEN_FLUSHES = 60.0


class EventFiles:
    """Writes event files for TensorBoard into `<workdir>/tensorboard/`; each start of a run writes a file of its own.

    The library appends to its file, which a bucket cannot do. For a bucket the file grows in a temporary folder on this
    machine, and the whole file is copied at most once a minute and at the end.

    A disk without room ends these files and not the run: metrics.jsonl has the same numbers. The library's own writer
    would wait without end then, for its thread that the error has ended.

    Args:
      workdir: working directory of the run.
      resume_step: steps done when this run starts. TensorBoard hides what an earlier start wrote for later steps.
    """

    def __init__(self, workdir: epath.PathLike, resume_step: int):
        # Imported only when asked for, because it brings in protobuf.
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        self._event, self._scalar = event_pb2.Event, summary.scalar
        self._folder = epath.Path(workdir) / "tensorboard"
        self._scratch = tempfile.TemporaryDirectory() if is_remote(self._folder) else None
        where = pathlib.Path(self._folder if self._scratch is None else self._scratch.name)
        where.mkdir(parents=True, exist_ok=True)
        self._writer = event_file_writer.EventsWriter(str(where / "events"))
        self._failed, self._flushed = False, 0.0
        self._copied = time.monotonic()
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write([{"step": resume_step + 1, "session_log": start}])

    def add(self, values: Mapping[str, Any], step: int) -> None:
        """Adds the numbers of a step."""
        scalars = (self._scalar(name, value) for name, value in values.items())
        self._write([{"step": step, "summary": scalar} for scalar in scalars])

    def _write(self, events: list[dict[str, Any]]) -> None:
        with self._guarded():
            for event in events:
                self._writer.write_event(self._event(wall_time=time.time(), **event))
            if time.monotonic() - self._flushed >= SECONDS_BETWEEN_FLUSHES:
                self._writer.flush()
                self._flushed = time.monotonic()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._failed:
                _LOG.warning("TensorBoard's files lack what follows (%s); the run goes on.", error)
            self._failed = True

    def flush_if_due(self) -> None:
        """Copies the files to a bucket if the last copy is old."""
        if self._scratch is not None and time.monotonic() - self._copied >= SECONDS_BETWEEN_COPIES:
            with self._guarded():
                self._writer.flush()
            self._copy()

    def _copy(self) -> None:
        copy_files(self._scratch.name, self._folder)
        self._copied = time.monotonic()

    def close(self) -> None:
        """Writes the remaining numbers."""
        with self._guarded():
            self._writer.close()
        if self._scratch is not None:
            self._copy()
            self._scratch.cleanup()


# Without a terminal (a log file, a CI job), a line is printed at most this often.
SECONDS_BETWEEN_LINES = 10.0
SHOWN_FIRST = ("loss", "reward")


class ProgressBar:
    """Shows the progress of a stage: a bar on a terminal, plain lines elsewhere, nothing on processes other than 0.

    Args:
      stage: name of the stage.
      total: steps (or items) of the whole stage.
      done: steps done by the earlier run that this one continues.
      console: where to write; standard error if None.
    """

    def __init__(
        self, stage: str, total: int, done: int, console: rich.console.Console | None = None
    ):
        self._stage, self._total, self._first = stage, total, done
        self._console = console or rich.console.Console(stderr=True)
        self._start = self._last_line = time.monotonic()
        self._bar = None
        self._shows = jax.process_index() == 0
        if self._shows and self._console.is_terminal:
            self._bar = _make_bar(self._console)
            self._task = self._bar.add_task(stage, total=total, completed=done, shown="")
            self._bar.start()

    def update(self, done: int, shown: str) -> None:
        """Shows that `done` steps are done, with the text `shown` beside it, and tells the run's status."""
        hear_progress()
        if not self._shows:
            return
        at_progress(self._stage, done, self._total)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, shown=shown)
            return
        now = time.monotonic()
        first, last = self._last_line == self._start, done >= self._total
        if first or last or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = _clock(self._seconds_left(done, now))
            self._print(f"{self._stage}  {done}/{self._total}  {shown}  {left} left")

    def _seconds_left(self, done: int, now: float) -> float:
        """Estimates the time left from the speed since this start; steps of an earlier start are not counted."""
        return (now - self._start) / max(done - self._first, 1) * (self._total - done)

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stops the bar and leaves it on the screen."""
        if self._bar is not None:
            self._bar.stop()


def _make_bar(console: rich.console.Console) -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("[bold]{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[shown]}", markup=False),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
        console=console,
    )


class MetricsWriter:
    """Appends a line per step to `<workdir>/metrics.jsonl` and shows the stage's progress.

    Args:
      workdir: working directory of the run.
      stage: name of the stage, shown in the bar and written into every line.
      total_steps: steps of the whole run.
      tensorboard: whether event files are written to `<workdir>/tensorboard` as well.
      resume_step: steps done when this run starts. Lines of later steps are dropped: a killed run wrote them
        after its last checkpoint.
      console: see ProgressBar.
      tracker: the experiment tracker that gets the numbers too; "" for none.
      late: numbers of step `resume_step` that its line was not written with, for TensorBoard and the tracker alone.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        stage: str,
        total_steps: int,
        tensorboard: bool,
        resume_step: int,
        console: rich.console.Console | None = None,
        tracker: TrackerName = "",
        late: Mapping[str, Any] | None = None,
    ):
        self._stage = stage
        self._progress = ProgressBar(stage, total_steps, resume_step, console)
        self._lines = self._board = self._tracker = None
        if jax.process_index() == 0:
            self._lines = metrics_writer(workdir, resume_step)
            self._board = EventFiles(workdir, resume_step) if tensorboard else None
            self._tracker = Tracker(tracker, workdir, stage) if tracker else None
            if late:
                self._send(resume_step, {name: _number(value) for name, value in late.items()})

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes one line: `step`, `stage` and the values as plain numbers.

        On a disk the line is in the file when this returns; on a bucket it is there after the next `flush`.

        Args:
          step: number of updates made so far, including this one.
          values: name -> scalar.
        """
        hear_progress()
        if self._lines is None:
            return
        numbers = {name: _number(value) for name, value in values.items()}
        self._lines.write({"step": step, "stage": self._stage} | numbers)
        self._send(step, numbers)
        self._progress.update(step, shown_values(numbers))

    def _send(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._board is not None:
            self._board.add({f"{self._stage}/{name}": x for name, x in numbers.items()}, step)
        if self._tracker is not None:
            self._tracker.log(step, numbers)

    def flush(self) -> None:
        """Returns when all lines are in the file. This must happen before the checkpoint of their step is written."""
        if self._lines is not None:
            self._lines.flush()
        if self._board is not None:
            self._board.flush_if_due()

    def close(self) -> None:
        """Closes the files and leaves the bar on the screen."""
        self._progress.close()
        if self._lines is not None:
            self._lines.close_whole()
        if self._board is not None:
            self._board.close()
        if self._tracker is not None:
            self._tracker.close()


def shown_values(numbers: Mapping[str, float]) -> str:
    """Returns the few numbers shown beside a bar: loss, reward and speed, those of them that exist."""
    parts = [f"{name} {numbers[name]:.4g}" for name in SHOWN_FIRST if name in numbers]
    if "tokens_per_second" in numbers:
        parts.append(f"{numbers['tokens_per_second']:,.0f} tokens/s")
    return "  ".join(parts)


def _number(value: Any) -> float | int:
    return value.item() if hasattr(value, "item") else value


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
