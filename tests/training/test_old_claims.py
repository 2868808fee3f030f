"""Directories that an older version made are gone on with; the fixtures are the records of two runs of study_tiny."""

import copy
import dataclasses
import json
import os
import pathlib
from typing import Annotated

import pytest
from etils import epath

from configs import sections
from jaxreason.config import FREE, LEARNED, ConfigError, parse
from jaxreason.models.huggingface import ModelConfig
from jaxreason.results.claims import brought_up, digest, recorded
from jaxreason.rl.rl_config import RLConfig
from jaxreason.training.run_folder import RunFolder
from jaxreason.training.sft_config import SFTConfig

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
CLASSES = {"sft": SFTConfig, "rl": RLConfig}


def old_run(stage):
    return json.loads((FIXTURES / f"{stage}_of_november_2026.json").read_text())


def write_run(folder, found):
    """The run's folder as far as its claim and its end look at it."""
    for name, value in found.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "model").mkdir()
    for name, size in found["done.json"]["files"].items():
        (folder / name).touch()
        os.truncate(folder / name, size)
    steps = range(1, found["done.json"]["num_steps"] + 1)
    (folder / "metrics.jsonl").write_text("".join(f'{{"step": {n}}}\n' for n in steps))


def run_of(folder, found, **changes):
    """The run that is asked for now, of the recipe as it was."""
    claimed, recipe = found["config.json"]["claimed"], found["config.json"]["recipe"]
    stage = claimed["stage"]
    section = parse(CLASSES[stage], recorded(CLASSES[stage], recipe[stage]), stage)
    model = recipe["model"] | {"path": str(sections.HERE / "tiny_base")}
    return RunFolder(
        epath.Path(folder),
        stage,
        dataclasses.replace(section, **changes),
        parse(ModelConfig, model, "model"),
        recipe["seed"],
        found["done.json"]["num_steps"],
        claimed["data"],
    )


@pytest.mark.parametrize("stage", CLASSES)
def test_a_run_of_an_older_version_is_known_as_complete_and_its_record_stays(stage, tmp_path):
    found = old_run(stage)
    write_run(tmp_path, found)
    assert run_of(tmp_path, found).claim()
    record = json.loads((tmp_path / "config.json").read_text())
    assert digest(record["claimed"]) == found["done.json"]["claim"]


@pytest.mark.parametrize("stage", CLASSES)
def test_fields_that_came_later_had_their_defaults(stage, tmp_path):
    found = old_run(stage)
    claimed = found["config.json"]["claimed"]
    for name in ("samples", "reference", "epochs_per_batch", "overlong", "kl_coefficient"):
        claimed[stage].pop(name, None)
    del claimed[stage]["validation"]["decoding"]["think_budget"]
    claimed[stage].get("decoding", {}).pop("min_p", None)
    found["done.json"]["claim"] = digest(claimed)
    older = copy.deepcopy(found)
    older["config.json"]["recipe"][stage]["gone_since"] = 3
    write_run(tmp_path, older)
    assert run_of(tmp_path, older).claim()
    assert json.loads((tmp_path / "config.json").read_text())["claimed"] == claimed
    if stage == "rl":
        with pytest.raises(ConfigError, match=r"rl\.epochs_per_batch: 1 -> 2\. To go on here, set"):
            run_of(tmp_path, older, epochs_per_batch=2).claim()


def test_a_difference_is_told_in_one_line_with_what_to_do(tmp_path):
    found = old_run("rl")
    write_run(tmp_path, found)
    with pytest.raises(ConfigError) as refused:
        run_of(tmp_path, found, group_size=16).claim()
    assert str(refused.value) == (
        f"{tmp_path}/config.json: made with something else than this run asks for (old -> new): "
        "rl.group_size: 8 -> 16. To go on here, set it back; otherwise use another --workdir, or remove "
        f"{tmp_path}."
    )


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: Annotated[float, LEARNED]
    name: Annotated[str, LEARNED] = "a"
    rows: Annotated[int, FREE] = 1


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    parts: dict[str, Inner]
    perhaps: Inner | None = None
    later: Inner = Inner(0.5)
    steps: Annotated[int, FREE] = 4


def test_an_old_claim_is_brought_up_at_every_depth():
    old = {"inner": {"rate": 1.0, "rows": 2}, "parts": {"x": {"rate": 2.0}}, "steps": 3, "gone": 1}
    new = {
        "inner": {"rate": 1.0, "name": "a"},
        "parts": {"x": {"rate": 2.0, "name": "a"}},
        "perhaps": None,
        "later": {"rate": 0.5, "name": "a"},
        "gone": 1,
    }
    assert brought_up(old, {"": Outer}) == new
    assert brought_up({"a": {"b": old}}, {"a.b": Outer, "c": Outer}) == {"a": {"b": new}}
    known = {"inner": {"rate": 1.0, "rows": 2}, "parts": {"x": {"rate": 2.0}}, "steps": 3}
    assert recorded(Outer, old | {"inner": old["inner"] | {"gone": 2}}) == known
