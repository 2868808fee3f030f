"""Experiment trackers: sends the numbers of metrics.jsonl (`metric_logger`) to Weights & Biases or to trackio.

A tracker that fails never stops a run: its first failure is logged as a warning, and metrics.jsonl has all numbers.
"""

import importlib.util
import logging
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import is_remote, read_object, write_json

_LOG = logging.getLogger(__name__)
TrackerName = Literal["", "wandb", "trackio"]
RECORD = "tracker.json"  # In a run's folder: tracker -> the tracker's id of this run.
PROJECT = "jaxreason"


def check_tracker(name: TrackerName, stage: str) -> None:
    """Checks that a tracker is installed; `stage` is the recipe's section.

    Raises:
      UserError: it is not installed; the message has the command that installs it.
    """
    if name and importlib.util.find_spec(name) is None:
        raise UserError(
            f"{stage}.tracker={name!r}: {name} is not installed; `pip install {name}` installs it, and "
            f"{stage}.tracker='' does without."
        )


class Tracker:
    """One run in a tracker. It has the name of its folder; a resumed run continues under the same id.

    If a killed run lost steps, they are sent again with the same step numbers.

    Args:
      name: the tracker.
      workdir: working directory of the run; its config.json becomes the tracker's configuration of the run.
      stage: name of the stage, put before the names of its numbers.
    """

    def __init__(self, name: Literal["wandb", "trackio"], workdir: epath.PathLike, stage: str):
        self._name, self._stage, self._warned = name, stage, False
        self._workdir = epath.Path(workdir)
        self._run = self._guarded(lambda: _START[name](self._workdir, self._run_id(), self._told()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the numbers of a step."""
        numbers = {f"{self._stage}/{name}": value for name, value in values.items()}
        if self._run is not None:
            self._guarded(lambda: self._run.log(step, numbers))

    def close(self) -> None:
        """Sends what has not been sent yet."""
        if self._run is not None:
            self._guarded(lambda: self._run.close())

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # A service or its library may raise anything.
            if not self._warned:
                _LOG.warning("%s failed (%r); training goes on.", self._name, error)
            self._warned = True
            return None

    def _run_id(self) -> str:
        path = self._workdir / RECORD
        known = read_object(path, {}) if path.exists() else {}
        if self._name not in known:
            known[self._name] = uuid.uuid4().hex[:8]
            write_json(path, known)
        return known[self._name]

    def _told(self) -> dict[str, Any]:
        path = self._workdir / "config.json"
        return read_object(path, {}).get("recipe", {}) if path.exists() else {}


class _Wandb:
    """A run in Weights & Biases.

    Its x-axis is our own step number: after a kill our steps go back, which its built-in step number must not.
    """

    def __init__(self, workdir: epath.Path, run_id: str, config: dict[str, Any]):
        import wandb  # Imported only when asked for.

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=workdir.name,
            id=run_id,
            resume="allow",
            config=config,
            dir=None if is_remote(workdir) else str(workdir),
            settings={"console": "off"},
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Sends the numbers of a step."""
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        """Returns when everything is sent, or written to disk in offline mode."""
        self._run.finish()


class _Trackio:
    """A run in trackio, which identifies runs by their names."""

    def __init__(self, workdir: epath.Path, run_id: str, config: dict[str, Any]):
        import trackio  # Imported only when asked for.

        self._library, name = trackio, f"{workdir.name}-{run_id}"
        trackio.init(project=PROJECT, name=name, config=config, resume="allow", embed=False)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Sends the numbers of a step."""
        self._library.log(dict(numbers), step=step)

    def close(self) -> None:
        """Returns when everything is written."""
        self._library.finish()


_START = {"wandb": _Wandb, "trackio": _Trackio}
