"""A tiny run with three checkpoints that learns its sums, and what follows it."""

import dataclasses
import json
from pathlib import Path

import jax
from etils import epath
from tiny_evaluation import GREEDY, SAMPLED, SAMPLER, dataset, eval_config
from tiny_sft import ADAMW, ARCHITECTURE, MODEL, ONE_DEVICE, make_recipe, train, write_inputs

from jaxreason.analysis.drift import DriftConfig
from jaxreason.evaluation.eval_settings import BenchmarkRun, EvalConfig, OwnBenchmark
from jaxreason.evaluation.transfer import TransferConfig
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, make_model
from jaxreason.results.study_files import read_trajectory
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.studies.follow import FollowConfig, run_follow

STEPS = (10, 20, 30)
DRIFT = DriftConfig(
    metrics=("token_kl", "weights"),
    decoding="greedy",
    texts_per_benchmark=4,
    max_length=16,
    batch_size=4,
    logprob_chunk=8,
    resamples=20,
    confidence=0.95,
    seed=0,
    training_prompts=3,
    training_tokens=4,
)
TRANSFER = TransferConfig(
    modes=("v2_pooled", "v1_relative"),
    scales={},
    confidence=0.9,
    resamples=50,
    seed=0,
    match_tolerance=0.1,
    table=None,
)


def make_mesh_of_one():
    return make_mesh(ONE_DEVICE, jax.devices()[:1])


def make_base(folder: Path, seed: int = 0) -> Path:
    """A Hugging Face folder of a random model with the run's tokenizer."""
    model = make_model(MODEL, architecture_from_hf(ARCHITECTURE))
    params = init_params(model, jax.random.key(seed))
    source = folder / "tokenizer"
    target = folder / f"base_{seed}"
    save_model(target, model, params, tokenizer_from=source, max_shard_bytes=10**9)
    return target


def make_run(folder: Path, run: epath.PathLike | None = None, **changes) -> Path:
    """A finished run in `run` (or <folder>/run) with the checkpoints of STEPS, from the model of `make_base`."""
    write_inputs(folder)
    optimizer = dataclasses.replace(ADAMW, schedule="constant", weight_decay=0.0)
    settings = {"epochs": 20.0, "checkpoint_every": 10, "keep": 0, "optimizer": optimizer}
    recipe = make_recipe(folder, tokenizer="", **(settings | changes))
    run = folder / "run" if run is None else run
    train(recipe, run, model=model_of(make_base(folder)))
    return run


def model_of(path: Path) -> ModelConfig:
    return dataclasses.replace(MODEL, path=str(path), init="pretrained", architecture={})


def evaluation(folder: Path, groups=("math", "other", "non_reasoning"), **changes) -> EvalConfig:
    """Of each group a benchmark that is named so: sums that the run learns, some of them, and wrong answers."""
    sums = [(f"{a}+{a + 7}=", str(2 * a + 7)) for a in range(8)]
    wrong = [(q, "1") for q, _ in sums[1:4]]
    questions = {"math": sums, "other": sums[2:6], "non_reasoning": [*sums[:1], *wrong]}
    own, benchmarks = {}, {}
    for group in groups:
        rows = [{"id": q, "prompt": q, "answer": answer} for q, answer in questions[group]]
        path, name = folder / f"{group}.jsonl", f"{group}_sums"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        own[name] = OwnBenchmark(name, group, dataset(path, "last_number"))
        benchmarks[name] = BenchmarkRun(
            0, {"greedy": 1, "t1": 2} if group == "math" else {"greedy": 1}
        )
    sampler = dataclasses.replace(SAMPLER, max_length=32, page_size=16)
    short = {
        "greedy": dataclasses.replace(GREEDY, max_tokens=6),
        "t1": dataclasses.replace(SAMPLED, max_tokens=6),
    }
    sizes = {"sampler": sampler, "decodings": short, "resamples": 50}
    return eval_config(own, benchmarks, **(sizes | changes))


def make_config(folder: Path, **changes) -> FollowConfig:
    """Follows the run of `make_run` in `folder`."""
    parts = {
        "model": model_of(folder / "base_0"),
        "evaluation": evaluation(folder),
        "transfer": TRANSFER,
        "drift": DRIFT,
        "seed": 5,
        "best": None,
    }
    return FollowConfig(**(parts | changes))


def follow(run, workdir, config: FollowConfig, wait=None) -> dict:
    """Follows the run and returns trajectory.json."""
    mesh = make_mesh_of_one()
    with jax.set_mesh(mesh):
        run_follow(config, run, mesh, workdir, **({} if wait is None else {"wait": wait}))
    return read_trajectory(workdir)


def follow_on_all(folder: str, run: str, workdir: str) -> dict:
    """For several processes: what each reads of the trajectory that all of them made."""
    mesh = make_mesh(MeshConfig(data=1, fsdp=len(jax.devices()), tensor=1, context=1))
    with jax.set_mesh(mesh):
        run_follow(make_config(Path(folder)), run, mesh, workdir)
    return read_trajectory(workdir)
