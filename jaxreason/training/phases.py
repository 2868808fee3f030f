"""Where the time of a step goes."""

import contextlib
import time
from collections.abc import Iterator


class Phases:
    """Adds up the seconds of the named phases of a step; made when the step begins.

    What a phase has the devices do must be waited for within it, or it counts for the phase that waits.

    Args:
      names: all phases, so that a step in which one did not happen says 0.
    """

    def __init__(self, *names: str):
        self._began, self._seconds = time.perf_counter(), dict.fromkeys(names, 0.0)

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Counts the time until it is left for a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Counts seconds that were measured elsewhere."""
        self._seconds[name] += seconds

    def __getitem__(self, name: str) -> float:
        return self._seconds[name]

    def measures(self) -> dict[str, float]:
        """`step_seconds`, and of each phase and of `other`, the rest of it, its `_seconds` and `_share_of_seconds`."""
        whole = time.perf_counter() - self._began
        named = self._seconds | {"other": max(whole - sum(self._seconds.values()), 0.0)}
        total = sum(named.values())
        shares = {f"{name}_share_of_seconds": seconds / total for name, seconds in named.items()}
        seconds = {f"{name}_seconds": value for name, value in named.items()}
        return seconds | {"step_seconds": whole} | shares
