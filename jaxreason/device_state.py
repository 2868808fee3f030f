"""Reads the memory that this process's devices hold and counts compiled programs, for the run's status."""

from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's own event, once per program.


class _Compilations:
    """Counts the programs that this process compiles or takes from the cache, after `count` was called."""

    def __init__(self) -> None:
        self.number, self.seconds, self._counting = 0, 0.0, False

    def count(self) -> None:
        if not self._counting:
            self._counting = True
            jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, seconds: float, **_: Any) -> None:
        if event == _COMPILED:
            self.number += 1
            self.seconds += seconds


_COMPILATIONS = _Compilations()


def count_compilations() -> None:
    """Starts counting; further calls do nothing."""
    _COMPILATIONS.count()


def device_state() -> dict[str, Any]:
    """Returns the number of compiled programs, the seconds for them, and the memory of the fullest device.

    The memory is bytes in use, their peak and the limit, if the device reports them; a CPU does
    not. Any thread may call it.
    """
    found: dict[str, Any] = {
        "kind": jax.local_devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "compilations": _COMPILATIONS.number,
        "compile_seconds": round(_COMPILATIONS.seconds, 1),
    }
    stats = [device.memory_stats() for device in jax.local_devices()]
    names = {
        "bytes_in_use": "memory",
        "peak_bytes_in_use": "memory_peak",
        "bytes_limit": "memory_limit",
    }
    for theirs, ours in names.items():
        values = [s[theirs] for s in stats if s and theirs in s]
        found |= {f"{ours}_bytes": max(values)} if values else {}
    return found
