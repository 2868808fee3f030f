"""The smallest study as the program runs it, in a process of its own, and what it measured."""

import json
import os
import re
import signal
import time
from pathlib import Path

import started_programs

ROOT = Path(__file__).parent.parent
RECIPE = Path(__file__).parent / "smallest_study.py"
TIMES = ("_seconds", "tokens_per_second")  # what no two runs measure alike
NOT_RESULTS = (".lock", ".report.lock", ".lease", "log.txt", "logs", "status.json")


def start(folder, *more, workdir="run", before="", variables=None):
    """The study in `workdir` (`folder`/run); all it says is added to `folder`/log.

    `before` is Python that the process runs first, `variables` are more of the environment.
    """
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JAX_COMPILATION_CACHE_DIR": os.environ.get(
            "JAX_COMPILATION_CACHE_DIR", str(folder.parent / "compiled")
        ),
        **(variables or {}),
    }
    command = f"{before}\nfrom jaxreason.__main__ import main; main()"
    arguments = ["study", "--config", str(RECIPE), "--workdir", workdir, *more]
    with open(folder / "log", "a") as log:
        return started_programs.start(command, arguments, folder, environment, log)


def run(folder, *more):
    """Exit code and output of one run to its end."""
    log = folder / "log"
    log.write_text("")
    code = start(folder, *more).wait(timeout=600)
    return code, log.read_text()


def last_stage(output):
    """The number of the last stage that was begun, 0 before the first."""
    return max([0, *map(int, re.findall(r"^stage (\d+)/", output, re.MULTILINE))])


def kill_in_stage(process, log, number, seconds):
    """Kills a run and its workers `seconds` after a stage began (0: after it has found its devices).

    Returns the stage that it was in, or None if it had ended before.
    """
    sign = f"stage {number}/" if number else "devices: "
    log_start, moment = log.stat().st_size, None
    while process.poll() is None:
        shown = log.read_bytes()[log_start:].decode(errors="replace")
        if moment is None and sign in shown:
            moment = time.monotonic() + seconds
        if moment is not None and time.monotonic() > moment:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return last_stage(shown)
        time.sleep(0.02)
    assert process.returncode == 0, log.read_text()[-6000:]
    return None


def results(workdir, place=None):
    """Everything a study measured, by file: without times, hashes of files that hold times, and its own place."""
    place, found = place or bytes(workdir.parent) + b"/", {}
    for path in sorted(p for p in workdir.rglob("*") if p.is_file()):
        name = str(path.relative_to(workdir))
        # Of parts the files of the metrics are made; those that were measured anew may have fewer metrics.
        if {"checkpoints", *NOT_RESULTS} & set(Path(name).parts) or "analysis/parts/" in name:
            continue
        if path.name == "metrics.jsonl":
            found[name] = [_without_times(json.loads(line)) for line in path.open()]
        elif name == "report/summary.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "inputs"}
        else:
            content = path.read_bytes().replace(place, b"")
            found[name] = re.sub(rb"<td>[0-9a-f]{16}</td>", b"", content)  # hashes in the page
    return found


def _without_times(row):
    return {name: value for name, value in row.items() if not name.endswith(TIMES)}


def assert_same(found, expected):
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
