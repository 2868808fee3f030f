"""Strict configuration."""

import dataclasses
from typing import Annotated, Literal

import ml_collections
import pytest

from jaxreason.config import FREE, ConfigError, above, at_least, claimed, parse, within


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
        ({"step": 4}, r"config.sft.step: no such field; did you mean 'steps'\? Valid: "),
        ({"xyz": 4}, r"config.sft.xyz: no such field\. Valid: "),
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


@dataclasses.dataclass(frozen=True)
class Ranged:
    steps: Annotated[int, at_least(1), FREE]
    rate: Annotated[float, above(0)]
    share: Annotated[float, within(0, 1)] | None
    inner: Train


def ranged(**changes):
    values = {"steps": 1, "rate": 0.5, "share": None, "inner": section()}
    return ml_collections.ConfigDict(values | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "config.x.steps: expected at least 1, got 0"),
        ({"rate": 0}, "config.x.rate: expected more than 0, got 0.0"),
        ({"rate": float("nan")}, "config.x.rate: expected a finite number, got nan"),
        ({"rate": float("inf")}, "config.x.rate: expected a finite number, got inf"),
        ({"rate": 10**400}, "config.x.rate: expected a finite number, got inf"),
        ({"share": 1.5}, "config.x.share: expected from 0 to 1, got 1.5"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_field(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse(Ranged, ranged(**changes), "config.x")


def test_what_is_claimed_leaves_out_the_free_fields_alone():
    parsed = parse(Ranged, ranged(share=1), "config.x")
    inner = {
        "steps": 3,
        "optimizer": {"learning_rate": 1.0, "schedule": "cosine"},
        "stop": ["a"],
        "by_name": {"x": 0.5},
        "thinking": None,
    }
    assert claimed(parsed) == {"rate": 0.5, "share": 1.0, "inner": inner}
