"""Model folders of random weights written straight from numpy, for the tests of weights as they are stored."""

import json
import pathlib

import ml_dtypes
import numpy as np
import safetensors.numpy

from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.families import WEIGHTS, weight_shapes
from jaxreason.models.hf_config import architecture_to_hf

UP = "model.layers.1.mlp.up_proj.weight"
ARCHITECTURE = Architecture(
    model_type="qwen3",
    vocab_size=30,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=12,
    rms_norm_eps=1e-6,
    rope_theta=10000.0,
    rope_scaling=None,
    max_position_embeddings=64,
    tie_word_embeddings=False,
    attention_bias=False,
    attention_output_bias=False,
    qk_norm=True,
    sliding_window=None,
    initializer_range=0.02,
)


def static(architecture: Architecture = ARCHITECTURE) -> Model:
    return Model(architecture, "float32", "float32", remat="none", attention="plain", unroll=1)


def weights_of(seed: int = 0, architecture: Architecture = ARCHITECTURE) -> dict[str, np.ndarray]:
    """Random tensors by Hugging Face's names, as files have them; norms are around 1."""
    rng, found = np.random.default_rng(seed), {}
    for (path, layer), shape in weight_shapes(abstract_params(static(architecture))).items():
        key, transposed = WEIGHTS[path]
        drawn = rng.normal(float(path.endswith("scale")), 0.1, shape[::-1] if transposed else shape)
        found[key.format(layer)] = drawn.astype(np.float32)
    return found


def write_weights(
    folder: pathlib.Path,
    weights: dict[str, np.ndarray],
    architecture: Architecture = ARCHITECTURE,
    dtype: str = "float32",
    shards: int = 1,
) -> str:
    """A folder of these tensors, in one file or several; its path."""
    folder.mkdir(parents=True)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    stored = {key: np.ascontiguousarray(value.astype(kind)) for key, value in weights.items()}
    (folder / "config.json").write_text(json.dumps(architecture_to_hf(architecture)))
    if shards == 1:
        safetensors.numpy.save_file(stored, folder / "model.safetensors")
        return str(folder)
    table = {key: f"model-{i % shards}.safetensors" for i, key in enumerate(stored)}
    for name in set(table.values()):
        part = {key: value for key, value in stored.items() if table[key] == name}
        safetensors.numpy.save_file(part, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return str(folder)
