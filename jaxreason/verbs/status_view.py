"""`jaxreason status DIR`: shows what a run is doing, from the files of its working directory alone."""

import time
from collections.abc import Iterator
from typing import Any

from etils import epath

from jaxreason.config import ConfigError, whole_number
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import changed_at
from jaxreason.results.claims import DONE
from jaxreason.results.jsonl import grown_exists, read_jsonl
from jaxreason.results.process_life import has_ended
from jaxreason.results.run_status import NAME, read_status
from jaxreason.results.study_files import is_study, read_manifest, run_folders
from jaxreason.results.training_files import metrics_path
from jaxreason.verbs import outcome
from jaxreason.verbs.call import Call, existing_folder

# A run writes its status at regular intervals. It counts as dead after it has missed so many of them.
MISSED = 3
BAD = ("dead", "failed")
SHARE = "_share_of_seconds"
GIB = 2**30


def status_verb(call: Call) -> None:
    """Prints the status of a run. A run of an old version has no status file; what its other files show is printed.

    Raises:
      ConfigError: the folder does not exist, or no run has begun there.
      SystemExit: with code 1, if the run is dead or has failed.
    """
    folder, word = existing_folder(call.paths[0]), call.flags["steps"]
    steps = whole_number(word)
    if not steps:
        raise ConfigError(f"--steps={word}: expected a number, 1 or more.")
    status = read_status(folder)
    if status is None:
        print("\n".join(_without_status(folder, steps)))
        return
    state = state_of(status, time.time() - changed_at(folder / NAME))
    print("\n".join(lines_of(folder, status, state, steps)))
    if state in BAD:
        raise SystemExit(1)


def _without_status(folder: epath.Path, steps: int) -> list[str]:
    """Describes a folder that has no status.json, which versions before 2026-11-27 did not write."""
    if not (is_study(folder) or grown_exists(metrics_path(folder)) or (folder / DONE).exists()):
        raise ConfigError(f"{folder}: no run has begun here (there is no status.json).")
    first = f"{folder}: there is no status.json, as of a run of an older version; its files say:"
    return [first, *_told_by_files(folder, steps), *_models(folder)]


def state_of(status: dict[str, Any], silent: float) -> str:
    """Returns the state: `running`, `done`, `stopped` (by a signal), `failed`, or `dead`.

    A run is dead if its status says that it is running but is no longer updated, or its process has ended. Only the
    process is certain while a clock that was set back catches up.

    Args:
      status: as `read_status` gives it.
      silent: the seconds since its file was written. The time in it is of the clock of the run's own host, which may
        differ from the one here.
    """
    late = silent > MISSED * status["every"]
    gone = late or has_ended(status["process"], status.get("life"))
    return "dead" if status["state"] == "running" and gone else status["state"]


def lines_of(folder: epath.Path, status: dict[str, Any], state: str, steps: int) -> Iterator[str]:
    """Describes the status in lines of text. The speed is that of the last `steps` steps."""
    ended = status["updated"]
    yield f"{status['verb']} in {folder}: {_SAID.get(state, state)}"
    yield f"process {status['process']} on {status['host']}, begun {_at(status['started'])}, last sign {_at(ended)}"
    if stage := status.get("stage"):
        yield f"stage {stage['number']} of {stage['of']}: {stage['name']}"
    if progress := status.get("progress"):
        left = progress.get("seconds_left")
        more = f", about {_clock(left)} left" if left and state == "running" else ""
        yield f"{progress['name']}: {progress['done']} of {progress['of']}{more}"
    yield from _told_by_files(folder, steps)
    yield from _goodput(status)
    yield from _devices(status)
    if status["error"]:
        yield f"last error: {status['error']}"
    yield from _models(folder)


def _told_by_files(folder: epath.Path, steps: int) -> list[str]:
    """Describes the speed. If a file cannot be read, its error is shown here and the rest of the status still is."""
    try:
        run = running_folder(folder)
        return [] if run is None else list(_speed(run, steps))
    except UserError as error:
        return [str(error)]


_SAID = {
    "running": "running",
    "done": "done",
    "stopped": "stopped by a signal; the same command goes on",
    "failed": "failed; the same command goes on where it was, once the cause is mended",
    "dead": "dead: it gives no sign of life; the same command goes on",
}


def running_folder(folder: epath.Path) -> epath.Path | None:
    """Finds the folder of the current training run: of a study the last unfinished run, else the last one."""
    runs = [folder, *(_runs(folder) if is_study(folder) else ())]
    found = [run for run in runs if grown_exists(metrics_path(run))]
    unfinished = [run for run in found if not (run / DONE).exists()]
    return (unfinished or found or [None])[-1]


def _runs(study: epath.Path) -> list[epath.Path]:
    """Returns the folders of all runs of a study, arm by arm."""
    names = [arm["name"] for arm in read_manifest(study)["arms"]]
    return [run for name in names for run in run_folders(study, name)]


def _speed(run: epath.Path, steps: int) -> Iterator[str]:
    """Describes the last steps: seconds, tokens per second, and how the time was spent."""
    rows = read_jsonl(metrics_path(run))
    if len(rows) > 1:  # A run's first step includes compilation.
        rows = rows[1:]
    rows = rows[-steps:]
    if not rows:
        return
    seconds = _mean(rows, "step_seconds")
    parts = [f"step {rows[-1].get('step', '?')}", f"{seconds:.2f} s a step" if seconds else ""]
    if rate := _mean(rows, "tokens_per_second"):
        parts.append(f"{rate:,.0f} tokens/s")
    if mfu := _mean(rows, "mfu"):
        parts.append(f"MFU {100 * mfu:.0f} %")
    yield f"{run.name}: {', '.join(part for part in parts if part)} (last {len(rows)} steps)"
    shares = {n.removesuffix(SHARE): _mean(rows, n) for n in rows[-1] if n.endswith(SHARE)}
    if shares:
        named = sorted(shares.items(), key=lambda item: -item[1])
        yield "time: " + ", ".join(
            f"{name} {100 * share:.0f} %" for name, share in named if share >= 0.005
        )


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
    return sum(values) / len(values) if values else 0.0


def _goodput(status: dict[str, Any]) -> Iterator[str]:
    """Describes how the time since this start was spent; the share of the steps is the goodput."""
    spent = status.get("spent") or {}
    total = sum(spent.values())
    if total > 0:
        named = ", ".join(
            f"{_SPENT[name]} {100 * spent[name] / total:.0f} %" for name in _SPENT if name in spent
        )
        yield f"goodput of {_clock(total)}: {named}"


_SPENT = {
    "preparing": "loading and compiling",
    "working": "steps",
    "finishing": "saving and writing",
}


def _devices(status: dict[str, Any]) -> Iterator[str]:
    device = status.get("device") or {}
    if not device:
        return
    number = device["processes"]
    parts = [
        f"{device['devices']} x {device['kind']}",
        f"{number} {'process' if number == 1 else 'processes'}",
    ]
    if "memory_bytes" in device:
        peak = device.get("memory_peak_bytes", device["memory_bytes"]) / GIB
        limit = (
            f" of {device['memory_limit_bytes'] / GIB:.1f}"
            if "memory_limit_bytes" in device
            else ""
        )
        parts.append(f"{device['memory_bytes'] / GIB:.1f} GiB in use, at most {peak:.1f}{limit}")
    parts.append(f"{device['compilations']} programs compiled in {device['compile_seconds']:.0f} s")
    yield "devices: " + ", ".join(parts)
    if slowest := status.get("slowest"):
        yield (
            f"slowest host: process {slowest['process']} works {slowest['seconds']:.2f} s a step by itself, the others "
            f"{slowest['others_seconds']:.2f} s"
        )


def _models(folder: epath.Path) -> Iterator[str]:
    """Lists the models of a study and whether each is trained."""
    if not is_study(folder):
        return
    try:
        runs = _runs(folder)
    except UserError:  # `_told_by_files` has shown the error already.
        return
    rows = [[str(run.relative_to(folder)), "yes" if (run / DONE).exists() else "-"] for run in runs]
    yield outcome.in_columns([["model", "trained"], *rows])


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
