"""Sections of recipes are made from the dataclasses, where each field is declared with all that is known of it."""

import collections
import dataclasses
import pathlib
import runpy
import typing
from typing import Annotated

import pytest

from jaxreason.config import ConfigError, at_least, defaults, marks, needed, parse
from jaxreason.recipe_fields import config_dict, describe_fields, field_docs, positions
from jaxreason.rl.rl_config import RLConfig
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.studies.recipe_sections import SECTIONS
from jaxreason.training.sft_config import SFTConfig

ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float
    """How fast."""
    steps: Annotated[int, at_least(1)] = 3
    """How long."""


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str = "a"
    inner: Annotated[Inner, defaults(steps=7)] = needed()
    whole: Inner = Inner(0.5, 4)
    parts: dict[str, Inner] = dataclasses.field(default_factory=dict)
    words: tuple[str, ...] = ("x", "y")


def test_a_section_has_every_field_and_those_without_a_default_are_given_by_position():
    made = config_dict(Outer, 0.1, parts={"p": {"rate": 2.0}})
    assert positions(Outer)[:2] == [("inner", "rate"), ("name",)]
    assert made.to_dict() == {
        "name": "a",
        "inner": {"rate": 0.1, "steps": 7},
        "whole": {"rate": 0.5, "steps": 4},
        "parts": {"p": {"rate": 2.0, "steps": 3}},
        "words": ("x", "y"),
    }


def test_a_mapping_changes_some_fields_of_an_inner_section():
    made = config_dict(Outer, 0.1, inner={"steps": 9}, whole={"rate": 1.0})
    assert made.inner.to_dict() == {"rate": 0.1, "steps": 9}
    assert made.whole.to_dict() == {"rate": 1.0, "steps": 4}


def test_a_recipe_that_leaves_fields_out_is_parsed_with_the_same_defaults():
    parsed = parse(Outer, {"inner": {"rate": 1}, "whole": {"steps": 2}}, "config.x")
    assert parsed == Outer("a", Inner(1.0, 7), Inner(0.5, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: config_dict(Outer), r"Outer: missing field\(s\) inner"),
        (lambda: config_dict(Outer, inner={"steps": 1}), r"Outer.inner: missing field\(s\) rate"),
        (lambda: config_dict(Outer, 0.1, nam="b"), "Outer.nam: no such field; did you mean 'name'"),
        (lambda: config_dict(Inner, 1.0, 2, 3), "Inner: at most 2 values, got 3"),
        (lambda: parse(Outer, {"name": "b"}, "config.x"), r"config.x: missing field\(s\) inner"),
    ],
)
def test_an_unknown_or_missing_field_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_needed_field_cannot_be_left_out_of_the_dataclass_itself():
    with pytest.raises(TypeError, match="without a default"):
        Outer("a")


def test_the_shipped_sections_take_by_position_what_has_no_default():
    assert positions(SFTConfig)[:2] == [("datasets",), ("optimizer", "learning_rate")]
    assert positions(RLConfig)[:2] == [("datasets",), ("optimizer", "learning_rate")]
    tokens = ("max_tokens",), ("decoding", "max_tokens"), ("sampler", "max_length")
    assert tuple(positions(ServeConfig)[:3]) == tokens


def sections_below(cls):
    """The dataclass and all that its fields hold."""

    def inside(hint):
        if dataclasses.is_dataclass(hint):
            yield from sections_below(hint)
        for part in typing.get_args(hint)[:1] if marks(hint) else typing.get_args(hint):
            yield from inside(part)

    yield cls
    for hint in typing.get_type_hints(cls, include_extras=True).values():
        yield from inside(hint)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_field_of_every_section_says_what_it_means(name):
    for cls in sections_below(SECTIONS[name]):
        assert set(field_docs(cls)) == {field.name for field in dataclasses.fields(cls)}, cls
    fields = describe_fields(SECTIONS[name])
    assert all(field.doc.endswith(".") for field in fields)
    assert len({field.path for field in fields}) == len(fields)


def test_no_text_of_a_field_stands_at_another_of_its_section():
    for name, section in SECTIONS.items():
        for cls in sections_below(section):
            texts = collections.Counter(field_docs(cls).values())
            # Texts about "this name" are as true of each of them.
            twice = [x for x, times in texts.items() if times > 1 and "of this name" not in x]
            assert twice == [], (name, cls)


def test_the_description_of_a_field_has_the_default_of_the_section_where_it_stands():
    found = {field.path: field for field in describe_fields(RLConfig)}
    schedule, tokens = found["optimizer.schedule"], found["decoding.max_tokens"]
    assert (schedule.type, schedule.default) == ("str", "'constant'")
    assert (tokens.range, tokens.default, tokens.doc) == (
        "at least 1",
        "256",
        "The most tokens of a reply, including the stop token.",
    )
    assert "datasets.NAME.path" in found


def test_the_page_of_fields_is_what_the_declarations_give():
    run = runpy.run_path(str(ROOT / "scripts/draw_fields.py"))
    assert (ROOT / "docs/fields.md").read_text() == run["fields_page"]()
