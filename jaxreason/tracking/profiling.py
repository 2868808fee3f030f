"""`--profile`: writes a trace of a run's devices to `<workdir>/profile/`, for xprof and Perfetto."""

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
SECONDS = 5.0  # The shortest trace: with a large model this is a few steps.


class _Trace:
    """Starts tracing at the first progress, when programs are compiled, and ends at the first progress after SECONDS.

    Each process traces into its own folder, since the profiler names files only by host and second. If anything fails,
    the trace is lost but the run goes on.
    """

    def __init__(self, folder: epath.Path):
        self._folder, self._local = folder, folder
        if is_remote(folder):  # The profiler can only write to a disk.
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
        except Exception as error:  # From the profiler, a disk, or a library for buckets.
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
    """Traces a part of the code inside the `with` block; does nothing if `workdir` is None.

    Every process traces its own devices.
    """
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
    """Says that steps or items were done. It does nothing if no trace is wanted.

    Called by the main thread of each process.
    """
    if _current is not None and not _current.over:
        _current.progress()
