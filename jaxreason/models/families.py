"""The model families: the traits that each family fixes, and the names of weights in Hugging Face's files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Family:
    """Traits that all models of a family share, and the values that Hugging Face assumes for absent keys."""

    class_name: str  # Hugging Face's model class
    qk_norm: bool
    bias_setting: bool  # whether `attention_bias` is a setting (then it is on q, k, v and o)
    qkv_bias: bool  # bias on q, k, v when it is no setting
    window_by_layer: bool  # window switched by use_sliding_window and max_window_layers (otherwise sliding_window)
    has_window: bool
    absent: Mapping[str, Any]


def _absent(**family: Any) -> dict[str, Any]:
    common = {
        "num_key_value_heads": None,
        "head_dim": None,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "initializer_range": 0.02,
        "rope_theta": 10000.0,
    }
    return common | family


_QWEN_WINDOW = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}

FAMILIES: dict[str, Family] = {
    "qwen3": Family(
        class_name="Qwen3ForCausalLM",
        qk_norm=True,
        bias_setting=True,
        qkv_bias=False,
        window_by_layer=True,
        has_window=True,
        absent=_absent(max_position_embeddings=32768, head_dim=128, **_QWEN_WINDOW),
    ),
    "qwen2": Family(
        class_name="Qwen2ForCausalLM",
        qk_norm=False,
        bias_setting=False,
        qkv_bias=True,
        window_by_layer=True,
        has_window=True,
        absent=_absent(max_position_embeddings=32768, **_QWEN_WINDOW),
    ),
    "llama": Family(
        class_name="LlamaForCausalLM",
        qk_norm=False,
        bias_setting=True,
        qkv_bias=False,
        window_by_layer=False,
        has_window=False,
        absent=_absent(max_position_embeddings=2048),
    ),
    "mistral": Family(
        class_name="MistralForCausalLM",
        qk_norm=False,
        bias_setting=False,
        qkv_bias=False,
        window_by_layer=False,
        has_window=True,
        absent=_absent(max_position_embeddings=131072, num_key_value_heads=8, sliding_window=4096),
    ),
}

# Our parameter -> Hugging Face's name ({} is the layer) and whether theirs is transposed. The same in all families.
WEIGHTS: dict[str, tuple[str, bool]] = {
    "embed_tokens.embedding": ("model.embed_tokens.weight", False),
    "layers.input_layernorm.scale": ("model.layers.{}.input_layernorm.weight", False),
    "layers.self_attn.q_proj.kernel": ("model.layers.{}.self_attn.q_proj.weight", True),
    "layers.self_attn.q_proj.bias": ("model.layers.{}.self_attn.q_proj.bias", False),
    "layers.self_attn.k_proj.kernel": ("model.layers.{}.self_attn.k_proj.weight", True),
    "layers.self_attn.k_proj.bias": ("model.layers.{}.self_attn.k_proj.bias", False),
    "layers.self_attn.v_proj.kernel": ("model.layers.{}.self_attn.v_proj.weight", True),
    "layers.self_attn.v_proj.bias": ("model.layers.{}.self_attn.v_proj.bias", False),
    "layers.self_attn.o_proj.kernel": ("model.layers.{}.self_attn.o_proj.weight", True),
    "layers.self_attn.o_proj.bias": ("model.layers.{}.self_attn.o_proj.bias", False),
    "layers.self_attn.q_norm.scale": ("model.layers.{}.self_attn.q_norm.weight", False),
    "layers.self_attn.k_norm.scale": ("model.layers.{}.self_attn.k_norm.weight", False),
    "layers.post_attention_layernorm.scale": (
        "model.layers.{}.post_attention_layernorm.weight",
        False,
    ),
    "layers.mlp.gate_proj.kernel": ("model.layers.{}.mlp.gate_proj.weight", True),
    "layers.mlp.up_proj.kernel": ("model.layers.{}.mlp.up_proj.weight", True),
    "layers.mlp.down_proj.kernel": ("model.layers.{}.mlp.down_proj.weight", True),
    "norm.scale": ("model.norm.weight", False),
    "lm_head.kernel": ("lm_head.weight", True),
}


def dotted(path: tuple) -> str:
    """The name of a parameter from its path in the tree."""
    return ".".join(entry.key for entry in path)


def weight_shapes(shapes: dict[str, Any]) -> dict[tuple[str, int], tuple[int, ...]]:
    """Shape of each weight by (dotted name, layer), in the order of the table."""
    flat = {dotted(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    depth = next(shape[0] for name, shape in flat.items() if name.startswith("layers."))
    outer = {(name, 0): shape for name, shape in flat.items() if not name.startswith("layers.")}
    inner = {name: shape[1:] for name, shape in flat.items() if name.startswith("layers.")}
    return outer | {(name, layer): inner[name] for layer in range(depth) for name in inner}
