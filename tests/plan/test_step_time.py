"""The time range of a plan beside steps that were measured."""

import sys
from pathlib import Path

import jax
import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import card_recipe

from configs import qwen3, sections
from jaxreason.config import parse
from jaxreason.models.decoder import param_axes
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import ModelConfig, make_model
from jaxreason.plan.devices import slice_devices
from jaxreason.plan.program_costs import measure_program
from jaxreason.plan.programs import Program
from jaxreason.plan.recipe_plan import plan_recipe
from jaxreason.plan.roofline import estimate
from jaxreason.plan.slices import find_slice
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.sft_loss import make_sft_loss
from jaxreason.training.state import abstract_train_state, state_shardings
from jaxreason.training.train_step import batch_of_rows, make_train_step


# As docs/performance.md has them, of one H200: rows of 4,096 tokens, and tokens a second.
@pytest.mark.parametrize(
    ("size", "rows", "remat", "rate"), [("0.6b", 4, "none", 79_530), ("4b", 2, "full", 12_521)]
)
def test_a_step_that_was_measured_lies_within_the_range(size, rows, remat, rate):
    slice_ = find_slice("h200")
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), slice_devices(slice_)[0])
    config = ModelConfig("", "random", {}, "bfloat16", "float32", remat, "plain", 1)
    model = make_model(config, architecture_from_hf(qwen3.architecture(size)))
    section = sections.optimizer(1e-4, schedule="constant", warmup_steps=1)
    with jax.set_mesh(mesh):
        axes = param_axes(model)
        optimizer = make_optimizer(parse(OptimizerConfig, section, "optimizer"), 1000, axes)
        state = abstract_train_state(model, optimizer, mesh)
        loss = make_sft_loss(model, 1024, packed=False)
        step = make_train_step(loss, optimizer, 1, state_shardings(state))
        batch = batch_of_rows(mesh, rows, 4096)
        held = {"params": state.params, "optimizer": state.opt_state, "batch": batch}
        given = ("SFT step", "train", step, (state, batch), held)
        program = Program(*given, rows, 4096, 1, 4096)
        timed = estimate(
            program, measure_program(program, model, mesh, False, 1024), model, mesh, slice_
        )
    seconds = rows * 4096 / rate
    assert timed.best < seconds < timed.worst
    assert timed.worst < 3 * timed.best


# 128 replies of 2,016 tokens to prompts of about 40: scripts/plan_truth.py on an H200 (docs/performance.md).
def test_an_rl_step_that_was_measured_lies_within_the_range():
    config = card_recipe.get_config("rl,0.6b,h200,nowhere")
    config.plan.update(reply_tokens=2016, prompt_tokens=40)
    (stage,) = plan_recipe(config, find_slice("h200"), fit=False, remat=False).stages
    best, worst = (hours * 3600 / config.rl.num_steps for hours in stage.run_times[0].chip_hours)
    assert best < 14.5 < worst < 2.5 * best
