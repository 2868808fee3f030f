"""configs/study_qwen3.py whole, from base to report: a tiny Qwen3 with Qwen3's own tokenizer, a few of everything."""

import json
from pathlib import Path

import jax
import pytest
from etils import epath
from evaluation.benchmark_rows import write_files
from processes import run_processes

from jaxreason.config import parse
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, make_model
from jaxreason.recipes import load_recipe
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.studies import study
from jaxreason.studies.arms import METHODS
from jaxreason.training.sft import run_sft

SHARED = Path(__file__).parents[2] / "shared"
TOKENIZER, DATA = SHARED / "tokenizers" / "qwen3", SHARED / "data"
REPLY = "It is \\boxed{7}."
TINY = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 16}
TINY |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096}


def write_data(folder):
    """What `data=FOLDER` names: teacher's replies, questions, and the benchmarks, shared ones where they are here."""
    numbers = range(16)
    sft = [
        {"question": f"What is {n} - {n - 7}?", "no_think_response": REPLY}
        | {"think_response": f"<think>\nLet me see.\n</think>\n\n{REPLY}"}
        for n in numbers
    ]
    rl = [{"question": f"What is {n} + {7 - n}?", "golden_answer": "7"} for n in numbers]
    rl = [row | {"data_source": "made up"} for row in rl]
    for name, rows in (("math_sft_40K", sft), ("math_rl_48k", rl)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_files(folder)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        real = DATA / path.relative_to(folder)
        if real.exists():
            path.unlink()
            path.symlink_to(real)
    shorten(folder / "general/mc_taco_test.tsv", first_lines)
    shorten(folder / "benchmarks/headqa/test_HEAD_EN.json", first_questions)
    code = folder / "benchmarks" / "livecodebench"
    code.mkdir(exist_ok=True)
    (code / "test.jsonl").symlink_to(DATA / "benchmarks/livecodebench/full_row_1873_A.jsonl")


def shorten(path, first):
    """Leaves the first questions of a file of thousands, of which every stage would read all to ask two."""
    text = path.read_text()
    path.unlink()
    path.write_text(first(text))


def first_lines(text):
    return "".join(text.splitlines(keepends=True)[:60])


def first_questions(text):
    exams = json.loads(text)
    for exam in exams["exams"].values():
        del exam["data"][10:]
    return json.dumps(exams)


def recipe(base, data):
    """configs/study_qwen3.py with sizes that a CPU can do; what is learned from and asked is its own."""
    config = load_recipe(f"configs/study_qwen3.py:0.6b,h100,data={data}")
    config.model.path = str(base)
    config.model.update({"attention": "plain", "dtype": "float32", "remat": "none"})
    config.study.measured_dtype = "float32"
    chunk = {"logprob_chunk": 64}
    config.sft.update(
        {"length": 256, "batch_size": 8, "micro_batch_rows": 4, "epochs": 1.0, **chunk}
    )
    config.sft.optimizer.warmup_steps = 1
    config.rl.update({"num_steps": 2, "prompts_per_step": 4, "mini_batch_prompts": 4, **chunk})
    config.rl.update({"group_size": 4, "micro_batch_rows": 4, "row_length": 128})
    config.rl.decoding.max_tokens = 16
    # by the whole reward: a model of this size may never be right, and then no group would teach it
    config.rl.dynamic_sampling.update(
        {"prompts_per_batch": 4, "max_batches": 2, "metric": "reward"}
    )
    config.rl.rewards.update({"num_workers": 2, "overlong_buffer": 8})
    config.rl.sampler.update({"slots": 16, "max_length": 96, "prefill_tokens": 256})
    config.rl.sampler.page_size = 16
    config.rl.validation.limit = 2
    for run in config.eval.benchmarks.values():
        run.limit, run.samples = 2, {"paper": 2 if run.samples.paper > 1 else 1}
    config.eval.decodings.paper.max_tokens = 16
    config.eval.update({"grader_workers": 2, "resamples": 20, "pass_at": (1, 2), "maj_at": ()})
    sizes = {"slots": 8, "max_length": 3072, "prefill_tokens": 1024, "pages": 0}
    config.eval.sampler.update(sizes)
    config.drift.update({"texts_per_benchmark": 2, "max_length": 48, "batch_size": 2, **chunk})
    config.drift.update({"training_prompts": 2, "training_tokens": 8})
    config.drift.resamples = config.transfer.resamples = config.report.resamples = 20
    return config


def make_base(config, folder, mesh):
    """A random model that has seen the answer a few times, so that some of RL's groups differ."""
    architecture = config.plan.architecture.to_dict() | TINY
    section = parse(ModelConfig, config.model, "config.model")
    model = make_model(section, architecture_from_hf(architecture))
    params = init_params(model, jax.random.key(0), mesh)
    start = folder / "random"
    save_model(start, model, params, tokenizer_from=TOKENIZER, max_shard_bytes=2**30)
    with config.unlocked():
        config.model.path = str(start)
    changes = {"thinking": False, "epochs": 12.0, "schedule_epochs": 0.0}
    changes |= {"datasets": {"teacher": {"fields": {"response": "no_think_response"}}}}
    taught = config.copy_and_resolve_references()
    taught.sft.update(changes | {"length": 64})
    taught.sft.optimizer.update({"learning_rate": 1e-2, "warmup_steps": 2})
    sft = METHODS["sft"]
    run_sft(
        parse(sft, taught.sft, "config.sft"),
        parse(ModelConfig, taught.model, "config.model"),
        mesh,
        epath.Path(folder / "taught"),
        0,
    )
    return folder / "taught" / "model"


def run_study(folder):
    """Runs the study in `folder`; returns what it said, and its arms."""
    folder = Path(folder)
    data = folder / "data"
    data.mkdir()
    write_data(data)
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices())
    with jax.set_mesh(mesh):
        base = make_base(recipe("", data), folder, mesh)
        config, told = recipe(base, data), []
        with config.unlocked(), config.ignore_type():
            after = config.study.arms.rl.to_dict() | {"label": "no-think-SFT, then RL"}
            config.study.arms.rl_after = after | {"base": "sft_no_think"}
        study.run_study(config, mesh, epath.Path(folder / "study"), told.append)
    return [told, list(config.study.arms)]


@pytest.mark.slow
@pytest.mark.skipif(not TOKENIZER.exists(), reason="needs Qwen3's tokenizer")
def test_the_study_of_a_tiny_qwen3_runs_from_base_to_report(tmp_path, monkeypatch):
    # With 151,936 tokens most of the time goes into computing, which LLVM makes faster.
    monkeypatch.setenv("XLA_FLAGS", "")
    ((told, arms),) = run_processes(run_study, 1, str(tmp_path), timeout_s=1800)
    workdir = tmp_path / "study"
    summary = json.loads((workdir / "report" / "summary.json").read_text())
    # of two texts a benchmark no plane is spanned and no debiased CKA made, and some prompts leave no room for a reply
    assert all(line.startswith("Undefined on") for line in summary["missing"])
    benchmarks = {row["benchmark"] for row in summary["scores"]} - {None}
    assert len(benchmarks) == 12
    asked = {row["model"]: row["thinking"] for row in summary["asked"]}
    assert asked == {
        "base": None,
        "rl": None,
        "rl_after": None,
        "sft_no_think": False,
        "sft_think": True,
    }
    assert {row["mode"] for row in summary["transfer"]} == {
        "v1_relative",
        "v2_literal",
        "paper_scales",
    }
    assert {row["arm"] for row in summary["drift"]} == set(arms)
    claimed = json.loads((workdir / "rl_after/seed_0/config.json").read_text())["claimed"]
    parent = json.loads((workdir / "sft_no_think/seed_0/config.json").read_text())["claimed"]
    assert claimed["base"] != parent["base"]  # it started from the SFT twin's weights
    assert load_tokenizer(workdir / "rl/seed_0/model").stop_ids == (151645,)  # <|im_end|>
    assert "stage 1/15 evaluate base" in told
