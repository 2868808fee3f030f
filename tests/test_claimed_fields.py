"""Of every field it is said on purpose whether results depend on it, and docs/working_directory.md agrees."""

import dataclasses
import pathlib
import re
import typing

import pytest

from jaxreason.config import FREE, LEARNED, claimed, claimed_fields, marks, parse, to_dict
from jaxreason.recipes import load_recipe
from jaxreason.results.claims import differences
from jaxreason.studies.recipe_sections import SECTIONS

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent / "docs/working_directory.md"
CLAIMED = [name for name, cls in SECTIONS.items() if claimed_fields(cls)]


def sections_in(hint):
    """The dataclasses that a field's type holds."""
    if dataclasses.is_dataclass(hint):
        return [hint]
    inside = typing.get_args(hint)[:1] if marks(hint) else typing.get_args(hint)
    return [cls for part in inside for cls in sections_in(part)]


def fields_of(cls, path=""):
    """Path -> marks of every field that a claim may hold, down to those that hold no section."""
    if not claimed_fields(cls):
        return {}
    found = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if name not in {field.name for field in dataclasses.fields(cls)}:
            continue
        inner = sections_in(hint)
        if inner and FREE not in marks(hint):
            for one in inner:
                found |= fields_of(one, f"{path}{name}.")
        else:
            found[path + name] = {FREE, LEARNED} & {*map(str, marks(hint))}
    return found


def test_every_field_is_declared_on_purpose():
    assert set(CLAIMED) == {"model", "sft", "rl", "distill", "drift", "cross_sample", "questions"}
    for section in CLAIMED:
        for path, declared in fields_of(SECTIONS[section]).items():
            assert len(declared) == 1, f"{section}.{path}: expected LEARNED or FREE beside its type"


@dataclasses.dataclass(frozen=True)
class Undecided:
    inner: dict[str, SECTIONS["model"]]
    both: typing.Annotated[int, FREE, LEARNED]
    neither: int


def test_a_field_that_nobody_decided_on_is_found():
    found = fields_of(Undecided)
    assert found["inner.dtype"] == {LEARNED} and found["inner.remat"] == {FREE}
    assert [name for name, declared in found.items() if len(declared) != 1] == ["both", "neither"]


def free_in_document():
    """Section -> the fields that docs/working_directory.md says may change in the same directory."""
    table = DOCUMENT.read_text().split("| section | fields |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)`.*? \| (.*) \|$", table, re.M)
    return {section: re.findall(r"`([\w.]+)`", fields) for section, fields in rows}


def test_the_document_names_just_the_fields_that_are_free():
    said = free_in_document()
    for section in CLAIMED:
        free = {path for path, declared in fields_of(SECTIONS[section]).items() if FREE in declared}
        of_sampler = {path for path in free if path.startswith("sampler.")}
        assert sorted(said[section]) == sorted(free - of_sampler), section
        assert of_sampler in (set(), {f"sampler.{name}" for name in said["sampler"]})
    assert said.keys() == {*CLAIMED, "sampler"}


PLACES = ("v6e-64", "v5p-16", "h100-8", "h100")


@pytest.mark.parametrize("name", ["sft_qwen3", "rl_qwen3", "study_qwen3", "eval_paper", "survey"])
def test_a_recipe_asks_for_the_same_on_every_slice(name):
    size = {"survey": "7b", "eval_paper": "14b"}.get(name, "0.6b")
    asked = {}
    for place in ("v5p-64", *PLACES):
        config = load_recipe(f"configs/{name}.py:{size},{place}")
        names = [section for section in ("model", "sft", "rl", "drift") if section in config]
        asked[place] = {n: claimed(parse(SECTIONS[n], config[n], n)) for n in names}
        if "eval" in config:
            held = to_dict(parse(SECTIONS["eval"], config.eval, "eval"))
            held["sampler"] = claimed(parse(SECTIONS["eval"], config.eval, "eval").sampler)
            asked[place]["eval"] = held
    for place in PLACES:
        assert differences(asked["v5p-64"], asked[place]) == []
