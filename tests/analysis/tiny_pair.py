"""A tiny model of our own decoder, and evaluation folders for it, for the tests of the analysis."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from sample_lines import SCORED, write_samples
from tiny_qwen3 import hf_config, model_config

from jaxreason.analysis.drift import DriftConfig, run_drift
from jaxreason.analysis.paired_forward import make_measure, measure_unit
from jaxreason.analysis.raw_questions import SOURCE, make_question_measure, measure_questions
from jaxreason.analysis.texts import Batching, Text, Unit
from jaxreason.config import parse
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import make_model
from jaxreason.results.sample_files import write_questions
from jaxreason.sharding import MeshConfig, make_mesh

HF_CONFIG = hf_config(
    architectures=["Qwen3ForCausalLM"], vocab_size=40, max_position_embeddings=128
)


def tiny_model():
    return make_model(model_config(""), architecture_from_hf(HF_CONFIG))


def params_of(seed: int):
    return jax.tree.map(jnp.asarray, _params_on_host(seed))


@functools.cache
def _params_on_host(seed: int):
    """As numpy arrays: those of jax stay on the devices of the mesh that is set when they are made first."""
    return jax.tree.map(np.asarray, init_params(tiny_model(), jax.random.key(seed)))


def mesh_of(num_devices: int):
    sizes = MeshConfig(data=1, fsdp=num_devices // 2 or 1, tensor=min(num_devices, 2), context=1)
    return make_mesh(sizes, jax.devices()[:num_devices])


def make_unit(lengths=((5, 7), (3, 40), (9, 1), (20, 20), (2, 3))) -> Unit:
    rng = np.random.default_rng(0)
    texts = tuple(
        Text(f"q{i}", tuple(int(t) for t in rng.integers(1, 40, prompt + reply)), prompt)
        for i, (prompt, reply) in enumerate(lengths)
    )
    return Unit("sums", "math", "base", texts, 0, 0)


def measure_pair(base_params, tuned_params, unit=None, num_devices=1, batch_size=4, tokens=10**6):
    model, mesh = tiny_model(), mesh_of(num_devices)
    with jax.set_mesh(mesh):
        return measure_unit(
            make_measure(model, model, chunk=16),
            base_params,
            tuned_params,
            mesh,
            make_unit() if unit is None else unit,
            Batching(batch_size, tokens, 64, num_devices // 2 or 1),
        )


CHARACTERS = "abcdefghijklmnopqrstuvwxyz 0123456789"[:36]  # with 4 marks they are the vocabulary
QUESTIONS = (
    "three and four  7",
    "the sum of one and two is  3",
    "zero  0",
    "nine less two  7",
    "ten  10",
)


def question_unit(lengths=(7, 20, 3, 12, 5)) -> Unit:
    """Questions as tokens; no two are alike, and the shorter ones are padded."""
    rng = np.random.default_rng(1)
    texts = tuple(
        Text(str(i), tuple(int(t) for t in rng.integers(4, 40, length)), 0)
        for i, length in enumerate(lengths)
    )
    return Unit("sums", "math", SOURCE, texts, 0, 0)


def question_states(base_params, tuned_params, unit=None, num_devices=1):
    model, mesh = tiny_model(), mesh_of(num_devices)
    unit = question_unit() if unit is None else unit
    with jax.set_mesh(mesh):
        measure = make_question_measure(model, model)
        batching = Batching(4, 2**20, 64)
        return measure_questions(measure, base_params, tuned_params, mesh, unit, batching, pad_id=0)


def write_evaluation(folder, unit: Unit, decoding: str = "t1") -> None:
    """The files of an evaluation that the drift stage reads."""
    lines = [
        {
            "id": text.id,
            "sample": 0,
            "prompt_tokens": text.tokens[: text.reply_start],
            "tokens": text.tokens[text.reply_start :],
        }
        for text in unit.texts
    ]
    write_samples(folder, unit.benchmark, decoding, lines)
    row = {"benchmark": unit.benchmark, "group": unit.group, "decoding": decoding, "primary": True}
    row = SCORED | row | {"metric": "right"}
    (folder / "scores.json").write_text(json.dumps({"rows": [row]}))
    asked = {"benchmark": unit.benchmark, "group": unit.group, "columns": ["question", "answer"]}
    write_questions(folder, asked | {"num_rows": len(QUESTIONS), "texts": list(QUESTIONS)})


def drift_values(config: dict, base: str, tuned: str, workdir: str, sizes: dict) -> dict:
    """Runs the drift stage on all devices of all processes; every row's value by metric."""
    mesh = make_mesh(MeshConfig(**({"data": 1, "fsdp": 1, "tensor": 1, "context": 1} | sizes)))
    folders = [pathlib.Path(folder) for folder in (base, tuned)]
    models = [model_config(folder / "model", attention="blockwise") for folder in folders]
    evaluations = [folder / "evaluation" for folder in folders]
    with jax.set_mesh(mesh):
        run_drift(parse(DriftConfig, config, "drift"), *models, mesh, workdir, *evaluations)
    return {
        path.stem: [row["value"] for row in json.loads(path.read_text())["rows"]]
        for path in sorted(pathlib.Path(workdir, "analysis").glob("*.json"))
    }
