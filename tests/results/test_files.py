"""Files that are whole or not there."""

import pytest
from etils import epath

from jaxreason.results.files import JsonlWriter, read_json, read_jsonl, write_json


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
    monkeypatch.setattr(type(path), "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
