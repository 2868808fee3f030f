"""Files that are whole or not there."""

import errno
import os
import subprocess
import sys
import time

import pytest
from etils import epath

from jaxreason.errors import UserError
from jaxreason.models.weight_files import read_settings
from jaxreason.results import claims
from jaxreason.results.atomic_files import changed_at, read_json, read_object, write_json
from jaxreason.results.jsonl import JsonlWriter, iter_jsonl, read_jsonl


def test_a_line_that_a_kill_cut_off_is_dropped_and_appending_goes_on(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a": 3')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    writer = JsonlWriter(path, keep=lambda row: row["a"] < 2)
    writer.write({"a": "é\n"})
    writer.close()
    assert path.read_text() == '{"a": 1}\n{"a": "é\\n"}\n'


def test_a_broken_line_in_the_middle_is_an_error_with_file_and_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl, line 2: not valid JSON"):
        read_jsonl(tmp_path / "rows.jsonl")


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = epath.Path(tmp_path / "a.json")
    write_json(path, {"a": 1})
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.json: the file is empty"),
        (b'{"a": 1', r"a.json: not valid JSON \(Expecting"),
        (b"[" * 99999, r"a.json: not valid JSON"),
        (b"9" * 5000, r"a.json: not valid JSON"),
        (b'{"a":\n "\xff"}', r"a.json, line 2: not UTF-8"),
    ],
)
def test_a_broken_json_file_is_an_error_with_the_file_and_what_to_do(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_json(tmp_path / "a.json")
    assert "remove it" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"a\.json: expected an object, got \[\]"),
        ("{}", r"a\.json, rows: expected a list, got nothing"),
        ('{"rows": {"b": 1}}', r"a\.json, rows: expected a list, got \{'b': 1\}"),
        ("[" * 100_000, r"a\.json: not valid JSON"),
    ],
)
def test_json_of_another_shape_than_was_written_is_an_error_with_the_file(
    tmp_path, content, message
):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=f"{message}.* Ask Ann\\."):
        read_object(tmp_path / "a.json", {"rows": list}, "Ask Ann.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\xff\n', "line 2: not UTF-8"),
        (b"3\n", "line 1: expected an object, got 3"),
        (b"[" * 99999 + b"\n", "line 1: not valid JSON"),
    ],
)
def test_a_line_that_is_no_row_is_an_error_with_file_and_line(tmp_path, content, message):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=f"rows.jsonl, {message}"):
        read_jsonl(tmp_path / "rows.jsonl")


def test_a_kill_that_cut_a_character_in_two_costs_that_line_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": 1}\n{"a": "é'.encode()[:-1])
    JsonlWriter(path).close()
    assert path.read_bytes() == b'{"a": 1}\n'


def test_what_a_process_that_is_gone_left_half_written_is_removed_by_the_next_write(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f"old.json.tmp-{gone.pid}").write_text("{")
    (tmp_path / "other.json.tmp-1").write_text("{")  # process 1 lives
    write_json(tmp_path / "a.json", {})
    assert sorted(os.listdir(tmp_path)) == ["a.json", "other.json.tmp-1"]


def test_what_another_host_or_container_is_writing_is_left_to_it_for_a_day(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [f"a.json.tmp-0123abcd-{process}" for process in (os.getpid(), gone.pid)]
    for name in names:
        (tmp_path / name).write_text("theirs")
    write_json(tmp_path / "a.json", {})
    assert [(tmp_path / name).read_text() for name in names] == ["theirs"] * 2
    day_ago = time.time() - 86500
    os.utime(tmp_path / names[1], (day_ago, day_ago))
    write_json(tmp_path / "a.json", {})
    assert sorted(os.listdir(tmp_path)) == ["a.json", names[0]]


FULL = """
import resource, signal, sys
from jaxreason.results.atomic_files import write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_json(sys.argv[1], "x" * 1000)
except OSError as error:
    print("refused", error.errno)
"""


def test_a_write_that_finds_no_room_leaves_the_old_file_and_nothing_else(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    found = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a.json")], capture_output=True, text=True
    )
    assert found.stdout.startswith("refused"), found.stderr
    assert os.listdir(tmp_path) == ["a.json"] and read_json(tmp_path / "a.json") == {"a": 1}


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    synced, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), synced(fd)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), replace(*names)))
    write_json(tmp_path / "a.json", {})
    assert calls == ["fsync", "rename", "fsync"]  # the last one of the folder


def test_lines_that_were_flushed_are_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}"))
    )
    writer = JsonlWriter(tmp_path / "rows.jsonl")
    writer.write({"a": 1})
    assert synced == []  # not for each line
    writer.flush()
    assert synced == [str(tmp_path / "rows.jsonl")]
    writer.close()


def test_a_folder_in_the_place_of_a_file_is_an_error_with_a_number(tmp_path):
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(OSError) as raised:
        write_json(tmp_path / "scores.json", {})
    assert raised.value.errno == errno.EISDIR
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1}\n', b'{"a": "\xc3\xa9\xe2\x80\xa8"}\n{"b": 2}\n{"c', b'{"a": 1}\n{"b": "\xc3']
)  # fmt: skip
def test_rows_one_by_one_are_the_rows_of_the_file(tmp_path, content):
    path, seen = tmp_path / "rows.jsonl", []
    path.write_bytes(content)
    assert list(iter_jsonl(path, seen.append)) == read_jsonl(path)
    assert b"".join(seen) == content


@pytest.mark.parametrize("line", [b"[1]", b'{"a": ', b'{"a": "\xff"}'])
def test_rows_one_by_one_refuse_what_reading_all_refuses(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    said = []
    for read in (read_jsonl, lambda path: list(iter_jsonl(path))):
        with pytest.raises(UserError, match=r"rows\.jsonl, line 2: ") as caught:
            read(path)
        said.append(str(caught.value)[:80])
    assert said[0] == said[1]


def test_files_of_an_owner_that_this_system_does_not_know_are_read(tmp_path, monkeypatch):
    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    folder = epath.Path(tmp_path)
    write_json(folder / "config.json", {"layers": 1})
    assert read_settings(folder / "config.json") == {"layers": 1}
    claims.mark_done(folder, {"steps": 1}, {}, [folder / "config.json"])
    assert claims.why_not_done(folder, {"steps": 1}, {}) is None
    assert abs(changed_at(folder / "config.json") - time.time()) < 60
