"""A plan of SFT counts the tokens that there are, not the positions of full rows."""

import dataclasses
import json

import pytest

from jaxreason.config import parse
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan.plan_settings import PlanConfig, with_local_examples
from jaxreason.plan.programs import micro_batches, sft_programs
from jaxreason.plan.recipe_plan import plan_recipe, planned_model
from jaxreason.plan.slices import find_slice
from jaxreason.plan.table import format_plan
from jaxreason.recipes import load_recipe
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.sft_config import SFTConfig


def section(**changes):
    made = parse(SFTConfig, load_recipe("configs/study_tiny.py").sft, "sft")
    return dataclasses.replace(made, batch_size=64, length=128, micro_batch_rows=8, **changes)


@pytest.mark.parametrize(
    ("pack", "tokens", "expected"),
    [(True, 0, 8), (True, 128, 8), (True, 64, 4), (True, 33, 3), (True, 1, 1), (False, 1, 8)],
)
def test_a_step_has_the_micro_batches_that_its_tokens_fill(pack, tokens, expected):
    assert micro_batches(section(pack=pack), tokens) == expected


def test_the_time_of_a_run_is_that_of_its_tokens():
    config = load_recipe("configs/sft_qwen3.py:0.6b,h100,no_think")
    config.sft.micro_batch_rows = 1
    runs = {}
    for pack in (True, False):
        config.sft.pack = pack
        plan = plan_recipe(config, find_slice("h100"), fit=False)
        (runs[pack],) = plan.stages[0].run_times
        assert plan.stages[0].programs[0].pieces == (25 if pack else 512)
    assert runs[True].tokens == runs[False].tokens == 39_900 * 1.5 * 800
    assert runs[True].chip_hours[0] < runs[False].chip_hours[0] / 10
    assert "useful tokens/s" in format_plan(plan)


def test_examples_that_lie_here_are_counted(tmp_path):
    save_character_tokenizer(tmp_path / "tokenizer", "abc")
    row = json.dumps({"q": "ab", "r": "abc"}) + "\n"
    (tmp_path / "rows.jsonl").write_text(row * 5)
    config = section(tokenizer=str(tmp_path / "tokenizer"))
    (dataset,) = config.datasets.values()
    fields = {"prompt": "q", "response": "r"}
    here = dataclasses.replace(dataset, path=str(tmp_path / "rows.jsonl"), fields=fields)
    model = parse(ModelConfig, load_recipe("configs/study_tiny.py").model, "model")
    found = with_local_examples(None, dataclasses.replace(config, datasets={"a": here}), model)
    assert (found.examples, found.example_tokens) == (5, 8)  # 1 a b 2 a b c 3
    said = PlanConfig({}, 7, 0, example_tokens=9)
    assert with_local_examples(said, config, model) == said
    assert with_local_examples(None, config, model).examples == 0  # not here


def test_a_plan_refuses_rows_that_its_mesh_does_not_divide():
    model = planned_model(parse(ModelConfig, load_recipe("configs/study_tiny.py").model, "m"), None)
    config = dataclasses.replace(section(), micro_batch_rows=6)
    with pytest.raises(UserError, match=r"sft.micro_batch_rows=6: expected a multiple of 8"):
        sft_programs(config, model, make_mesh(MeshConfig(1, 8, 1, 1)))
