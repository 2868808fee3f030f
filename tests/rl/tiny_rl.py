"""A run small enough for tests: a random model of eight characters that is right by luck."""

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from pathlib import Path

import jax
import numpy as np
from etils import epath
from tiny_qwen3 import hf_config, model_config, save_folder

from jaxreason.data.rows import DatasetConfig
from jaxreason.results.atomic_files import read_json
from jaxreason.results.jsonl import read_jsonl
from jaxreason.rl.loop import run_rl
from jaxreason.rl.policy_losses import PolicyLossConfig
from jaxreason.rl.rewards import RewardConfig
from jaxreason.rl.rl_config import DynamicSamplingConfig, RLConfig
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.optimizer import OptimizerConfig

CHARACTERS = "01 ?"
HF_CONFIG = hf_config(vocab_size=8)
LOSS = PolicyLossConfig(
    name="clipped",
    clip_low=0.2,
    clip_high=0.28,
    dual_clip=10.0,
    aggregation="token_mean",
    fixed_length=0,
    kl_coefficient=0.0,
    entropy_coefficient=0.0,
    importance_cap=0.0,
)
OPTIMIZER = OptimizerConfig(
    name="adamw",
    learning_rate=3e-3,
    schedule="constant",
    warmup_steps=0,
    final_fraction=1.0,
    b1=0.9,
    b2=0.99,
    eps=1e-8,
    weight_decay=0.0,
    clip_norm=1.0,
    state_dtype="float32",
    muon=None,
)


def save_base(folder: Path, seed: int = 0) -> Path:
    """A random model with its tokenizer, as a Hugging Face folder."""
    save_folder(folder / "base", HF_CONFIG, CHARACTERS, seed)
    return folder / "base"


def save_questions(folder: Path, num: int = 24) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"q{i}",
            "prompt": "".join(rng.choice(list("01"), 1 + i % 5)) + "?",
            "answer": str(i % 2),
        }
        for i in range(num)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "questions.jsonl"


SAMPLER = SamplerConfig(
    slots=16,
    max_length=20,
    decode_block=8,
    prefill_tokens=32,
    prefill_block=8,
    score_tokens=64,
    page_size=8,
    pages=0,
    top_logprobs=0,
    cache_dtype="auto",
    weight_dtype="auto",
    gather_weights=True,
)
INT8 = dataclasses.replace(SAMPLER, cache_dtype="int8", weight_dtype="int8")


def rl_config(questions, task: str = "last_number", **changes) -> RLConfig:
    dataset = DatasetConfig(
        source="file",
        path=str(questions),
        split="",
        fields={"id": "id", "prompt": "prompt", "answer": "answer"},
        prompt_template="{prompt}",
        task=task,
        metadata=(),
        limit=0,
        seed=0,
        options={},
    )
    fields = {
        "datasets": {"questions": dataset},
        "thinking": None,
        "num_steps": 2,
        "prompts_per_step": 4,
        "group_size": 8,
        "decoding": SamplingParams(temperature=1.0, top_k=0, top_p=1.0, max_tokens=8, stop=()),
        "sampler": SAMPLER,
        "rewards": RewardConfig(
            num_workers=1, timeout_s=20.0, overlong_buffer=0, overlong_penalty=0.0
        ),
        "dynamic_sampling": DynamicSamplingConfig(
            drop_equal=True, prompts_per_batch=6, max_batches=2
        ),
        "advantage": "grpo",
        "policy_loss": LOSS,
        "old_logprobs": "when_needed",
        "mini_batch_prompts": 2,
        "micro_batch_rows": 4,
        "row_length": 32,
        "logprob_chunk": 16,
        "optimizer": OPTIMIZER,
        "checkpoint_every": 0,
        "keep": 1,
        "tensorboard": False,
        "export_dtype": "float32",
        "max_shard_bytes": 1 << 30,
    }
    return RLConfig(**(fields | changes))


def mesh_of(num_devices: int):
    sizes = MeshConfig(data=1, fsdp=num_devices // 2 or 1, tensor=min(num_devices, 2), context=1)
    return make_mesh(sizes, jax.devices()[:num_devices])


def run(config: RLConfig, base, workdir, *, mesh=None, seed: int = 0, validator=None) -> epath.Path:
    """Runs the stage; returns its working directory."""
    mesh = mesh or mesh_of(1)
    with jax.set_mesh(mesh):
        run_rl(config, model_config(base), mesh, workdir, seed, validator)
    return epath.Path(workdir)


def metrics_of(workdir) -> list[dict]:
    return read_jsonl(epath.Path(workdir) / "metrics.jsonl")


def rollouts_of(workdir, step: int) -> list[dict]:
    return read_jsonl(epath.Path(workdir) / "rollouts" / f"{step}.jsonl")


def is_done(workdir) -> bool:
    done = epath.Path(workdir) / "done.json"
    return done.exists() and read_json(done)["stage"] == "rl"


def run_on_four_devices(base, questions, workdir):
    """For several processes: the same run on a mesh of 2 (fsdp) by 2 (tensor) devices."""
    config = rl_config(questions, num_steps=4, checkpoint_every=2, keep=0)
    run(config, base, workdir, mesh=mesh_of(4))


@contextlib.contextmanager
def signal_when_there(path):
    """SIGTERM to this process as soon as a file is there, while what should write it runs."""

    def send():
        while not path.exists():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        sender.join(60)  # of a run that wrote nothing it never ends
