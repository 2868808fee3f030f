"""A folder as one listing found it: what is asked of it costs a bucket no request, and what is read is right."""

import object_store
import pytest
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results import snapshots
from jaxreason.results.atomic_files import read_json, write_json
from jaxreason.results.drift_files import metric_names, read_drift, write_drift
from jaxreason.results.jsonl import JsonlWriter, join_parts, read_jsonl
from jaxreason.results.snapshots import Snapshot
from jaxreason.results.study_files import is_study, read_transfer, write_transfer

NAMES = ("study.json", "rl/seed_0/analysis/kl.json", "rl/seed_0/analysis/cka.json", ".lease/1.json")


@pytest.fixture(params=object_store.CLIENTS)
def run(request, monkeypatch):
    """A folder in a bucket that has NAMES."""
    with object_store.opened(monkeypatch, request.param) as store:
        for name in NAMES:
            store.put(f"bucket/run(1)/{name}", name.encode())
        store.put("bucket/run(1)x/other.json", b"of another folder")
        path = epath.Path(f"{request.param}://bucket/run(1)")
        yield path, store


def test_files_folders_and_patterns_are_those_of_the_bucket_and_take_one_request(run):
    folder, store = run
    found = Snapshot(folder)
    for name in (*NAMES, "rl", "rl/seed_0", "rl/seed_0/analysis", ".lease"):
        assert found.exists(folder / name), name
    for name in ("r", "rl/seed_0/analysis/k", "kl.json", "other.json", "study.json/x", "lease"):
        assert not found.exists(folder / name), name
    analysis = folder / "rl" / "seed_0" / "analysis"
    assert found.matching(analysis, "*.json") == [analysis / "cka.json", analysis / "kl.json"]
    assert found.matching(folder, "rl*") == [folder / "rl"] and not found.matching(folder / "x", "*")  # fmt: skip
    assert found.grown_exists(folder / "study.json") and not found.grown_exists(folder / "m.jsonl")
    assert len(store.requests) == 1


def test_a_folder_that_is_not_there_has_nothing(run):
    folder, _ = run
    found = Snapshot(folder.parent / "nowhere")
    assert not found.exists(folder.parent / "nowhere" / "study.json")
    with pytest.raises(FileNotFoundError):
        found.read_grown(folder.parent / "nowhere" / "study.json")


def test_what_is_outside_is_asked_for(run):
    folder, _ = run
    outside = folder.parent / "run(1)x" / "other.json"
    found = Snapshot(folder)
    assert found.exists(outside) and found.grown_exists(outside)
    assert found.read_grown(outside) == b"of another folder"


def test_small_files_are_read_once_and_large_ones_when_they_are_wanted(run, monkeypatch):
    folder, store = run
    monkeypatch.setattr(snapshots, "KEPT_FILE", 100)
    for name, size in (("large.json", 101), ("small.json", 100), ("empty.jsonl", 0)):
        store.put(f"bucket/run(1)/{name}", b"x" * size)
    found = Snapshot(folder)
    store.requests.clear()
    sizes = {"small.json": 100, "large.json": 101, "empty.jsonl": 0, "study.json": 10}
    for _ in range(3):
        assert {name: len(found.read_grown(folder / name)) for name in sizes} == sizes
    counts = {name: sum(name in r for r in store.requests) for name in sizes}
    assert counts == dict.fromkeys(sizes, 1) | {"large.json": 3}
    assert not any("kl.json" in r for r in store.requests)  # of a folder from which nothing is read


def test_no_more_is_kept_than_its_share_of_memory(run, monkeypatch):
    folder, store = run
    monkeypatch.setattr(snapshots, "KEPT_BYTES", 150)
    for name in "abc":
        store.put(f"bucket/run(1)/{name}.json", name.encode() * 70)
    found = Snapshot(folder)
    for _ in range(2):
        assert [found.read_grown(folder / f"{n}.json") for n in "abc"] == [n.encode() * 70 for n in "abc"]  # fmt: skip
    assert sum(map(len, found._kept.values())) <= 150
    assert [sum(f"{n}.json" in r for r in store.requests) for n in "abc"] == [1, 1, 2]


def test_what_is_written_later_is_seen_by_the_next_one_and_without_one(run):
    folder, store = run
    old = Snapshot(folder)
    store.put("bucket/run(1)/new.json", b"1")
    store.put("bucket/run(1)/study.json", b"{}")
    store.delete("bucket/run(1)/rl/seed_0/analysis/kl.json")
    new = Snapshot(folder)
    assert not old.exists(folder / "new.json") and new.read_grown(folder / "new.json") == b"1"
    assert new.read_grown(folder / "study.json") == b"{}"
    assert not new.exists(folder / "rl" / "seed_0" / "analysis" / "kl.json")
    assert metric_names(folder / "rl" / "seed_0") == ["cka"]


def test_readers_without_a_snapshot_see_every_change(run):
    folder, _ = run
    assert is_study(folder) and read_transfer(folder) is None and read_drift(folder, "a") is None
    for number in range(3):
        write_transfer(folder, {"n": number}, {}, [], [])
        write_drift(folder, "a", {"metric": "a", "rows": [], "groups": [], "details": {"n": number}})  # fmt: skip
        assert read_transfer(folder)["config"] == {"n": number}
        assert read_drift(folder, "a")["details"] == {"n": number}


def test_a_file_in_parts_is_read_and_one_that_is_joined_or_taken_apart_after_the_listing(run):
    folder, store = run
    folder = folder.parent / "other"
    rows = [{"n": number} for number in range(5)]
    paths = [folder / name for name in ("parts.jsonl", "joined.jsonl", "apart.jsonl")]
    for path in paths:
        writer = JsonlWriter(path)
        for row in rows:
            writer.write(row)
        (writer.close_whole if path == paths[2] else writer.close)()
    found = Snapshot(folder)
    assert all(map(found.grown_exists, paths))
    assert not store.names("*/joined.jsonl") and not store.names("*/apart.parts/*")
    join_parts(paths[1])
    JsonlWriter(paths[2]).close()
    assert store.names("*/joined.jsonl") and store.names("*/apart.parts/*")
    for path in paths:
        assert found.read_grown(path).count(b"\n") == 5 and read_jsonl(path) == rows


def test_a_file_is_read_with_one_request_and_one_that_is_missing_is_named(run):
    folder, store = run
    write_json(folder / "a.json", [1])
    store.put("bucket/run(1)/empty.json", b"")
    store.requests.clear()
    assert read_json(folder / "a.json") == [1] and len(store.requests) == 1
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        read_json(folder / "no.json")
    with pytest.raises(UserError, match=r"empty\.json: the file is empty"):
        read_json(folder / "empty.json")


def test_on_a_disk_every_question_goes_to_the_disk(tmp_path):
    folder = epath.Path(tmp_path)
    found = Snapshot(folder)
    assert not found.exists(folder / "a.json") and not found.grown_exists(folder / "a.json")
    for data in (b"1", b"2"):
        (tmp_path / "a.json").write_bytes(data)
        assert found.exists(folder / "a.json") and found.read_grown(folder / "a.json") == data
        assert found.matching(folder, "*.json") == [folder / "a.json"]
    assert not found._kept
