"""The tiny Qwen3 of many tests: its config.json, the section of a recipe that names it, and a folder that holds it."""

from pathlib import Path

import jax

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.models.decoder import init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, make_model


def hf_config(**changes) -> dict:
    """The content of its config.json: two layers of width 16, and the changes given."""
    return {
        "model_type": "qwen3",
        "vocab_size": 24,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "initializer_range": 0.2,
        "hidden_act": "silu",
    } | changes


def model_config(path="", **changes) -> ModelConfig:
    """The section `model` of a recipe with the model of a folder, in float32 throughout."""
    settings = {"dtype": "float32", "remat": "none", "attention": "plain"}
    return ModelConfig(path=str(path), **(settings | changes))


def save_folder(folder: Path, settings: dict, characters, seed: int = 0) -> None:
    """A Hugging Face folder of a random model, and beside it `tokenizer`, of which it has a copy."""
    model = make_model(model_config(), architecture_from_hf(settings))
    params = init_params(model, jax.random.key(seed))
    tokenizer = folder.parent / "tokenizer"
    save_character_tokenizer(tokenizer, characters)
    save_model(folder, model, params, tokenizer_from=tokenizer, max_shard_bytes=1 << 30)
