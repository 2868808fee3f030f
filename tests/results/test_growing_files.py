"""Files that grow, on a bucket: what was flushed is never lost, and nothing is there twice, whatever a kill hits."""

import json

import bucket
import pytest
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results import jsonl
from jaxreason.results.jsonl import JsonlWriter, grown_exists, join_parts, read_grown, read_jsonl

PATH = epath.Path("gs://bucket/run/rows.jsonl")


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(bucket, "QUIET_SECONDS", 0.0)  # no threads here
    monkeypatch.setattr(jsonl, "PART_BYTES", 40)  # of rows with about 10 bytes
    return bucket.use(monkeypatch)


def append(first, last, keep=None, whole=False):
    """Rows `first` to `last` - 1, flushed after every third; notes how many were flushed."""
    writer = JsonlWriter(PATH, keep)
    for number in range(first, last):
        writer.write({"n": number})
        if (number + 1) % 3 == 0:
            writer.flush()
            append.flushed = number + 1
    (writer.close_whole if whole else writer.close)()
    append.flushed = last


def numbers():
    return [row["n"] for row in read_jsonl(PATH)]


def test_on_a_bucket_a_file_grows_in_parts_and_a_resumed_writer_goes_on(store):
    append(0, 10)
    before = store.names()
    append(10, 20)
    assert numbers() == list(range(20))
    assert before == [f"bucket/run/rows.parts/{n:05d}.jsonl" for n in (1, 2)]


def test_the_number_of_parts_follows_from_the_size_and_not_from_the_number_of_starts(store):
    for number in range(30):
        append(number, number + 1)
    assert numbers() == list(range(30))
    assert 4 < len(store.names()) <= sum(map(len, store.objects.values())) // 40 + 1


def test_rows_are_there_after_a_flush_and_nothing_is_written_before(store):
    writer = JsonlWriter(PATH)
    writer.write({"n": 0})
    writer.flush_if_due()
    assert not grown_exists(PATH) and not store.changes
    writer.flush()
    assert numbers() == [0]


def test_rows_that_wait_are_flushed_when_they_are_many_or_old(store, monkeypatch):
    writer, now = JsonlWriter(PATH), [100.0]
    monkeypatch.setattr(jsonl.time, "monotonic", lambda: now[0])
    for number in range(jsonl.FLUSH_LINES):
        assert not grown_exists(PATH)
        writer.write({"n": number})
        writer.flush_if_due()
    assert len(numbers()) == jsonl.FLUSH_LINES
    writer.write({"n": -1})
    now[0] += jsonl.FLUSH_SECONDS
    writer.flush_if_due()
    assert numbers()[-1] == -1


def test_a_resumed_writer_drops_the_rows_after_the_step_it_resumes_from(store):
    append(0, 20)
    append(7, 12, keep=lambda row: row["n"] < 7)
    assert numbers() == list(range(12))


def test_a_closed_file_is_one_object_of_the_name_that_it_has_on_a_disk(store):
    append(0, 20, whole=True)
    assert store.names() == ["bucket/run/rows.jsonl"]
    assert store.objects["bucket/run/rows.jsonl"].count(b"\n") == 20
    append(20, 25, whole=True)
    assert store.names() == ["bucket/run/rows.jsonl"] and numbers() == list(range(25))


def test_a_part_that_is_missing_between_two_others_is_refused_by_name(store):
    append(0, 20)
    store.delete("bucket/run/rows.parts/00002.jsonl")
    with pytest.raises(UserError, match=r"expected 00002.jsonl, found 00003.jsonl: a part of rows"):
        read_jsonl(PATH)


def test_parts_beside_a_whole_file_are_older_and_do_not_count(store):
    append(0, 20)
    store.put("bucket/run/rows.jsonl", b'{"n": 5}\n')
    assert numbers() == [5]
    append(6, 7)
    assert numbers() == [5, 6]


def test_joining_removes_parts_that_a_kill_left_beside_the_whole_file(store):
    append(0, 20)
    store.put("bucket/run/rows.jsonl", store.objects["bucket/run/rows.parts/00001.jsonl"])
    whole = numbers()
    join_parts(PATH)
    assert store.names() == ["bucket/run/rows.jsonl"] and numbers() == whole


def test_a_reader_that_meets_the_joining_of_parts_reads_the_whole_file(store, monkeypatch):
    append(0, 20)
    listed = jsonl._parts

    def parts_just_before_they_are_joined(path):
        found = listed(path)
        monkeypatch.setattr(jsonl, "_parts", listed)
        join_parts(PATH)
        return found

    monkeypatch.setattr(jsonl, "_parts", parts_just_before_they_are_joined)
    assert read_grown(PATH).count(b"\n") == 20


@pytest.mark.parametrize("whole", [False, True])
def test_a_kill_at_any_change_loses_nothing_flushed_and_doubles_nothing(store, whole):
    """Two starts, the second of which drops rows 10 to 13, killed at each change of an object in turn."""
    kills = 0
    while True:
        store.objects.clear()
        store.changes.clear()
        store.die_after(kills)
        append.flushed = 0
        try:
            append(0, 14, whole=whole)
            append.flushed = 10  # and what is dropped now may go at any moment
            append(10, 24, keep=lambda row: row["n"] < 10, whole=whole)
            break
        except bucket.Killed:
            kills += 1
        store.revive()
        found = numbers() if grown_exists(PATH) else []
        assert found == list(range(len(found))) and len(found) >= append.flushed
        append(
            10 if len(found) > 10 else len(found), 24, keep=lambda row: row["n"] < 10, whole=True
        )
        assert numbers() == list(range(24))
    assert numbers() == list(range(24)) and kills > 10


def test_the_same_rows_give_the_same_bytes_on_a_disk_and_on_a_bucket(store, tmp_path):
    rows = [{"a": "é\n\ud7ff", "b": [1, 2.5, None]}, {"c": {}}]
    for path in (PATH, tmp_path / "rows.jsonl"):
        writer = JsonlWriter(path)
        for row in rows:
            writer.write(row)
        writer.close_whole()
    on_disk = (tmp_path / "rows.jsonl").read_bytes()
    assert read_grown(PATH) == on_disk == store.objects["bucket/run/rows.jsonl"]
    assert [json.loads(line) for line in on_disk.splitlines()] == rows


def test_a_reader_that_meets_a_writer_as_it_puts_parts_together_reads_every_row(store, monkeypatch):
    append(0, 20)
    listed = jsonl._listed

    def late(path):  # the writer makes one object, and has removed the last part already
        monkeypatch.setattr(jsonl, "_listed", listed)
        store.put("bucket/run/rows.jsonl", read_grown(path))
        store.delete("bucket/run/" + sorted(store.names("bucket/run/rows.parts/*"))[-1][11:])
        return listed(path)

    monkeypatch.setattr(jsonl, "_listed", late)
    assert numbers() == list(range(20))
