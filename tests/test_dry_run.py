"""What a dry run says: the stages, and numbers that are worked out by hand beside the code."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from etils import epath

from configs import sections
from jaxreason.config import parse
from jaxreason.data.rows import DatasetConfig
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmarks import BENCHMARKS, SIZES
from jaxreason.evaluation.eval_settings import BenchmarkRun, EvalConfig, OwnBenchmark
from jaxreason.models import huggingface
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import ModelConfig, make_model
from jaxreason.plan import on_paper
from jaxreason.plan.on_paper import Machine, Spent
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.slices import find_slice
from jaxreason.recipes import load_recipe
from jaxreason.rl.rl_config import RLConfig
from jaxreason.studies import dry_run, workload
from jaxreason.training.sft_config import SFTConfig

ROOT = Path(__file__).parent.parent

# One layer of 8 features: attention 8x8 four times, MLP 8x16 three times, a head of 32 words that is the embedding.
PRODUCTS = 4 * 64 + 3 * 128 + 8 * 32
SIZE = PRODUCTS + 3 * 8 + 2 * 4  # with the scales of three norms, and of queries and keys
MACHINE = Machine("m", 2, 4, 1000.0, 500.0, 100.0)
PLAN = PlanConfig({}, 0, 0)


@pytest.fixture(scope="module")
def model():
    settings = {"model_type": "qwen3", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16}
    settings |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    settings |= {"head_dim": 4, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "hidden_act": "silu"}
    settings |= {"max_position_embeddings": 64, "tie_word_embeddings": True}
    settings |= {"attention_bias": False}
    how = ModelConfig("", "random", {}, "bfloat16", "float32", "full", "plain", 1)
    return make_model(how, architecture_from_hf(settings))


def train(model, steps, sequences, length):
    how = {"steps": steps, "sequences": sequences, "length": length, "pieces": 1}
    return on_paper.train(model, MACHINE, 1, **how)


def forward(length):
    """Twice a product for each parameter and token; two attention products, over every visible pair, of 8 features."""
    return 2 * PRODUCTS * length + 4 * 8 * length * (length + 1) / 2


def test_training_is_four_forward_passes_where_layers_are_made_again_and_moves_the_state(model):
    assert on_paper.num_parameters(model) == SIZE
    spent = on_paper.train(model, MACHINE, 2, steps=3, sequences=12, length=10, pieces=2)
    assert spent.compute == pytest.approx(4 * 12 * forward(10) / 1000)
    # parameters, two moments and gradients in float32, read and written but for the gradients; and bfloat16 weights
    # three times a piece, by each of 4 devices a half
    assert spent.memory == pytest.approx(3 * SIZE * (7 * 4 + 3 * 2 * 2 * 4 / 2) / 100)
    assert (spent.best, spent.worst) == (spent.memory, spent.compute + spent.memory)


def test_decoding_reads_the_weights_and_what_is_filled_of_the_cache_for_every_token(model):
    spent = on_paper.write(model, MACHINE, tensor=2, slots=8, replies=16, prompt=6, reply=4)
    tokens, filled = 16 * 4, 6 + 2
    computed = 2 * PRODUCTS * tokens + 4 * 8 * filled * tokens
    assert spent.compute == pytest.approx((computed + 16 * forward(6)) / 500)
    assert on_paper.cache_bytes(model) == 2 * 8 * 2
    weights, cache = SIZE * 2 * 4 / 2, 8 * filled * 32  # 4 devices, each with half of the weights
    assert spent.memory == pytest.approx(tokens / 8 * (weights + cache) / 100)


def test_disk_is_the_kept_states_the_export_and_the_lines(model):
    section = parse(SFTConfig, load_recipe("configs/study_tiny.py").sft, "sft")
    state = on_paper.checkpoint_bytes(model, section.optimizer)
    assert state == pytest.approx(12 * SIZE, abs=16)  # and the optimizer's counts
    kept = (model, section.optimizer)
    assert on_paper.checkpoints_bytes(*kept, steps=100, every=20, keep=2) == 2 * state
    assert on_paper.checkpoints_bytes(*kept, steps=100, every=20, keep=0) == 5 * state
    assert on_paper.checkpoints_bytes(*kept, steps=10, every=20, keep=2) == state
    assert on_paper.checkpoints_bytes(*kept, steps=10, every=0, keep=2) == state  # at the end alone
    more = on_paper.checkpoints_bytes(*kept, 100, 20, keep=2, copies=2, chooses=True)
    assert more == 3 * (state + 2 * 4 * SIZE)
    assert on_paper.exported_bytes(model, "bfloat16") == 2 * SIZE
    assert on_paper.lines_bytes(10, 20, 30) == 10 * (1000 + 11 * 50)


def test_sft_takes_the_examples_of_the_plan_or_of_the_files(model, tmp_path):
    config = load_recipe("configs/study_tiny.py")
    config.sft.datasets.teacher.path = str(tmp_path / "rows.jsonl")
    section = parse(SFTConfig, config.sft, "sft")
    assert workload.sft_work(section, PLAN, model, MACHINE, 1).spent is None
    row = {"id": "1", "question": "q", "answer": "a", "response": "r"}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 16)
    found = workload.sft_work(section, PLAN, model, MACHINE, 1)
    assert (section.batch_size, section.epochs, section.length) == (16, 3.0, 128)
    assert found.spent == train(model, 3, 48, 64)
    told = PlanConfig({}, 80, 0, example_tokens=20)
    more = workload.sft_work(section, told, model, MACHINE, 1)
    assert more.spent == train(model, 15, 240, 20)
    held = dataclasses.replace(section, kl_coefficient=0.1)  # a pass of the reference
    more = workload.sft_work(held, told, model, MACHINE, 1)
    assert more.spent == train(model, 15, 240, 20) + on_paper.read(model, MACHINE, 240, 20)


def test_what_a_run_measures_on_its_way_is_counted(model):
    recipe = load_recipe("configs/study_tiny.py")
    evaluation = parse(EvalConfig, recipe.eval, "eval")
    name = next(iter(recipe.eval.benchmarks))
    held = {"every": 4, "benchmark": name, "samples": 2, "limit": 10}
    recipe.rl.validation.update(held)
    recipe.rl.base_kl.update({"every": 3, "prompts": 6, "max_tokens": 8})
    section = parse(RLConfig, recipe.rl, "rl")
    about = evaluation, 5, model, MACHINE, 1
    found = workload.watched_work(section, 10, *about)
    slots, prompt = evaluation.sampler.slots, workload.prompt_tokens(evaluation.sampler.max_length)
    # before step 1, after 4, 8 and 10; after 3, 6, 9 and 10 both models read the six replies
    expected = on_paper.write(model, MACHINE, 1, slots, 10 * 2 * 4, prompt, 5)
    expected += on_paper.write(model, MACHINE, 1, slots, 6, prompt, 4)
    expected += on_paper.read(model, MACHINE, 2 * 4 * 6, prompt + 4)
    assert found == expected
    recipe.rl.validation.every = recipe.rl.base_kl.every = 0
    assert workload.watched_work(parse(RLConfig, recipe.rl, "rl"), 10, *about) == Spent()


def test_rl_samples_twice_the_groups_where_half_of_them_are_replaced(model):
    config = load_recipe("configs/study_tiny.py").rl
    config.dynamic_sampling.max_batches = 3
    config.update({"num_steps": 5, "prompts_per_step": 8, "mini_batch_prompts": 4})
    section = parse(RLConfig, config, "rl")
    assert workload.generation_batches(section) == 2
    config.dynamic_sampling.prompts_per_batch = 24
    assert workload.generation_batches(parse(RLConfig, config, "rl")) == 1
    config.dynamic_sampling.drop_equal = False
    assert workload.generation_batches(parse(RLConfig, config, "rl")) == 1
    found = workload.rl_work(section, PlanConfig({}, 0, 20), model, MACHINE, 1)
    prompt, replies, trained = 96 / 8, 5 * 2 * 8 * 8, 5 * 8 * 8
    expected = on_paper.write(model, MACHINE, 1, 256, replies, prompt, 20)
    expected += train(model, 10, trained, prompt + 20)
    expected += on_paper.read(model, MACHINE, trained, prompt + 20)
    assert found.spent == expected
    more = {"epochs_per_batch": 2, "group_size": 16, "samples": {"given": 8, "refresh_every": 1}}
    config.dynamic_sampling.update({"prompts_per_batch": 0, "drop_equal": True})
    config.update(more)
    config.policy_loss.kl_coefficient = 0.1
    found = workload.rl_work(
        parse(RLConfig, config, "rl"), PlanConfig({}, 0, 20), model, MACHINE, 1
    )
    # half of 16 replies are given; two passes over 16; log-probs of all by policy and reference
    expected = on_paper.write(model, MACHINE, 1, 256, replies, prompt, 20)
    expected += train(model, 20, 2 * 2 * trained, prompt + 20)
    expected += on_paper.read(model, MACHINE, 2 * trained, prompt + 20)
    of_policy = on_paper.read(model, MACHINE, 2 * trained, prompt + 20)
    assert found.spent == expected + of_policy
    architecture = dataclasses.replace(model.architecture, num_hidden_layers=40)
    teacher = dataclasses.replace(model, architecture=architecture)
    about = PlanConfig({}, 0, 20), model, MACHINE, 1, teacher
    taught = workload.rl_work(parse(RLConfig, config, "rl"), *about)
    of_teacher = on_paper.read(teacher, MACHINE, 2 * trained, prompt + 20)
    assert taught.spent == expected + of_teacher and of_teacher.best > 3 * of_policy.best


def test_a_moving_average_and_the_best_step_take_disk_too(model):
    config = load_recipe("configs/study_tiny.py").rl
    config.keep = 1
    about = PlanConfig({}, 0, 20), model, MACHINE, 1
    plain = workload.rl_work(parse(RLConfig, config, "rl"), *about).disk
    config.validation = dict(every=5, benchmark="sums", choose=True)
    chooses = workload.rl_work(parse(RLConfig, config, "rl"), *about).disk
    state = on_paper.checkpoint_bytes(model, parse(RLConfig, config, "rl").optimizer)
    assert chooses == plain + state
    config.policy_loss.kl_coefficient = 0.1
    config.reference.model = "average"
    found = workload.rl_work(parse(RLConfig, config, "rl"), *about).disk
    assert found == chooses + 2 * 4 * SIZE


def evaluation(benchmarks):
    config = load_recipe("configs/study_tiny.py").eval
    with config.unlocked(), config.ignore_type():
        config.own, config.benchmarks = {}, benchmarks
    return parse(EvalConfig, config, "eval")


def test_replies_are_questions_times_samples_and_likelihoods_are_read():
    asked = {
        "math500": {"limit": 0, "samples": {"greedy": 1, "t1": 3}},
        "gpqa_diamond": {"limit": 50, "samples": {"t1": 2}, "variants": ("robust", "paper")},
        "mc_taco": {"limit": 0, "samples": {"greedy": 1}},
    }
    found = workload.expected_replies(evaluation(asked), 30)
    # both variants of MATH-500 share their samples, those of GPQA are asked in two ways
    assert found.written == 500 * 4 + 2 * 50 * 2
    assert (found.tokens, found.read, found.prompt) == (30, 9442 * workload.CHOICES, 160 / 8)
    assert workload.expected_replies(evaluation(asked), 0).tokens == 40  # half of 80


def test_a_benchmark_of_ones_own_is_counted_where_the_evaluation_finds_it(tmp_path):
    (tmp_path / "trivia.jsonl").write_text('{"q": "1", "a": "A"}\n' * 3)
    data = DatasetConfig(path="trivia.jsonl", fields={"prompt": "q", "answer": "a"})
    own = {"trivia": OwnBenchmark("Trivia", "other", dataclasses.replace(data, task="math"))}
    asked = {"math500": {"limit": 1, "samples": {"greedy": 1}}}
    config = dataclasses.replace(evaluation(asked), own=own, data_folder=str(tmp_path))
    runs = {"trivia": BenchmarkRun(limit=0, samples={"greedy": 2})}
    found = workload.expected_replies(dataclasses.replace(config, benchmarks=runs), 30)
    assert found.written == 3 * 2


def test_the_number_of_questions_of_every_benchmark_is_that_of_the_documents():
    assert set(SIZES) == set(BENCHMARKS)
    text = (epath.Path(__file__).parent.parent / "docs" / "adding_benchmarks.md").read_text()
    for name, size in SIZES.items():
        assert f"| `{name}` | {size:,}" in text, name


def test_a_dataset_on_the_hub_is_counted_by_its_limit_and_a_local_one_by_its_rows(tmp_path):
    rest = {"split": "train", "fields": {}, "prompt_template": "{prompt}", "task": ""}
    rest |= {"metadata": (), "seed": 0, "options": {}}
    hub = DatasetConfig(source="huggingface", path="owner/name", limit=0, **rest)
    assert workload.count_rows(hub) is None
    assert (
        workload.count_rows(DatasetConfig(source="huggingface", path="o/n", limit=7, **rest)) == 7
    )
    rest["split"] = ""
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n' * 5)
    for limit, expected in ((0, 5), (3, 3)):
        path = str(tmp_path / "*.jsonl")
        assert (
            workload.count_rows(DatasetConfig(source="file", path=path, limit=limit, **rest))
            == expected
        )
    with pytest.raises(UserError, match=r"source 'fil': expected file, .* did you mean 'file'"):
        workload.count_rows(DatasetConfig(source="fil", path="a.jsonl", limit=0, **rest))


def test_sft_of_the_14b_is_what_the_compiled_plan_says():
    """docs/plan.md: 117 steps of 512 full rows take 80 to 85 chip-hours on v5p-64, 40 to 46 on v6e-64."""
    for target, low, high in (("v5p-64", 80, 85), ("v6e-64", 40, 46)):
        config = load_recipe(f"configs/sft_qwen3_14b_think.py:{target}")
        config.plan.example_tokens = 16384
        study = load_recipe(f"configs/study_qwen3_14b.py:{target}")
        section, plan = parse(SFTConfig, config.sft, "sft"), parse(PlanConfig, config.plan, "plan")
        model = dry_run.planned_model(parse(ModelConfig, study.model, "model"), plan)
        slice_ = find_slice(target)
        spent = workload.sft_work(section, plan, model, Machine.of_slice(slice_), 1).spent
        hours = [seconds / 3600 * slice_.chips for seconds in (spent.best, spent.worst)]
        assert 0.9 * low < hours[0] < hours[1] < 1.1 * high


def test_the_whole_study_takes_as_long_as_its_stages_together():
    config = load_recipe("configs/study_qwen3_14b.py:v5p-64")
    study = dry_run._study_of(dry_run._without_downloads(config))
    arms = [dry_run._training(study, name).spent for name in study.arms.arms]
    arms += [dry_run._evaluation(study, name).spent for name in study.arms.arms]
    whole = sum(arms, Spent())
    assert whole.best == pytest.approx(sum(spent.best for spent in arms))
    assert whole.worst == pytest.approx(sum(spent.worst for spent in arms))


SFT_AND_RL = ("rl", "sft_no_think", "sft_think")


def rows_of(text):
    return {line[:32].strip(): line for line in text.splitlines()}


def test_a_dry_run_of_the_14b_study_needs_no_network_and_no_model_and_writes_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        huggingface, "_download", lambda path: pytest.fail(f"asked the hub for {path}")
    )
    text = dry_run.describe_study(load_recipe("configs/study_qwen3_14b.py:v5p-64"))
    assert "Qwen/Qwen3-14B-Base (14,768,307,200 parameters) on v5p-64" in text
    names = [line.split("  ")[0] for line in text.splitlines()]
    order = ["evaluate base", "train rl seed 0", "evaluate rl/seed_0", "drift rl seed 0"]
    order += ["train sft_no_think seed 0", "train sft_think seed 0", "transfer", "report", "all"]
    assert [name for name in names if name in order] == order
    assert "- ReasoningTransferability/math_sft_40K" in text and "- halueval (a benchmark)" in text
    assert "- Qwen/Qwen3-14B-Base (a model: 27.5 GiB in bfloat16)" in text
    # two states of 12 bytes a parameter and weights in bfloat16, nothing else
    (disk,) = [line.split()[-1] for line in text.splitlines() if line.startswith("train sft_think")]
    assert float(disk) == pytest.approx(14_768_307_200 * (2 * 12 + 2) / 2**30, rel=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_the_page_about_tpus_gives_the_numbers_of_the_14b_studys_dry_run():
    text = dry_run.describe_study(load_recipe("configs/study_qwen3_14b.py:v5p-64"))
    (line,) = (x for x in text.splitlines() if x.startswith("all "))
    *times, disk = [float(x.replace(",", "")) for x in re.findall(r"[\d.,]+", line)]
    hours, chip_hours = [round(x) for x in times[:2]], [round(x, -1) for x in times[2:]]
    page = " ".join((ROOT / "tpu/README.md").read_text().split())
    told = f"this takes {hours[0]} to {hours[1]} hours, {chip_hours[0]:,.0f} to {chip_hours[1]:,.0f} chip-hours"
    assert f"{told}, and {disk / 1024:.1f} TiB in the bucket" in page


def test_a_training_state_that_no_device_has_room_for_is_said_to_be_too_large():
    text = dry_run.describe_study(load_recipe("configs/study_qwen3.py:8b,h100"))
    _, _, told = text.partition("DOES NOT FIT: parameters, gradients and the optimizer's state")
    share = 8_190_735_360 * 16 / 2**30
    room = find_slice("h100-1").kind.hbm / 2**30
    lines = [f"- {arm}: {share:,.1f} GiB a device, of {room:,.1f}" for arm in sorted(SFT_AND_RL)]
    assert sorted(told.splitlines()[1:4]) == lines
    assert "DOES NOT FIT" not in dry_run.describe_study(
        load_recipe("configs/study_qwen3.py:8b,h100-8")
    )


def test_a_set_of_questions_that_is_on_the_hub_is_not_made_and_its_rows_are_not_known(monkeypatch):
    monkeypatch.setattr(dry_run, "matmul_rate", lambda: 1e9)
    config = load_recipe("configs/study_tiny.py")
    with config.unlocked():
        config.questions = load_recipe("configs/questions_paper.py").questions
        config.sft.datasets.teacher.path = "{workdir}/questions/questions.jsonl"
    text = dry_run.describe_study(config)
    lines = [line for line in text.splitlines() if line.startswith("train sft_low")]
    assert lines and all("not known" in line for line in lines)
    assert any(line.startswith("all that is known  ") for line in text.splitlines())


def test_a_base_of_an_arms_own_has_its_own_size(monkeypatch):
    monkeypatch.setattr(dry_run, "matmul_rate", lambda: 1e9)
    config = load_recipe("configs/study_qwen3_14b.py:v5p-64")
    small = load_recipe("configs/study_qwen3.py:0.6b,h100").plan.architecture.to_dict()
    given = config.study.arms.rl.to_dict() | {"method": "given", "section": "", "path": "x/tuned"}
    with config.unlocked(), config.ignore_type():
        config.study.arms.given = given | {"base": "x/small"}
        config.plan.arms = {name: {"architecture": small} for name in ("given", "bases/x--small")}
    text = dry_run.describe_study(config)
    assert "x/small (596,049,920 parameters) on v5p-64" in text
    assert (
        "- x/small (a model: 1.1 GiB in bfloat16)" in text and "- x/tuned (a model: 1.1 GiB" in text
    )
    lines = [line for line in text.splitlines() if line.startswith("evaluate")]
    hours = {line.split("  ")[0]: float(line.split()[-2]) for line in lines}
    assert hours["evaluate bases/x--small"] < hours["evaluate base"] / 5


def test_a_dry_run_says_what_is_done_and_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(dry_run, "matmul_rate", lambda: 1e9)
    config = load_recipe("configs/study_tiny.py")
    config.study.seeds = (20,)
    (tmp_path / "rl/seed_20").mkdir(parents=True)
    (tmp_path / "rl/seed_20/done.json").write_text("{}")
    text = dry_run.describe_study(config, epath.Path(tmp_path))
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert [name for name, line in lines.items() if line[-1:] == ["done"]] == ["train rl seed 20"]
    numbers = {
        name: [float(x) for x in line if x.replace(".", "").isdigit()]
        for name, line in lines.items()
    }
    assert numbers["left"][0] == pytest.approx(
        numbers["all"][0] - numbers["train rl seed 20"][1], abs=0.2
    )
    assert "- training" not in text and "this machine" in text


def test_following_a_run_takes_an_evaluation_and_a_comparison_for_each_checkpoint_but_the_last(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(dry_run, "matmul_rate", lambda: 1e7)
    config = load_recipe("configs/study_tiny.py")
    config.study.seeds, config.study.follow = (20,), True
    config.rl.checkpoint_every = 25  # of 60 steps: 25, 50 and 60
    text = dry_run.describe_study(config, epath.Path(tmp_path))
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    parts = [lines[name] for name in ("evaluate rl/seed_20", "drift rl seed 20")]
    minutes = [float(part[-2].replace(",", "")) for part in parts]
    *_, time, disk = lines["follow rl seed 20"]
    assert float(time.replace(",", "")) == pytest.approx(2 * sum(minutes), rel=0.01)
    assert sum(minutes) > 1 and float(disk) == pytest.approx(2 * float(parts[0][-1]), abs=0.002)


def test_a_name_in_plan_arms_that_is_no_arm_and_no_base_is_refused():
    config = load_recipe("configs/study_tiny.py")
    config.plan = sections.plan({})
    with config.ignore_type():
        config.plan.arms = {"base": {"eval_tokens": 4}, "sft_lo": {"eval_tokens": 8}}
    said = "config.plan.arms.sft_lo: no arm or base of the study; did you mean 'sft_low'?"
    with pytest.raises(UserError, match=re.escape(said)):
        dry_run.describe_study(config)


def test_time_at_best_and_at_worst_add_up():
    """Programs run one after the other, so the computing of one hides no memory traffic of another."""
    total = Spent.of_program(3.0, 1.0) + Spent.of_program(1.0, 4.0)
    assert (total.best, total.worst) == (7.0, 9.0)
    assert (2 * total) == total + total
    assert math.isinf(dry_run.this_machine().memory)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("drift.metrics", ("token_kl", "pca_shfit"), "drift.metrics: no metric 'pca_shfit'"),
        ("drift.decoding", "greeedy", "drift.decoding='greeedy': expected a decoding"),
        ("transfer.modes", ("macroo",), "transfer.modes: no mode 'macroo'"),
    ],
)
def test_a_dry_run_refuses_what_the_study_would_refuse_of_its_measurements(field, value, message):
    config = load_recipe("configs/study_tiny.py")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=re.escape(message)):
        dry_run.describe_study(config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rl.prompts_per_step", 4, "arms.rl: rl.mini_batch_prompts=32: expected 1 to prompts_per"),
        ("rl.policy_loss.name", "cliped", "arms.rl: rl.policy_loss.name='cliped': expected one of"),
        ("sft.token_weight", "dtf", "arms.sft_low: sft.token_weight='dtf': expected one of"),
        ("sft.length", 10**6, "arms.sft_low: sft.length=1000000: the model's max_position"),
    ],
)
def test_a_dry_run_refuses_what_the_study_would_refuse_of_an_arms_training(field, value, message):
    config = load_recipe("configs/study_tiny.py")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=re.escape(message)):
        dry_run.describe_study(config)


def test_a_dry_run_refuses_to_follow_an_arm_without_checkpoints():
    config = load_recipe("configs/study_tiny.py")
    config.study.follow = True
    config.rl.checkpoint_every = 0
    with pytest.raises(UserError, match=re.escape("arms.rl: ")) as told:
        dry_run.describe_study(config)
    assert "checkpoint_every" in str(told.value)
