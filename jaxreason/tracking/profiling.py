"""A trace of a run's devices, which xprof and Perfetto open: `--profile` (`<workdir>/profile/`)."""

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
from etils import epath

from jaxreason.results.atomic_files import copy_files, is_remote

_LOG = logging.getLogger(__name__)
FOLDER = "profile"
SECONDS = 5.0  # at least, from the first progress on: several steps of a large model


class _Trace:
    """Begins at the first sign of progress, when programs are compiled, and ends at the first one after SECONDS.

    Each process traces into a folder of its own, since the profiler names files by host and second alone. Whatever
    goes wrong costs the trace and not the run.
    """

    def __init__(self, folder: epath.Path):
        self._folder, self._local = folder, folder
        if is_remote(folder):  # the profiler writes to a disk alone
            self._local = epath.Path(tempfile.mkdtemp(prefix="jaxreason-profile-"))
        self._began: float | None = None
        self.over = False

    def progress(self) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now
            self._guarded(lambda: jax.profiler.start_trace(self._local))
        elif now - self._began >= SECONDS:
            self.end()

    def end(self) -> None:
        if self.over:
            return
        self.over = True
        if self._began is None:
            _LOG.warning("--profile: nothing was traced, since the run ended before its first step")
            return
        self._guarded(self._finish)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # of the profiler, a disk, a bucket's library
            self.over = True
            _LOG.warning("--profile: there is no trace (%r); the run goes on", error)

    def _finish(self) -> None:
        jax.profiler.stop_trace()
        if self._local != self._folder:
            copy_files(self._local, self._folder)
            shutil.rmtree(self._local)
        _LOG.info("profile: %s, for `xprof --logdir`", self._folder)


_current: _Trace | None = None


@contextlib.contextmanager
def traced(workdir: epath.Path | None) -> Iterator[None]:
    """Traces a part of what runs while it is entered; None: nothing. Every process traces its own devices."""
    global _current
    if workdir is None:
        yield
        return
    folder = workdir / FOLDER
    if jax.process_count() > 1:
        folder /= f"process_{jax.process_index()}"
    _current = trace = _Trace(folder)
    try:
        yield
    finally:
        _current = None
        trace.end()


def hear_progress() -> None:
    """Steps or items are done; does nothing where nothing is traced. Called by the main thread of each process."""
    if _current is not None and not _current.over:
        _current.progress()
