"""Plans: what is measured of the real programs, what is said of limits, and what a user reads."""

import dataclasses
import importlib.util
import json
import math
import shutil
import subprocess
import sys

import jax
import pytest
from plan_runs import HAS_CUDA, peak_of_step, run_plan

from jaxreason.config import ConfigError, parse
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig
from jaxreason.models.model_flops import weight_products
from jaxreason.plan import devices
from jaxreason.plan.collectives import CollectiveBytes
from jaxreason.plan.fit import Line, next_slice
from jaxreason.plan.flops import NONE
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.program_costs import ProgramCost, measure_program, needed_bytes
from jaxreason.plan.programs import REFERENCE_PASS, rl_programs, sft_programs
from jaxreason.plan.recipe_plan import STAGES, plan_recipe, planned_model
from jaxreason.plan.roofline import Share, Timed
from jaxreason.plan.run_time import rl_time
from jaxreason.plan.slices import GIB, find_slice
from jaxreason.plan.table import format_plan
from jaxreason.recipes import load_recipe
from jaxreason.rl.rl_config import RLConfig
from jaxreason.sharding import MeshConfig, bytes_on_device, make_mesh
from jaxreason.training.sft_config import SFTConfig


@pytest.fixture(scope="module")
def tiny():
    return load_recipe("configs/study_tiny.py")


@pytest.fixture(scope="module")
def plan(tiny):
    return plan_recipe(tiny, find_slice("h100"), fit=True, remat=True)


def num_parameters(model):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(abstract_params(model)))


def test_the_real_training_step_is_compiled_and_its_parts_add_up(tiny):
    model = planned_model(parse(ModelConfig, tiny.model, "model"), None)
    mesh = make_mesh(MeshConfig(1, 8, 1, 1))
    section = parse(SFTConfig, tiny.sft, "sft")
    program = sft_programs(section, model, mesh)[0]
    found = measure_program(program, model, mesh, True, section.logprob_chunk)
    assert found.compiled and not found.refused
    params = bytes_on_device(abstract := program.held["params"])
    whole = sum(math.prod(x.shape) * 4 for x in jax.tree.leaves(abstract))
    assert whole / 8 <= params <= whole / 4  # what eight does not divide is left whole
    assert found.held["optimizer"] == pytest.approx(2 * params, abs=100)
    assert found.arguments <= found.peak
    # rows over fsdp: every device gathers the weights, and the gradients are brought together
    assert found.moved.by_axis["fsdp"] > whole * 7 / 8
    tokens = section.batch_size * section.length
    products = weight_products(abstract_params(model), model.architecture.tie_word_embeddings)
    head = model.architecture.vocab_size * model.architecture.hidden_size
    assert found.work.weights >= 6 * products * tokens
    assert found.work.weights <= (6 * products + 2 * head) * tokens * 1.02  # logits are made again


def test_a_plan_of_a_card_that_is_not_here_says_that_it_is_estimated(plan):
    text = format_plan(plan)
    assert "h100-1 (NVIDIA H100 SXM: 1 chips, 1 devices)" in text
    assert "SFT step (estimated)" in text and "decode, one token (estimated)" in text
    assert "sft: fits" in text and "rl: fits" in text
    assert f"{plan.num_parameters:,} parameters" in text
    for assumption in ("nothing overlapped", "recomputation does not count"):
        assert assumption in text


def test_a_plan_has_every_program_of_a_recipe(plan):
    names = {stage.name: [m.name for m in stage.measured] for stage in plan.stages}
    assert names == {
        "sft": ["SFT step"],
        "rl": [
            "RL policy step",
            "log-prob pass",
            "weights to the sampler",
            "prefill",
            "decode, one token",
        ],
    }
    assert set(names) == set(STAGES)
    held = plan.stages[1].measured[-1].held
    arch, config = plan.model.architecture, plan.stages[1].programs[-1]
    row = 2 * 4 * arch.num_hidden_layers * arch.num_key_value_heads * arch.head_dim * config.length
    rows = (
        config.rows + 17 / 3
    )  # slots, and the pages of a dispatch of prompts (3 a row) and nobody's
    assert held["cache"] == pytest.approx(row * rows, rel=0.01)


def test_a_plan_of_sft_has_the_programs_of_its_validation(tiny, plan):
    config = tiny.copy_and_resolve_references()
    config.sft.validation = dict(every=10, benchmark="sums")
    asked = plan_recipe(config, find_slice("h100"), fit=True).stages[0]
    _, move, prefill, decode = asked.programs
    assert [p.name for p in (move, prefill, decode)] == [
        "validation: weights to the sampler",
        "validation: prefill",
        "validation: decode, one token",
    ]
    assert (decode.rows, decode.length) == (
        config.eval.sampler.slots,
        config.eval.sampler.max_length,
    )
    held = [found.held for found in asked.measured]
    assert held[0] == plan.stages[0].measured[0].held  # no copy stays beside the training step
    assert held[3]["optimizer"] == held[0]["optimizer"]
    copied = bytes_on_device(move.args[1])
    assert held[1]["params"] == held[3]["params"] == held[0]["params"] + copied
    assert asked.limits == plan.stages[0].limits
    del config.eval
    with pytest.raises(ConfigError, match=r"sft\.validation\.every=10: expected a section `eval`"):
        plan_recipe(config, find_slice("h100"), fit=False)


def planned_rl(config, **changes):
    """The programs of RL by name, and their costs by name, with other settings."""
    config = config.copy_and_resolve_references()
    del config.sft
    with config.unlocked():
        config.rl.update(changes)
    stage = plan_recipe(config, find_slice("h100"), fit=True).stages[0]
    return {p.name: p for p in stage.programs}, {m.name: m.held for m in stage.measured}


@pytest.mark.parametrize("estimator", ["k3", "full"])
def test_a_teacher_is_planned_at_its_own_size(tiny, plan, tmp_path, estimator):
    shutil.copytree("configs/tiny_base", tmp_path / "teacher")
    path = tmp_path / "teacher" / "config.json"
    known = json.loads(path.read_text())
    layers = known["num_hidden_layers"]
    path.write_text(json.dumps(known | {"num_hidden_layers": 3 * layers}))
    reference = {"model": "teacher", "teacher": str(path.parent)}
    kl = {"kl_coefficient": 0.1, "kl_estimator": estimator}
    programs, held = planned_rl(tiny, reference=reference, policy_loss=kl)
    alone = {m.name: m.held for m in plan.stages[1].measured}
    inside = num_parameters(plan.model) - num_outside_layers(plan.model)
    teacher = 4 * (num_parameters(plan.model) + 2 * inside)
    for name, found in alone.items():
        assert held[name]["params"] == found["params"] + teacher
    assert (REFERENCE_PASS in programs) == (estimator == "k3")
    # A teacher is read by a program of its own, beside the policy and its optimizer.
    if estimator == "k3":
        assert bytes_on_device(programs[REFERENCE_PASS].args[0]) == teacher
        assert held[REFERENCE_PASS] == held["log-prob pass"]


def test_a_moving_average_is_counted_once(tiny, plan):
    kl = {"kl_coefficient": 0.1}
    _, held = planned_rl(tiny, reference={"model": "average"}, policy_loss=kl)
    own = 4 * num_parameters(plan.model)
    alone = plan.stages[1].measured[0].held["params"]
    assert held["RL policy step"]["params"] == held["prefill"]["params"] == alone + own


def test_the_base_whose_kl_is_measured_on_the_way_is_counted_in_every_program(tiny, plan):
    config = tiny.copy_and_resolve_references()
    config.model.dtype = "bfloat16"
    config.sft.validation = dict(every=10, benchmark="sums")
    without = plan_recipe(config, find_slice("h100"), fit=False)
    config.sft.base_kl = config.rl.base_kl = dict(every=5)
    found = plan_recipe(config, find_slice("h100"), fit=False)
    base = 2 * num_parameters(plan.model)
    for old, new in zip(without.stages, found.stages, strict=True):
        for before, after in zip(old.measured, new.measured, strict=True):
            assert after.held["params"] == before.held["params"] + base
            assert after.total == pytest.approx(before.total + base, rel=1e-6)


def test_rl_on_given_replies_alone_has_no_sampler_in_its_plan(tiny):
    given = {"given": tiny.rl.group_size, "refresh_every": 1}
    programs, held = planned_rl(tiny, samples=given)
    assert set(programs) == {"RL policy step", "log-prob pass"}
    assert "cache" not in held["RL policy step"]


def test_the_way_to_the_sampler_is_paid_in_bytes_and_no_products(plan):
    stage = plan.stages[1]
    move, found, timed = stage.programs[2], stage.measured[2], stage.timed[2]
    copied = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(move.args[1]))
    assert copied == 4 * (plan.num_parameters - num_outside_layers(plan.model))
    assert found.arguments == 2 * copied  # what is read, and where it goes
    assert found.work.weights == timed.model_flops == 0
    assert timed.memory == 2 * copied / plan.slice.kind.hbm_speed
    assert stage.measured[0].held["params"] == stage.measured[4].held["params"]


def test_decoding_collects_no_weights_that_are_gathered(tiny):
    model = planned_model(parse(ModelConfig, tiny.model, "model"), None)
    model = dataclasses.replace(model, unroll=1)
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    section, received = parse(RLConfig, tiny.rl, "rl"), {}
    for gathered in (True, False):
        few = {"slots": 8}
        sampler = dataclasses.replace(section.sampler, gather_weights=gathered, **few)
        program = rl_programs(dataclasses.replace(section, sampler=sampler), model, mesh)[-1]
        found = measure_program(program, model, mesh, True, section.logprob_chunk)
        received[gathered] = found.moved.by_axis.get("fsdp", 0)
    missing = 4 * num_parameters(model) / 2 * 3 / 4  # of a half, three of four parts
    assert received[False] > missing / 2
    assert received[True] < missing / 20


def num_outside_layers(model):
    """Of a tied embedding and the final norm."""
    return (model.architecture.vocab_size + 1) * model.architecture.hidden_size


def test_a_plan_is_plain_json(plan):
    found = json.loads(json.dumps(plan.to_json()))
    assert found["slice"]["name"] == "h100-1"
    assert found["stages"][0]["programs"][0]["work"]["weights"] > 0


def test_limits_name_the_field_what_fits_and_what_the_recipe_has(plan):
    limits = plan.stages[1].limits
    assert [limit.what.split("(")[1].rstrip(")") for limit in limits] == [
        "rl.row_length",
        "rl.micro_batch_rows",
        "rl.sampler.slots",
    ]
    assert all(limit.largest >= limit.now for limit in limits if limit.what[:4] != "toke")


def test_a_whole_run_is_its_programs_as_often_as_they_run():
    config = load_recipe("configs/rl_qwen3.py:0.6b,h100")
    stage = plan_recipe(config, find_slice("h100"), fit=False, remat=False).stages[0]
    timed = {p.name: t for p, t in zip(stage.programs, stage.timed, strict=True)}
    run = stage.run_times[0]  # 140 steps, the longest replies to 1,536 prompts of 16 each
    slots = config.rl.sampler.slots
    assert run.tokens == 140 * 1536 * 16 * 20480
    # Rows are full, and of a reply there is one half on average.
    often = {"RL policy step": 512 / 128, "weights to the sampler": 1}
    for name, times in often.items():
        assert run.parts[name] == pytest.approx(140 * times * timed[name].best / 3600)
    decode = timed["decode, one token"].filled((2048 + 10240) / 22528).best
    times = 140 * 1536 * 16 * 20480 / slots / 3600
    assert run.parts["decode, one token"] == pytest.approx(times * decode)
    assert run.chip_hours[0] == pytest.approx(sum(run.parts.values()))


def test_a_run_of_short_prompts_packs_them_into_fewer_rows_and_reads_less_of_the_cache():
    config = load_recipe("configs/rl_qwen3.py:0.6b,h100")
    config.rl.decoding.max_tokens = 2048
    config.rl.sampler.max_length = 4096
    config.rl.rewards.update(overlong_buffer=0, overlong_penalty=0.0)
    config.plan.update(reply_tokens=1024, prompt_tokens=256)
    stage = plan_recipe(config, find_slice("h100"), fit=False, remat=False).stages[0]
    timed = {p.name: t for p, t in zip(stage.programs, stage.timed, strict=True)}
    parts, steps = stage.run_times[0].parts, config.rl.num_steps
    # 5 sequences of 4,096 tokens fit in a row of 22,528, and 2,048 of 1,280 tokens fill 116.4 rows instead of 410.
    full = 4 * steps * timed["RL policy step"].best / 3600
    assert parts["RL policy step"] == pytest.approx(full * 2048 * 1280 / 22528 / 410)
    decode = timed["decode, one token"]
    whole, share = decode.filled(1.0), (256 + 512) / 4096
    assert whole == decode
    saved = (1 - share) * decode.cache[1]
    assert decode.filled(share).memory == pytest.approx(decode.memory - saved)
    # Keys and values of 28 layers and 8 heads of 128, in bfloat16, of all slots and of a prompt that waits.
    rows, width = config.rl.sampler.slots + 1, 28 * 2 * 8 * 128 * 2
    assert decode.cache[1] == pytest.approx(rows * 4096 * width / 3.35e12, rel=0.01)
    text = format_plan(plan_recipe(config, find_slice("h100"), fit=False, remat=False))
    assert "replies of 1,024 tokens" in text and "prompts of 256 tokens" in text


def test_a_run_counts_each_pass_over_a_batch_the_reference_and_only_the_replies_that_are_sampled():
    def parts_of(**changes):
        config = load_recipe("configs/rl_qwen3.py:0.6b,h100")
        config.rl.update(changes.pop("rl", {}))
        config.rl.policy_loss.update(changes)
        section = parse(RLConfig, config.rl, "config.rl")
        names = ("RL policy step", "log-prob pass", "weights to the sampler", "prefill")
        second = Timed(1.0, 0.0, 0.0, Share(1.0, 1.0), 1.0, 1.0, 1.0)
        timed = dict.fromkeys((*names, "decode, one token"), second)
        plan = parse(PlanConfig, config.plan, "config.plan")
        return rl_time(section, plan, timed, find_slice("h100"))[0]

    once = parts_of().parts
    twice = parts_of(rl={"epochs_per_batch": 2}).parts
    assert twice["RL policy step"] == 2 * once["RL policy step"]
    assert twice["log-prob pass"] == once["log-prob pass"] > 0
    held = parts_of(kl_coefficient=0.1).parts
    assert held["log-prob pass"] == 2 * once["log-prob pass"]
    assert held["RL policy step"] == once["RL policy step"]
    given = parts_of(rl={"samples": {"given": 4, "refresh_every": 1}})
    assert given.parts["decode, one token"] == once["decode, one token"] * 12 / 16
    assert given.tokens == parts_of().tokens * 12 / 16
    assert "x 12 a step" in given.what


def test_a_reply_is_no_longer_in_a_plan_than_the_decoding_lets_it_be():
    config = load_recipe("configs/rl_qwen3.py:0.6b,h100")
    config.rl.decoding.max_tokens = 1024
    config.rl.rewards.update(overlong_buffer=0, overlong_penalty=0.0)
    config.plan.update(reply_tokens=4096, prompt_tokens=256)
    section = parse(RLConfig, config.rl, "config.rl")
    second = Timed(1.0, 0.0, 0.0, Share(1.0, 1.0), 1.0, 1.0, 1.0)
    runs = rl_time(
        section,
        parse(PlanConfig, config.plan, "config.plan"),
        {"decode, one token": second},
        find_slice("h100"),
    )
    assert runs[1].what.startswith("replies of 128 tokens")
    assert runs[0].what.startswith("replies of 1,024 tokens")
    assert runs[0].tokens == config.rl.num_steps * 1536 * 16 * 1024


def test_remat_policies_trade_products_for_memory(plan):
    found = plan.stages[0].remats
    assert found["full"].work.weights > found["none"].work.weights
    text = format_plan(plan)
    assert "SFT step by model.remat" in text and "weight_dots" in text


def test_a_line_through_two_sizes_gives_the_largest_that_fits():
    line = Line("length", (1000, 2000), (10.0, 14.0))  # 6 + 0.004 n
    assert line.largest(limit=20.0, step=128, most=10**6) == 3500 // 128 * 128
    assert line.largest(limit=20.0, step=128, most=3000) == 2944
    assert line.largest(limit=5.0, step=128, most=3000) == 0
    flat = Line("length", (1000, 2000), (10.0, 10.0))
    assert flat.largest(limit=10.0, step=128, most=3000) == 2944
    assert flat.largest(limit=9.0, step=128, most=3000) == 0


@pytest.mark.parametrize(
    ("message", "gib"),
    [
        ("Ran out of memory on HBM, (113.76G) exceeds available HBM (95.73G).", 113.76),
        ("Ran out of memory in memory space hbm. Used 23.50G of 15.75G hbm.", 23.5),
        ("RESOURCE_EXHAUSTED without numbers", 0),
    ],
)
def test_the_compilers_refusal_is_read(message, gib):
    assert needed_bytes(message) == gib * GIB


def test_the_next_slice_is_the_first_on_which_a_smaller_share_of_the_state_has_room():
    held = {"params": int(10 * GIB), "optimizer": int(20 * GIB)}
    moved = CollectiveBytes({}, {}, 0)
    found = ProgramCost("step", held, 0, 40 * GIB, 30 * GIB, NONE, moved, True, False, 0.0)
    # v6e-8: 40 GiB; v6e-16: 15 + 10; there are 31.24
    assert next_slice([found], find_slice("v6e-8")) == "v6e-16"
    huge = dataclasses.replace(found, peak=90 * GIB)
    assert next_slice([huge], find_slice("v6e-8")) is None


def test_without_the_tpu_compiler_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'jaxreason\[tpu\]'"):
        devices.slice_devices(find_slice("v5p-64"))


def test_a_node_of_cards_that_is_not_here_is_planned_without_further_settings(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    told, _ = run_plan("--slice", "h100-8", "--config.sft.micro_batch_rows=8")
    assert "h100-8 (NVIDIA H100 SXM: 8 chips, 8 devices)" in told
    assert "sft: fits" in told and "rl: fits" in told


@pytest.mark.skipif(HAS_CUDA, reason="the compiler is here")
def test_a_plan_of_one_card_leaves_the_process_its_devices():
    code = "from jaxreason.plan import devices, slices; import jax\n"
    code += "devices.slice_devices(slices.find_slice('h100')); print(len(jax.devices()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8"]  # As tests/conftest.py sets XLA_FLAGS.


@pytest.mark.skipif(HAS_CUDA, reason="the compiler is here")
def test_without_a_compiler_for_gpus_it_is_said_what_to_install_and_memory_is_estimated(caplog):
    with caplog.at_level("INFO", "jaxreason"):
        found, can_compile = devices.slice_devices(find_slice("h100"))
    assert len(found) == 1 and not can_compile
    assert "pip install 'jaxreason[cuda]' (no GPU is needed)" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not HAS_CUDA, reason="needs jaxreason[cuda]")
@pytest.mark.parametrize("name", ["h200", "h100-8", "2xh100-8"])
def test_programs_are_compiled_for_cards_that_are_not_here(name):
    flags = "--config.sft.micro_batch_rows=16", "--config.model.attention=triton"
    told, log = run_plan("--slice", name, *flags)
    assert "estimated" not in told + log and "sft: fits" in told and "rl: fits" in told
    assert ("collectives: not known without compiling, or none" in told) == (name == "h200")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_CUDA, reason="needs jaxreason[cuda]")
def test_on_a_card_layers_that_are_all_unrolled_keep_only_what_remat_says():
    flags = "--slice", "h200", "--config.sft.micro_batch_rows=4", "--config.sft.length=2048"
    peaks = []
    for remat in ("none", "full"):
        told, _ = run_plan(
            *flags, f"--config.model.remat={remat}", config="configs/sft_qwen3.py:0.6b,h200"
        )
        peaks.append(peak_of_step(told))
    assert peaks[1] < 0.8 * peaks[0]


def test_a_recipe_without_training_has_nothing_to_plan():
    with pytest.raises(ConfigError, match="expected a section sft or rl"):
        plan_recipe(load_recipe("configs/eval_tiny.py"), find_slice("h100"), fit=False)


@dataclasses.dataclass(frozen=True)
class Chip:
    """What placing a mesh reads of a TPU device of a 4 x 4 torus."""

    id: int
    coords: tuple[int, int, int]
    platform: str = "tpu"
    device_kind: str = "TPU v6 lite"
    core_on_chip: int = 0
    process_index: int = 0


def test_a_mesh_axis_may_be_part_of_one_of_the_torus():
    chips = [Chip(4 * y + x, (x, y, 0)) for y in range(4) for x in range(4)]
    mesh = make_mesh(MeshConfig(1, -1, 8, 1), chips)
    assert dict(mesh.shape) == {"data": 1, "fsdp": 2, "tensor": 8, "context": 1}
    assert {chip.id for chip in mesh.devices.flat} == set(range(16))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_a_step_is_compiled_for_a_slice_of_tpus_that_is_not_here():
    config = load_recipe("configs/sft_qwen3.py:0.6b,v5e-4")
    config.sft.length = 1024
    found = plan_recipe(config, find_slice("v5e-4"), fit=False)
    step = found.stages[0].measured[0]
    assert step.compiled and found.stages[0].fits(found.slice)
    # parameters and two moments in float32, split over four chips
    assert step.held["params"] == pytest.approx(num_parameters(found.model), rel=0.01)
    assert step.held["optimizer"] == pytest.approx(2 * step.held["params"], rel=0.01)
    assert step.peak > step.arguments and set(step.moved.by_axis) == {"fsdp"}
