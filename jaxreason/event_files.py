"""TensorBoard's event files: the same numbers as metrics.jsonl, for whoever looks on while a run trains."""

import tempfile
import time
from typing import Any

from etils import epath

from jaxreason.results.files import copy_files, is_remote

SECONDS_BETWEEN_COPIES = 60.0


class EventFiles:
    """Writes `<workdir>/tensorboard/`; each start of a run writes a file of its own.

    The library appends, which a bucket cannot: there the file grows in a temporary folder of this machine and is
    copied whole, at most once a minute and at the end.

    Args:
      workdir: of the run.
      resume_step: steps done when this run starts; TensorBoard leaves out what an earlier one wrote of later steps.
    """

    def __init__(self, workdir: epath.PathLike, resume_step: int):
        import tensorboardX  # only when asked for: it brings in protobuf

        self._folder = epath.Path(workdir) / "tensorboard"
        self._scratch = tempfile.TemporaryDirectory() if is_remote(self._folder) else None
        where = self._folder if self._scratch is None else self._scratch.name
        self._writer = tensorboardX.SummaryWriter(str(where), purge_step=resume_step + 1)
        self._copied = time.monotonic()

    def add(self, name: str, value: Any, step: int) -> None:
        """Adds a number."""
        self._writer.add_scalar(name, value, step)

    def flush_if_due(self) -> None:
        """On a bucket copies what there is, if the last copy is old."""
        if self._scratch is not None and time.monotonic() - self._copied >= SECONDS_BETWEEN_COPIES:
            self._writer.flush()
            self._copy()

    def _copy(self) -> None:
        copy_files(self._scratch.name, self._folder)
        self._copied = time.monotonic()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
        if self._scratch is not None:
            self._copy()
            self._scratch.cleanup()
