"""The Qwen3 recipes: every size and slice parses, has the right number of parameters and the paper's numbers."""

import dataclasses
import importlib
import math
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from configs import sections
from jaxreason.config import ConfigError, parse
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.evaluation.validator import validation_eval
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig, static_model
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.recipe_plan import planned_model
from jaxreason.plan.slices import SLICES, find_slice
from jaxreason.recipes import find_recipe, load_recipe, on_slice, split_argument
from jaxreason.rl.checks import check_rl
from jaxreason.rl.rl_config import RLConfig
from jaxreason.studies.arms import arm_evaluation, arm_section, arms_of
from jaxreason.studies.recipe_sections import check_recipe
from jaxreason.tasks.registry import strict_task
from jaxreason.training.sft_config import SFTConfig

# Parameters of the Base checkpoints on the Hugging Face hub, tied embeddings counted once.
PARAMETERS = {
    "14b": 14_768_307_200,
    "8b": 8_190_735_360,
    "4b": 4_022_468_096,
    "1.7b": 1_720_574_976,
    "0.6b": 596_049_920,
}
ROOT = Path(__file__).parent.parent
RECIPES = ("sft_qwen3_14b_think", "sft_qwen3_14b_no_think", "rl_qwen3_14b")


def recipe(name):
    return load_recipe(f"configs/{name}")


@pytest.mark.parametrize("name", [f"{r}.py" for r in RECIPES])
def test_the_14b_recipes_describe_a_model_of_14_768_307_200_parameters(name):
    config = recipe(name)
    check_recipe(config)
    plan = parse(PlanConfig, config.plan, "config.plan")
    model = planned_model(parse(ModelConfig, config.model, "config.model"), plan)
    shapes = jax.tree.leaves(abstract_params(model))
    assert sum(math.prod(x.shape) for x in shapes) == 14_768_307_200
    assert config.model.path == "Qwen/Qwen3-14B-Base" and config.model.init == "pretrained"


@pytest.mark.parametrize("size", PARAMETERS)
def test_every_size_has_its_number_of_parameters(size):
    config = recipe(f"sft_qwen3.py:{size},v5p-8")
    plan = parse(PlanConfig, config.plan, "config.plan")
    model = planned_model(parse(ModelConfig, config.model, "config.model"), plan)
    shapes = jax.tree.leaves(abstract_params(model))
    assert sum(math.prod(x.shape) for x in shapes) == PARAMETERS[size]


@pytest.mark.parametrize("name", ["sft_qwen3", "rl_qwen3"])
@pytest.mark.parametrize("target", ["2xv5p-64", "h200-8", *SLICES])
def test_recipes_divide_rows_and_slots_over_the_devices_of_every_target(name, target):
    slice_ = find_slice(target)
    config = recipe(f"{name}.py:0.6b,{target}")
    mesh = config.mesh
    fixed = mesh.data * mesh.tensor * mesh.context
    assert slice_.devices % fixed == 0 and mesh.data == slice_.num_slices
    parts = slice_.devices // mesh.tensor
    if "sft" in config:
        section = parse(SFTConfig, config.sft, "config.sft")
        assert section.batch_size == 512
        assert section.pack and section.micro_batch_rows % parts == 0
    else:
        section = parse(RLConfig, config.rl, "config.rl")
        assert section.micro_batch_rows % parts == section.sampler.slots % parts == 0
        sampler = section.sampler
        assert sampler.prefill_blocks % parts == 0 and sampler.slots >= parts


@pytest.mark.parametrize("name", ["rl_qwen3", "rl_qwen3_14b", "study_smollm2"])
def test_rewards_of_real_models_are_for_answers_that_are_written_out(name):
    tasks = [dataset.task for dataset in recipe(f"{name}.py").rl.datasets.values()]
    assert tasks and tasks == [strict_task(task) for task in tasks]
    assert all(task.endswith("_strict") for task in tasks)


def test_sft_has_the_papers_numbers_and_the_scripts_where_it_has_none():
    think, without = recipe("sft_qwen3_14b_think.py").sft, recipe("sft_qwen3_14b_no_think.py").sft
    assert (think.batch_size, think.epochs, think.length, think.pack) == (512, 1.5, 16384, True)
    assert (think.optimizer.learning_rate, think.optimizer.schedule) == (5e-5, "cosine")
    # the scripts' 2 epochs, of which the paper's checkpoint has 1.5: a tenth of ceil(39,900 * 2 / 512) steps
    assert think.schedule_epochs == 2.0
    assert think.optimizer.warmup_steps == round(0.1 * math.ceil(39_900 * 2 / 512))
    assert (think.thinking, without.thinking) == (True, False)
    columns = [s.datasets.teacher.fields["response"] for s in (think, without)]
    assert columns == ["think_response", "no_think_response"]


def test_rl_asks_aime24_every_five_steps_with_the_scripts_decoding_and_chooses_no_step():
    config = recipe("rl_qwen3_14b.py")
    how = parse(RLConfig, config.rl, "rl").validation
    assert (how.every, how.benchmark, how.choose) == (5, "aime24", False)
    assert (how.decoding.temperature, how.decoding.top_p) == (1.0, 0.7)
    asked = validation_eval(parse(EvalConfig, config.eval, "eval"), how, "rl")
    assert list(asked.benchmarks) == ["aime24"] and asked.source == "hub"
    assert asked.decodings == {"validation": how.decoding}
    assert how.decoding.max_tokens < config.rl.sampler.max_length == asked.sampler.max_length


def test_rl_has_the_papers_numbers_and_the_scripts_where_it_has_none():
    rl = recipe("rl_qwen3_14b.py").rl
    assert (rl.prompts_per_step, rl.group_size, rl.mini_batch_prompts, rl.num_steps) == (
        512,
        16,
        128,
        140,
    )
    assert (rl.decoding.temperature, rl.decoding.top_p, rl.decoding.top_k) == (1.0, 1.0, 0)
    assert (rl.decoding.max_tokens, rl.sampler.max_length) == (20480, 2048 + 20480)
    assert (rl.rewards.overlong_buffer, rl.rewards.overlong_penalty) == (4096, 1.0)
    assert [dataset.task for dataset in rl.datasets.values()] == ["math_strict"]
    loss = rl.policy_loss
    assert (loss.clip_low, loss.clip_high, loss.dual_clip) == (0.2, 0.28, 10.0)
    assert (loss.kl_coefficient, loss.entropy_coefficient) == (0.0, 0.0)
    assert (loss.aggregation, rl.advantage) == ("token_mean", "grpo")
    sampling = rl.dynamic_sampling
    assert (sampling.drop_equal, sampling.prompts_per_batch, sampling.max_batches) == (
        True,
        1536,
        10,
    )
    optimizer = rl.optimizer
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.clip_norm) == (
        1e-6,
        0.1,
        1.0,
    )
    assert optimizer.warmup_steps == 10 * 512 // 128 and optimizer.schedule == "constant"


@pytest.mark.parametrize("target", ["2xv5p-64", "h200-8", *SLICES])
def test_the_study_of_qwen3_fits_its_mesh_on_every_target(target):
    config = recipe(f"study_qwen3.py:0.6b,{target}")
    check_recipe(config)
    parts = find_slice(target).devices // config.mesh.tensor
    assert config.drift.batch_size % parts == 0 == config.rl.micro_batch_rows % parts
    sft = parse(SFTConfig, config.sft, "config.sft")
    assert sft.micro_batch_rows % parts == 0
    assert parse(PlanConfig, config.plan, "config.plan").slice == find_slice(target).name


def test_each_twin_of_the_study_is_trained_and_asked_as_the_papers():
    config = recipe("study_qwen3_14b.py")
    arms = arms_of(config)
    asked = {name: arm_evaluation(config, name, arm).thinking for name, arm in arms.items()}
    assert asked == {"rl": None, "sft_no_think": False, "sft_think": True}
    assert config.eval.thinking is None
    for name, response in (("sft_think", "think"), ("sft_no_think", "no_think")):
        made, alone = (
            arm_section(config, name, arms[name]),
            recipe(f"sft_qwen3_14b_{response}.py").sft,
        )
        alone = parse(SFTConfig, alone, "config.sft")
        placed = {"micro_batch_rows": made.micro_batch_rows}
        assert made == dataclasses.replace(alone, **placed)
    alone = parse(RLConfig, recipe("rl_qwen3_14b.py").rl, "config.rl")
    assert arm_section(config, "rl", arms["rl"]) == alone
    assert len(config.eval.benchmarks) == 12
    ways = {tuple(run.variants) for run in config.eval.benchmarks.values()}
    assert ways == {("robust", "paper")} and "paper_scales" in config.transfer.modes


@pytest.mark.parametrize(("argument", "count"), [("/grid", 10), ("/grid,more", 18)])
def test_the_arms_of_the_grid_make_as_many_steps_on_as_many_replies(argument, count):
    config = recipe(f"grid_ablation.py:{argument}")
    arms = {name: arm_section(config, name, arm) for name, arm in arms_of(config).items()}
    arms.pop("sft_replay", None)
    assert len(arms) == count and len(config.study.seeds) == 3
    for name, section in arms.items():
        size = (section.num_steps, section.prompts_per_step, section.group_size)
        assert (size, section.updates_per_step) == ((60, 32, 8), 1), name
        assert section.optimizer.learning_rate == 3e-4
        check_rl(section, static_model(parse(ModelConfig, config.model, "model")), None)
    given = {"sft_off", "rl_off", "rl_off_best", "dft"}
    assert {name for name, section in arms.items() if section.samples.given == 8} >= given
    assert arms["distill_on"].reference.teacher == config.distill.teacher.path


def test_the_study_reads_local_files_by_one_word_more_and_one_twin_by_another():
    config = recipe("study_qwen3.py:4b,h100-8,no_think,data=/d")
    assert sorted(config.study.arms) == ["rl", "sft_no_think"]
    paths = config.sft.datasets.teacher.path, config.rl.datasets.math.path
    assert paths == ("/d/math_sft_40K.jsonl", "/d/math_rl_48k.jsonl")
    assert (config.eval.source, config.eval.data_folder) == ("files", "/d")
    assert "Qwen3-4B-Base" in config.model.path


def test_a_recipe_is_had_for_a_slice_only_if_it_takes_one():
    assert on_slice("configs/rl_qwen3_14b.py", "v6e-64") == "configs/rl_qwen3_14b.py:v6e-64"
    assert on_slice("configs/sft_qwen3.py:4b", "v6e-64") == "configs/sft_qwen3.py:4b,v6e-64"
    assert on_slice("configs/study_tiny.py", "v6e-64") == "configs/study_tiny.py"


def test_what_follows_the_colon_is_no_part_of_the_path():
    assert split_argument("configs/sft_qwen3.py:4b,h100") == ("configs/sft_qwen3.py", "4b,h100")
    assert split_argument("configs/study_tiny.py") == ("configs/study_tiny.py", None)
    assert find_recipe("configs/sft_qwen3.py:4b").name == "sft_qwen3.py"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("study_tiny.py:v5p-64", "takes no argument, got 'v5p-64'"),
        ("rl_qwen3_14b.py:v5p-65", "no such slice; did you mean 'v5p-64'"),
        ("rl_qwen3_14b.py:no_think", "has no response to choose"),
    ],
)
def test_an_argument_that_a_recipe_cannot_use_is_named(name, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        recipe(name)


@pytest.mark.parametrize("recipe", sorted(p.stem for p in (ROOT / "configs").glob("*.py")))
def test_no_section_of_a_recipe_stands_in_two_places(recipe):
    """An override of one would change the other too."""
    if not hasattr(importlib.import_module(f"configs.{recipe}"), "get_config"):
        return
    places: dict[int, list[str]] = {}

    def walk(section, path):
        places.setdefault(id(section), []).append(path)
        for name in section:
            if isinstance(section[name], ConfigDict):
                walk(section[name], f"{path}.{name}")

    config = load_recipe(str(ROOT / "configs" / f"{recipe}.py"))
    walk(config, "config")
    assert [found for found in places.values() if len(found) > 1] == []


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("chat", "remember", 1, "config.chat.remember: expected bool, got 1"),
        ("serve", "port", 70000, "config.serve.port: expected from 0 to 65535, got 70000"),
        ("plan", "examples", -1, "config.plan.examples: expected at least 0, got -1"),
        ("cross_sample", "budgets", ("a",), r"config.cross_sample.budgets\[0\]: expected int"),
        ("report", "titel", "x", "config.report.titel: no such field; did you mean 'title'"),
    ],
)
def test_every_section_is_parsed_before_anything_runs(section, field, value, message):
    config = recipe("study_tiny.py")
    config.plan = sections.plan({})
    with config[section].unlocked(), config[section].ignore_type():
        config[section][field] = value
    with pytest.raises(ConfigError, match=message):
        check_recipe(config)
