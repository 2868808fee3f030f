import json

import numpy as np

from jaxreason.data.rows import DropLog, python_value


def test_values_of_arrow_and_tfds_become_plain_python():
    value = {"a": b"\xc3\xa9", "b": np.int64(3), "c": np.array([b"x", b"y"], object), "d": (1.5,)}
    assert python_value(value) == {"a": "é", "b": 3, "c": ["x", "y"], "d": [1.5]}
    assert type(python_value(value)["b"]) is int


def test_kept_rows_are_those_neither_dropped_nor_left_out(tmp_path):
    drops = DropLog()
    for _ in range(100):
        drops.read("set")
    for number in range(30):
        drops.drop("set", f"file:{number}", "empty", "'question'")
    drops.drop("set", "file:99", "not UTF-8", "'\\udcff'")
    drops.leave_out("set", "limit", 9)
    drops.write(tmp_path / "data" / "drops.json")
    written = json.loads((tmp_path / "data" / "drops.json").read_text())
    assert written["set"]["rows"] == 100
    assert written["set"]["kept"] == 60
    assert written["set"]["dropped"] == {"empty": 30, "not UTF-8": 1}
    assert written["set"]["left_out"] == {"limit": 9}
    first = written["set"]["first_bad_rows"]
    assert len(first) == 20
    assert first[0] == {"where": "file:0", "reason": "empty", "detail": "'question'"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["drops.json"]


def test_bad_rows_of_one_reason_are_logged_together(caplog):
    drops = DropLog()
    for row in (1, 2, 4):
        drops.drop("set", f"file:{row}", "not encodable", "the template refuses it")
    drops.drop("set", "file:3", "empty", "'question'")
    drops.report("set")
    assert [record.getMessage() for record in caplog.records] == [
        "file:1: row dropped, not encodable: the template refuses it (also 2 other rows, to file:4)",
        "file:3: row dropped, empty: 'question'",
    ]


def test_bad_rows_are_logged_once_with_file_and_row(caplog):
    drops = DropLog()
    drops.drop("set", "file:7", "empty", "'question'")
    drops.report("set")
    drops.report("set")
    assert [record.getMessage() for record in caplog.records] == [
        "file:7: row dropped, empty: 'question'"
    ]
