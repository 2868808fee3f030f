"""Distillations small enough for tests: the tiny base model, or a server, answers sums."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from jaxreason.config import parse
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.rows import DatasetConfig
from jaxreason.distill.distill_config import DistillConfig, TeacherConfig
from jaxreason.distill.distiller import run_distill
from jaxreason.models.huggingface import ModelConfig
from jaxreason.recipes import load_recipe
from jaxreason.sharding import MeshConfig, make_mesh

RECIPE = load_recipe("configs/distill_tiny.py")
MODEL = parse(ModelConfig, RECIPE.model, "model")


def write_questions(folder: Path, num: int = 12, first: int = 0) -> Path:
    """Sums that the tiny model gets right now and then, of three levels; and a tokenizer that can write thoughts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"q{i}", "question": f"{i + 3}+{i + 14}", "answer": str(2 * i + 17), "level": i % 3}
        for i in range(first, first + num)
    ]
    path = folder / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_character_tokenizer(folder / "tokenizer", ["\n", "\u2028", *map(chr, range(32, 127))])
    return path


def dataset(path, task: str = "hash_answer", **changes) -> DatasetConfig:
    config = DatasetConfig(
        source="file",
        path=str(path),
        split="",
        fields={"id": "id", "prompt": "question", "answer": "answer"},
        prompt_template="{prompt}",
        task=task,
        metadata=("level",),
        limit=0,
        seed=0,
        options={},
    )
    return dataclasses.replace(config, **changes)


def config_of(questions: Path, **changes) -> DistillConfig:
    """The recipe of the tiny study over these questions, with 3 replies each; 8 slots."""
    config = parse(DistillConfig, RECIPE.distill, "distill")
    sampler = dataclasses.replace(config.sampler, slots=8, prefill_tokens=128, decode_block=8)
    fields: dict[str, Any] = {
        "datasets": {"sums": dataset(questions)},
        "sampler": sampler,
        "samples": 3,
        "grader_workers": 1,
    }
    return dataclasses.replace(config, **(fields | changes))


def at(url: str, **changes) -> TeacherConfig:
    """An endpoint that is asked again soon."""
    fields = {"url": url, "name": "teacher", "concurrency": 4, "backoff_s": 0.01, "timeout_s": 20.0}
    return TeacherConfig(**(fields | changes))


def distill(config: DistillConfig, workdir, seed: int = 0, num_devices: int = 1, model=MODEL):
    """Runs it and returns the rows."""
    mesh = make_mesh(MeshConfig(1, num_devices, 1, 1), jax.devices()[:num_devices])
    with jax.set_mesh(mesh):
        run_distill(config, model, mesh, workdir, seed)
    return rows_of(workdir)


def rows_of(workdir) -> list[dict]:
    """The dataset's rows, shard after shard."""
    files = sorted((Path(workdir) / "distill" / "data").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().split("\n") if line]


def replies_of(workdir, name: str = "main") -> list[dict]:
    path = Path(workdir) / "distill" / "replies" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def yield_of(workdir, name: str = "main") -> dict:
    value = json.loads((Path(workdir) / "distill" / "yield.json").read_text())
    return value["passes"][name]


def files_of(workdir) -> dict[str, bytes]:
    """All that a distillation wrote."""
    folder = Path(workdir) / "distill"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def distill_everywhere(questions: str, workdir: str) -> list[dict]:
    """For several processes: over all devices of the job."""
    return distill(config_of(Path(questions)), workdir, num_devices=len(jax.devices()))
