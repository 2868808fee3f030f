"""Ends all processes of a job together, with the reason of the process that failed first.

If one process stopped alone, the others would wait for it in a collective without end. So a process that ends with an
exception writes a note into the key-value store of JAX's coordination service. In every process a thread waits for such
a note. It first gives its own main thread a short time to end by itself, since the same error is often raised
everywhere. Then it prints the reason and ends the process with the same exit code. Process 0 hosts the service and
leaves last. If a process disappears without a note, JAX notices that its heartbeats are missing.
"""

import atexit
import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
from jax._src import (
    distributed as jax_distributed,
)  # The store has no public name in jax 0.10 to 0.12.

from jaxreason.results import run_status
from jaxreason.results.redaction import hide

NOTE = "jaxreason/ending"
LEFT = "jaxreason/left/"
GRACE_S = 5.0  # Seconds that a main thread has to end by itself.
STOP_GRACE_S = 60.0  # The same after a signal, when checkpoints are still being written.
LAST_S = 10.0  # Seconds that process 0 waits for the others after that.
WAIT_MS = 60_000
STOPPED = 143  # The exit code after a signal.
MAX_REASON = 4000

_watchers: list[threading.Thread] = []
_ends_by_itself = threading.Event()  # Set when an error has left the main thread.
_leaves = threading.Event()  # Set when the main thread has reached the orderly end.


@contextlib.contextmanager
def all_end_together() -> Iterator[None]:
    """Wraps a whole program: an exception that leaves it in one process of a job ends all processes.

    With one process, or before the processes have joined, it does nothing.
    """
    try:
        yield
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        if _code(error) == 0:
            _leave()
            raise
        if not isinstance(error, SystemExit):
            print(hide(traceback.format_exc()), end="", file=sys.stderr)
        _end(_code(error), _reason(error))
    else:
        _leave()


def end_job(code: int, reason: str) -> None:
    """Ends all processes of the job at once and prints the reason in one line.

    Any thread may call it, whatever the main thread is doing.
    """
    reason = hide(reason)
    print(f"jaxreason: {reason}", file=sys.stderr, flush=True)
    if jax.distributed.is_initialized():
        _end(code, reason)
    sys.stdout.flush()
    os._exit(code)


def _leave() -> None:
    """Ends in order: waits until all processes are done. If one fails meanwhile, this process still ends with it."""
    if jax.distributed.is_initialized():
        _leaves.set()
        jax.distributed.shutdown()  # This waits for all processes.
        for thread in _watchers:
            thread.join()  # Python cannot exit while a thread waits inside the service's client.


def _code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _reason(error: BaseException) -> str:
    """Returns the reason for an end as text; if an error led to an exit code, its text."""
    cause = error.__context__ if isinstance(error, SystemExit) else error
    if cause is None:
        return "it was stopped" if _code(error) == STOPPED else f"it ended with code {_code(error)}"
    return hide(f"{type(cause).__name__}: {cause}")[:MAX_REASON]


def _end(code: int, reason: str) -> None:
    """Tells all processes the reason and ends this one at once. Process 0 waits for the others first.

    It does not use Python's normal exit: there JAX waits for every process, and some of them hang in a collective.
    """
    client = _client()
    note = _publish(client, {"process": jax.process_index(), "code": code, "reason": reason})
    # From here on this process's watching thread does nothing: the reason is printed below, once.
    _ends_by_itself.set()
    if note["process"] != jax.process_index() and note["reason"] != reason:
        _say(note)
    _exit(client, note["code"], _grace(note))


def _publish(client: Any, note: dict) -> dict:
    """Writes the note of the job and returns it; if another process was faster, returns that process's note."""
    # The store keeps the first value of a key and refuses a second one; or the service is gone.
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.key_value_set(NOTE, json.dumps(note))
    try:
        return json.loads(client.blocking_key_value_get(NOTE, 1000))
    except jax.errors.JaxRuntimeError:
        return note


def _exit(client: Any, code: int, grace: float) -> None:
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        # Process 0 hosts the store. Each process marks here that it leaves, so that process 0 can wait for all marks.
        client.key_value_set(f"{LEFT}{jax.process_index()}", "")
        if jax.process_index() == 0:
            _wait_for_others(client, time.monotonic() + grace + LAST_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait_for_others(client: Any, deadline: float) -> None:
    while time.monotonic() < deadline:
        if len(client.key_value_dir_get(LEFT)) == jax.process_count():
            return
        time.sleep(0.1)


def _say(note: dict) -> None:
    text = f"process {note['process']} ended this job: {note['reason']}"
    print(f"jaxreason: {text}", file=sys.stderr, flush=True)
    run_status.say_failed(text)


def watch() -> None:
    """Starts the thread that waits for another process's note. Called once, when the processes have joined."""
    thread = threading.Thread(target=_watch, args=(_client(),), name="ending", daemon=True)
    _watchers.append(thread)
    thread.start()
    atexit.register(_leave)


def _watch(client: Any) -> None:
    while True:
        try:
            # The call needs a time limit, so the thread waits in rounds of WAIT_MS.
            note = json.loads(client.blocking_key_value_get(NOTE, WAIT_MS))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error):
                continue
            # The service was shut down by `_leave`, so there will be no note.
            if _leaves.is_set():
                return
            note = {"process": 0, "code": 1, "reason": f"it cannot be reached any more ({error})"}
        # True if the main thread ends by itself within the grace time; then it prints the reason and exits.
        if not _ends_by_itself.wait(_grace(note)):
            _say(note)
            _exit(client, note["code"], 0.0)
        return


def _grace(note: dict) -> float:
    return STOP_GRACE_S if note["code"] == STOPPED else GRACE_S


def _client() -> Any:
    return jax_distributed.global_state.client
