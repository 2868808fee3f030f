"""Strict configuration, and files that are whole or not there."""

import dataclasses
from typing import Literal

import ml_collections
import pytest

from jaxreason import config as config_lib
from jaxreason.config import ConfigError, JsonlWriter, claim, parse, read_jsonl


@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float
    schedule: Literal["cosine", "constant"]


@dataclasses.dataclass(frozen=True)
class Train:
    steps: int
    optimizer: Optimizer
    stop: tuple[str, ...]
    by_name: dict[str, float]
    thinking: bool | None


def section(**changes):
    values = {
        "steps": 3,
        "optimizer": {"learning_rate": 1, "schedule": "cosine"},
        "stop": ("a",),
        "by_name": {"x": 0.5},
        "thinking": None,
    }
    return ml_collections.ConfigDict(values | changes, convert_dict=True)


def test_a_section_becomes_its_dataclass_with_integers_accepted_as_floats():
    expected = Train(3, Optimizer(1.0, "cosine"), ("a",), {"x": 0.5}, None)
    assert parse(Train, section(), "config.sft") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 4}, r"config.sft.step: no such field; did you mean 'steps'\?"),
        (
            {"optimizer": {"learning_rate": 1.0}},
            r"config.sft.optimizer: missing field\(s\) schedule",
        ),
        (
            {"optimizer": {"learning_rate": "1", "schedule": "cosine"}},
            r"config.sft.optimizer.learning_rate: expected float, got '1' \(str\)",
        ),
        (
            {"optimizer": {"learning_rate": 1.0, "schedule": "cosin"}},
            r"optimizer.schedule: expected one of 'cosine', 'constant', got 'cosin'; did you mean 'cosine'",
        ),
        ({"stop": "a"}, r"config.sft.stop: expected a tuple, got 'a'"),
        ({"by_name": {"x": "y"}}, r"config.sft.by_name.x: expected float, got 'y'"),
        ({"steps": True}, r"config.sft.steps: expected int, got True \(bool\)"),
        ({"thinking": 1}, r"config.sft.thinking: expected bool, got 1 \(int\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_full_path_and_what_was_expected(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse(Train, section(**changes), "config.sft")


def test_an_old_working_directory_refuses_another_configuration_and_names_the_difference(tmp_path):
    path = config_lib.epath.Path(tmp_path)
    claim(path, {"sft": {"steps": 3, "stop": ("a",)}})
    claim(path, {"sft": {"steps": 3, "stop": ("a",)}})
    with pytest.raises(ConfigError, match=r"sft.steps: 3 -> 4"):
        claim(path, {"sft": {"steps": 4, "stop": ("a",)}})


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
    path = config_lib.epath.Path(tmp_path / "a.json")
    config_lib.write_json(path, {"a": 1})
    monkeypatch.setattr(type(path), "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        config_lib.write_json(path, {"a": 2})
    assert config_lib.read_json(path) == {"a": 1}
