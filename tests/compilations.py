"""What XLA compiles, or loads from the cache on disk, while a test looks, and on which thread."""

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

from jax._src import monitoring

EVENT = "/jax/core/compile/backend_compile_duration"


class Compiled(NamedTuple):
    """The name of a program, and whether it was compiled before its first call."""

    name: str
    ahead: bool


@contextlib.contextmanager
def compilations() -> Iterator[list[Compiled]]:
    """Everything that is compiled within it, in the order in which it was done."""
    found = []

    def listen(event, duration, **about):
        if event == EVENT:
            thread = threading.current_thread().name
            found.append(Compiled(about.get("fun_name", ""), thread.startswith("compiling")))

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(listen)
