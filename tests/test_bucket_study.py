"""A study in a bucket, with the client of real ones, killed and suspended, measures what it measures on a disk.

The program is itself, in processes of its own; the bucket is served over HTTP by this one.
"""

import contextlib
import fnmatch
import os
import signal
import threading

import bucket
import object_store
import pytest
from etils import epath
from study_runs import assert_same, results, start

from jaxreason.results.lease import LeaseError
from jaxreason.studies import study

pytestmark = pytest.mark.slow

WORKDIR = "gs://bucket/run"
SECOND_LEASE = "bucket/run/.lease/000002.json"
QUICK = "from jaxreason.results import lease; lease.RENEW_SECONDS = 0.5"
SECONDS = 600


@pytest.fixture
def store():
    pytest.importorskip("gcsfs")
    held = bucket.Bucket()
    with object_store.served(held) as address:
        held.variables, held.started = object_store.google(address), []
        yield held
        for process in held.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def begin(store, folder):
    folder.mkdir()
    process = start(folder, workdir=WORKDIR, before=QUICK, variables=store.variables)
    store.started.append(process)
    return process


def send_at(store, process, number, pattern, count):
    """Sends a signal to a run as it writes an object of such a name for the `count`-th time, and returns then."""
    left, sent = [count], threading.Event()

    def sends(name):
        left[0] -= fnmatch.fnmatch(name, pattern)
        if left[0] != 0 or sent.is_set():
            return False
        os.killpg(process.pid, number)
        sent.set()
        return number == signal.SIGKILL

    store.dies = sends
    while not sent.wait(1.0):
        assert process.poll() is None


def written(store, folder):
    """The objects as files."""
    for name in store.names("bucket/run/*"):
        path = folder / name.removeprefix("bucket/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.objects[name])
    return folder / "run"


def test_a_lease_that_a_stage_finds_lost_is_told_as_it_is():
    """Whichever thread finds it first: nothing goes on from here while the other run has the directory."""

    def run():
        raise LeaseError("gs://bucket/run: taken over; this run ends.")

    stage = study.StudyStage("report", "", "report", epath.Path("gs://bucket/run/report"), run)
    with pytest.raises(LeaseError) as told:
        study._run(stage, "stage 9 of 9")
    assert str(told.value) == "gs://bucket/run: taken over; this run ends."


def test_a_study_killed_suspended_and_overtaken_in_a_bucket_equals_one_on_a_disk(
    store, undisturbed, tmp_path
):
    killed = begin(store, tmp_path / "1")
    send_at(store, killed, signal.SIGKILL, "bucket/run/rl/seed_3/metrics.parts/*", 3)
    killed.wait()
    store.revive()
    suspended = begin(store, tmp_path / "2")
    send_at(store, suspended, signal.SIGSTOP, "bucket/run/rl/seed_3/evaluation/samples/*", 1)
    last = begin(store, tmp_path / "3")
    assert last.wait(SECONDS) == 0, (tmp_path / "3" / "log").read_text()[-6000:]
    count = len(store.changes)
    os.killpg(suspended.pid, signal.SIGCONT)
    assert suspended.wait(60) == 2
    # It may say in its own log why it ends. A renewal that was on its way when the process was suspended may arrive
    # now, which is no lease: its number is lower.
    own = {SECOND_LEASE, *store.names(f"bucket/run/logs/*-{suspended.pid}.txt")}
    assert set(store.changes[count:]) <= own and not store.refused
    logs = [(tmp_path / str(n) / "log").read_text() for n in (1, 2, 3)]
    assert all("has ended without a word; taking over" in log for log in logs[1:])
    assert "was taken over by process" in logs[1].splitlines()[-1]
    assert "Traceback" not in logs[1]
    expected = results(undisturbed / "run")
    assert_same(results(written(store, tmp_path / "files"), b"gs://bucket/"), expected)
    assert not store.names("*.parts/*")
    assert set(store.names("bucket/run/.lease/*")) - {SECOND_LEASE} == {
        "bucket/run/.lease/000003.json"
    }
