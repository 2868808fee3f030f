"""The lease of a working directory on a bucket: one living run in it, noticed by an object that its holder renews."""

import os
import threading
import time

import bucket
import object_store
import pytest
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results import buckets, lease
from jaxreason.results.atomic_files import read_json, write_json
from jaxreason.results.checksums import hash_once
from jaxreason.results.lease import Lease, LeaseError, read_newest
from jaxreason.results.locks import locked

RUN = epath.Path("gs://bucket/run")
PERIOD = 0.05
SOON, LATE = 20, 400  # periods; the latter where a busy machine must not be taken for a dead one


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", PERIOD)
    monkeypatch.setattr(lease, "STALE_PERIODS", LATE)
    monkeypatch.setattr(buckets, "SETTLE_SECONDS", PERIOD)
    return bucket.use(monkeypatch)


def abandon(held):
    """As after SIGKILL: nobody renews it, and nobody gives it back."""
    held._ended.set()
    held._thread.join()
    lease._held.remove(held)


def holder():
    return read_newest(RUN).record


def test_a_second_run_is_refused_while_the_first_renews_and_goes_on_once_it_has_ended(store):
    with locked(RUN):
        with pytest.raises(
            UserError, match=r"gs://bucket/run: another run is using .*process \d+ on"
        ):
            locked(RUN).__enter__()
        assert holder()["process"] == os.getpid() and holder()["beat"] > 0
    assert holder()["released"]
    begun = time.monotonic()
    with locked(RUN):
        assert time.monotonic() - begun < LATE * PERIOD / 2  # at once: it was given back
        assert store.names() == ["bucket/run/.lease/000002.json"]


def test_the_lease_of_a_killed_run_is_taken_over_aloud_and_what_is_left_of_that_run_may_not_write(
    store, monkeypatch, caplog
):
    monkeypatch.setattr(lease, "STALE_PERIODS", SOON)
    killed = Lease(RUN, print)
    killed.take()
    abandon(killed)
    with locked(RUN):
        assert "watching its lease for up to 1 s" in caplog.text
        assert "has ended without a word; taking over" in caplog.text
        before = dict(store.objects)
        killed._renew()
        with pytest.raises(LeaseError, match="was taken over by process"):
            killed.check()
        assert (
            store.objects.keys() == before.keys() and holder()["token"] != killed._record["token"]
        )


def test_a_run_that_loses_its_lease_is_told_and_writes_nothing_more(store, monkeypatch):
    told, lost = [], threading.Event()
    with locked(RUN, lambda reason: (told.append(reason), lost.set())):
        write_json(RUN / "a.json", 1)
        store.put("bucket/run/.lease/000002.json", b'{"host": "other", "process": 7, "token": "x"}')
        assert lost.wait(20)
        assert "taken over by process 7 on other" in told[0] and "\n" not in told[0]
        with pytest.raises(LeaseError, match="taken over by process 7 on other"):
            write_json(RUN / "b.json", 1)
    assert "bucket/run/a.json" in store.objects and "bucket/run/b.json" not in store.objects
    assert b"other" in store.objects["bucket/run/.lease/000002.json"]


def test_a_holder_that_was_suspended_asks_before_it_writes(store, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 3600.0)  # no renewal comes
    with locked(RUN):
        store.put("bucket/run/.lease/000002.json", b'{"host": "other", "process": 7, "token": "x"}')
        write_json(RUN / "a.json", 1)  # the lease is fresh, so the bucket is not asked
        monkeypatch.setattr(lease, "RENEW_SECONDS", 0.0)
        with pytest.raises(LeaseError, match="taken over by process 7 on other"):
            write_json(RUN / "b.json", 1)
    assert "bucket/run/b.json" not in store.objects


def test_a_bucket_out_of_reach_for_a_while_costs_nothing(store, monkeypatch, caplog):
    with locked(RUN):
        listdir = store.listdir

        def out_of_reach(path):
            raise RuntimeError("no route to the bucket")

        monkeypatch.setattr(store, "listdir", out_of_reach)
        assert wait_for(lambda: "the lease cannot be renewed" in caplog.text)
        monkeypatch.setattr(store, "listdir", listdir)
        beat = holder()["beat"]
        assert wait_for(lambda: holder()["beat"] > beat)
        write_json(RUN / "a.json", 1)
        monkeypatch.setattr(store, "listdir", out_of_reach)
    assert "the lease cannot be given back" in caplog.text


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"renew_seconds": "x"}', b'{"renew_seconds": 1e300}', b'{"rene']
)
def test_a_damaged_lease_is_watched_and_taken_over(store, monkeypatch, data):
    monkeypatch.setattr(lease, "STALE_PERIODS", SOON / 4)
    store.put("bucket/run/.lease/000007.json", data)
    with locked(RUN):
        assert store.names() == ["bucket/run/.lease/000008.json"]


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(PERIOD / 5)
    return condition()


def test_an_arm_of_a_living_study_and_the_study_of_a_living_arm_are_refused(store):
    study = epath.Path("gs://bucket/study")
    write_json(study / "study.json", {})
    with locked(study), pytest.raises(UserError, match="study: another run is using"):
        locked(study / "rl" / "seed_3").__enter__()
    with locked(study / "rl" / "seed_3"), pytest.raises(UserError, match=r"rl/seed_3: another run"):
        locked(study).__enter__()
    with locked(study), locked(epath.Path("gs://bucket/other")):
        pass


def begin_together(count):
    """So many runs at the same time; those that got the directory."""
    barrier, got, ended = threading.Barrier(count), [], threading.Event()

    def run(number):
        barrier.wait()
        try:
            with locked(RUN):
                got.append(number)
                ended.wait(20)
        except UserError:
            pass

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    assert wait_for(lambda: sum(thread.is_alive() for thread in threads) == 1)
    ended.set()
    for thread in threads:
        thread.join()
    return got


def test_of_runs_that_begin_together_one_gets_the_directory(store):
    assert len(begin_together(4)) == 1


@pytest.fixture(params=object_store.CLIENTS)
def served(request, monkeypatch):
    """A bucket behind the client that is used on a real one, and a working directory in it."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", PERIOD)
    monkeypatch.setattr(lease, "STALE_PERIODS", LATE)
    with object_store.opened(monkeypatch, request.param) as held:
        monkeypatch.setattr(f"{__name__}.RUN", epath.Path(f"{request.param}://bucket/run"))
        yield held


def test_with_the_clients_of_real_buckets_the_store_decides_and_tells_how_old_a_lease_is(served):
    assert len(begin_together(3)) == 1
    killed = Lease(RUN, print)
    killed.take()
    abandon(killed)
    served.times[f"bucket/run/.lease/{killed._number:06d}.json"] -= 3600
    before = time.monotonic()
    with locked(RUN):
        assert time.monotonic() - before < LATE * PERIOD / 2  # its age was enough
    assert not served.refused


def test_what_another_machine_writes_is_seen_though_the_folder_was_listed_before(served):
    write_json(RUN / "a.json", 1)
    assert [path.name for path in RUN.iterdir()] == ["a.json"] and not (RUN / "b.json").exists()
    old = hash_once(RUN / "a.json")
    served.put("bucket/run/b.json", b"2")
    served.put("bucket/run/a.json", b"3\n")
    assert sorted(path.name for path in RUN.iterdir()) == ["a.json", "b.json"]
    assert (RUN / "b.json").exists() and read_json(RUN / "a.json") == 3
    assert hash_once(RUN / "a.json") != old  # of the same size, within the same second
