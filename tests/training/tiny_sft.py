"""A complete SFT recipe at toy size, shared by the tests of `training`."""

import dataclasses
import json
from pathlib import Path

import jax
from tiny_qwen3 import hf_config, model_config

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.rows import DatasetConfig
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.sft import run_sft
from jaxreason.training.sft_config import SFTConfig

ARCHITECTURE = hf_config(initializer_range=0.1)
MODEL = model_config(init="random", architecture=ARCHITECTURE)
ADAMW = OptimizerConfig(
    name="adamw",
    learning_rate=1e-2,
    schedule="cosine",
    warmup_steps=2,
    final_fraction=0.1,
    b1=0.9,
    b2=0.95,
    eps=1e-8,
    weight_decay=0.1,
    clip_norm=1.0,
    state_dtype="float32",
    muon=None,
)

ONE_DEVICE = MeshConfig(data=1, fsdp=1, tensor=1, context=1)


def write_inputs(folder: Path) -> None:
    """Thirty sums as conversations, and a tokenizer of their characters."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"question": f"{a}+{a + 7}=", "answer": str(2 * a + 7)} for a in range(30)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_character_tokenizer(folder / "tokenizer", "0123456789+=")


def make_recipe(folder: Path, **changes) -> SFTConfig:
    """The recipe that learns the sums in `folder`, which are written if they are not there."""
    if not (folder / "tokenizer").exists():
        write_inputs(folder)
    dataset = DatasetConfig(
        source="file",
        path=str(folder / "sums.jsonl"),
        split="",
        fields={"prompt": "question", "response": "answer"},
        prompt_template="{prompt}",
        task="sums",
        metadata=(),
        limit=0,
        seed=0,
        options={},
    )
    recipe = SFTConfig(
        datasets={"sums": dataset},
        every_reply=False,
        tokenizer=str(folder / "tokenizer"),
        thinking=None,
        length=32,
        pack=True,
        batch_size=20,
        micro_batch_rows=4,
        epochs=4.0,
        optimizer=ADAMW,
        logprob_chunk=8,
        log_every=2,
        checkpoint_every=2,
        keep=2,
        tensorboard=False,
        export_dtype="float32",
        max_shard_bytes=1 << 30,
    )
    return dataclasses.replace(recipe, **changes)


def train(
    recipe: SFTConfig,
    workdir: Path,
    mesh_config: MeshConfig = ONE_DEVICE,
    model=MODEL,
    validator=None,
):
    """`run_sft` on the first devices that the mesh asks for."""
    sizes = dataclasses.astuple(mesh_config)
    count = sizes[0] * sizes[1] * sizes[2] * sizes[3]
    mesh = make_mesh(mesh_config, jax.devices()[:count])
    with jax.set_mesh(mesh):
        run_sft(recipe, model, mesh, workdir, 3, validator)
