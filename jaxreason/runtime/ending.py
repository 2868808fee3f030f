"""The end of a job's processes: they end together, with the reason of the first.

A process that stops alone leaves the others in a collective, where they would wait for it without end. So the one that
an exception leaves writes why into the key-value store of JAX's coordination service, and a thread of every
other process waits for such a note. It gives its own main thread a little time to end by itself (the same error is
often raised everywhere), says the reason and ends the process with the same code. Process 0 hosts the service and
leaves last. A process that vanishes without a note is noticed by JAX, by its heartbeats.
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
)  # the store has no public name (jax 0.10 to 0.12)

from jaxreason.results import run_status
from jaxreason.results.redaction import hide

NOTE = "jaxreason/ending"
LEFT = "jaxreason/left/"
GRACE_S = 5.0  # for a main thread to end by itself
STOP_GRACE_S = 60.0  # the same after a signal, when checkpoints are still being written
LAST_S = 10.0  # how long process 0 then waits for the others
WAIT_MS = 60_000
STOPPED = 143  # the exit code after a signal
USERS_FAULT = 2  # that of what a person must mend
MAX_REASON = 4000

_watchers: list[threading.Thread] = []
_ends_by_itself = threading.Event()  # an error has left the main thread
_leaves = threading.Event()  # the main thread has come to the orderly end


@contextlib.contextmanager
def all_end_together() -> Iterator[None]:
    """Around all that a program does: an exception that leaves one process of a job ends all of them.

    With one process, or before the processes are joined, it does nothing.
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
    """Ends all processes of the job from any thread, whatever the main thread is doing; says why in one line."""
    reason = hide(reason)
    print(f"jaxreason: {reason}", file=sys.stderr, flush=True)
    if jax.distributed.is_initialized():
        _end(code, reason)
    sys.stdout.flush()
    os._exit(code)


def _leave() -> None:
    """The orderly end of all; a process that fails meanwhile still ends this one."""
    if jax.distributed.is_initialized():
        _leaves.set()
        jax.distributed.shutdown()  # waits for all
        for thread in _watchers:
            thread.join()  # Python cannot end while one waits in the service's client


def _code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _reason(error: BaseException) -> str:
    """The reason of an end for a reader; for an exit with a code, the error behind it."""
    cause = error.__context__ if isinstance(error, SystemExit) else error
    if cause is None:
        return "it was stopped" if _code(error) == STOPPED else f"it ended with code {_code(error)}"
    return hide(f"{type(cause).__name__}: {cause}")[:MAX_REASON]


def _end(code: int, reason: str) -> None:
    """Tells all processes why, and ends this one at once. Process 0 waits for the others first.

    Python's usual end is not used: there JAX waits for every process, and some of them hang in a collective.
    """
    client = _client()
    note = _publish(client, {"process": jax.process_index(), "code": code, "reason": reason})
    # From here on the watching thread of this process keeps quiet: the reason is said below, once.
    _ends_by_itself.set()
    if note["process"] != jax.process_index() and note["reason"] != reason:
        _say(note)
    _exit(client, note["code"], _grace(note))


def _publish(client: Any, note: dict) -> dict:
    """The note of the job: this one, or that of a process that was faster."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is one, or the service is gone
        client.key_value_set(NOTE, json.dumps(note))
    try:
        return json.loads(client.blocking_key_value_get(NOTE, 1000))
    except jax.errors.JaxRuntimeError:
        return note


def _exit(client: Any, code: int, grace: float) -> None:
    with contextlib.suppress(jax.errors.JaxRuntimeError):
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
    """Starts waiting for the note of another process; once, when the processes have been joined."""
    thread = threading.Thread(target=_watch, args=(_client(),), name="ending", daemon=True)
    _watchers.append(thread)
    thread.start()
    atexit.register(_leave)


def _watch(client: Any) -> None:
    while True:
        try:
            note = json.loads(client.blocking_key_value_get(NOTE, WAIT_MS))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" in str(error):
                continue
            if _leaves.is_set():
                return
            note = {"process": 0, "code": 1, "reason": f"it cannot be reached any more ({error})"}
        if not _ends_by_itself.wait(_grace(note)):
            _say(note)
            _exit(client, note["code"], 0.0)
        return


def _grace(note: dict) -> float:
    return STOP_GRACE_S if note["code"] == STOPPED else GRACE_S


def _client() -> Any:
    return jax_distributed.global_state.client
