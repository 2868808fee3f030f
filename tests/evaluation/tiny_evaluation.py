"""A tiny random model in a folder, small benchmarks, and an evaluation of the one on the other."""

import json
from pathlib import Path

import jax
from tiny_qwen3 import hf_config, model_config, save_folder

from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.eval_settings import BenchmarkRun, EvalConfig, OwnBenchmark
from jaxreason.evaluation.evaluator import run_eval
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh

CHARACTERS = ["\n", *map(chr, range(32, 127))]
ARCHITECTURE = hf_config(vocab_size=100, max_position_embeddings=512, initializer_range=0.5)
GREEDY = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=12, stop=())
SAMPLED = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, max_tokens=12, stop=())
SAMPLER = SamplerConfig(
    slots=8,
    max_length=256,
    decode_block=4,
    prefill_tokens=128,
    prefill_block=16,
    score_tokens=512,
    page_size=32,
    pages=0,
    top_logprobs=0,
    cache_dtype="auto",
    weight_dtype="auto",
    gather_weights=True,
)


def make_folder(folder: Path, seed: int = 0) -> Path:
    """A Hugging Face folder of a random model with a character tokenizer."""
    save_folder(folder / "model", ARCHITECTURE, CHARACTERS, seed)
    return folder / "model"


def dataset(path, task="hash_answer") -> DatasetConfig:
    return DatasetConfig(
        source="file",
        path=str(path),
        split="",
        fields={"id": "id", "prompt": "prompt", "answer": "answer"},
        prompt_template="{prompt}",
        task=task,
        metadata=(),
        limit=0,
        seed=0,
        options={},
    )


def write_questions(path: Path, questions: list[tuple[str, str]]) -> Path:
    rows = [{"id": f"q{i}", "prompt": q, "answer": a} for i, (q, a) in enumerate(questions)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sums(count: int) -> list[tuple[str, str]]:
    return [(f"{i}+{3 * i}=" + "?" * (i % 4), str(4 * i)) for i in range(count)]


def eval_config(own: dict, benchmarks: dict[str, BenchmarkRun], **changes) -> EvalConfig:
    fields = {
        "benchmarks": benchmarks,
        "own": own,
        "source": "files",
        "data_folder": "",
        "items_seed": 0,
        "decodings": {"greedy": GREEDY, "t1": SAMPLED},
        "thinking": None,
        "sampler": SAMPLER,
        "pass_at": (2,),
        "maj_at": (),
        "confidence": 0.95,
        "resamples": 200,
        "grader_workers": 1,
        "grader_timeout_s": 20.0,
    }
    return EvalConfig(**(fields | changes))


def sums_config(questions: Path, samples: dict[str, int], limit=0, **changes) -> EvalConfig:
    """An evaluation of one own benchmark, `sums`."""
    own = {"sums": OwnBenchmark("Sums", "math", dataset(questions))}
    return eval_config(own, {"sums": BenchmarkRun(limit, samples)}, **changes)


def evaluate(config: EvalConfig, model: Path, workdir: Path, seed=0, num_devices=1) -> dict:
    """Runs the evaluation and returns scores.json."""
    sizes = MeshConfig(data=1, fsdp=num_devices, tensor=1, context=1)
    mesh = make_mesh(sizes, jax.devices()[:num_devices])
    with jax.set_mesh(mesh):
        run_eval(config, model_config(model), mesh, workdir, seed)
    return json.loads((Path(workdir) / "evaluation" / "scores.json").read_text())


def evaluate_sums(questions: str, model: str, workdir: str) -> list[dict]:
    """For several processes: the evaluation over all devices of the job; returns the lines."""
    config = sums_config(Path(questions), {"greedy": 1, "t1": 1})
    evaluate(config, Path(model), Path(workdir), num_devices=len(jax.devices()))
    return read_lines(Path(workdir), "sums.t1") + read_lines(Path(workdir), "sums.greedy")


def read_lines(
    workdir: Path, name: str, prompt: str = "own", grader: str = "hash_answer"
) -> list[dict]:
    """The samples with their grades, as far as they have some; `name` is `<benchmark>.<decoding>`."""
    folder = Path(workdir) / "evaluation"
    benchmark, decoding = name.split(".")
    key = f"{benchmark}.{prompt}.{decoding}"
    samples, grades = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (
            folder / "samples" / f"{key}.jsonl",
            folder / "grades" / f"{key}.{grader}.jsonl",
        )
    )
    found = {(line["id"], line["sample"]): line for line in grades}
    return [line | found.get((line["id"], line["sample"]), {}) for line in samples]
