"""Tiny random models of every family of the survey, each pair with a tokenizer, template and vocabulary of its own."""

import json
from pathlib import Path

import jax.numpy as jnp
import tokenizers
import transformers
from models.tiny_models import random_params

from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, make_model

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}
# Hub name -> family, special tokens (the second opens a turn, the last ends one), whether it has a template, changes.
MODELS = {
    "Qwen/Qwen2.5-1.5B": ("qwen2", CHATML, True, {}),
    "hkust-nlp/Qwen-2.5-1.5B-SimpleRL-Zoo": ("qwen2", CHATML, True, {"num_hidden_layers": 3}),
    "Qwen/Qwen2.5-Math-7B": ("qwen2", CHATML, True, {"max_position_embeddings": 512}),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": (
        "qwen2",
        ("<|begin|>", "<|User|>", "<|pad|>", "<|end|>"),
        True,
        {"vocab_size": 272},
    ),
    "meta-llama/Llama-3.1-8B": (
        "llama",
        ("<|begin_of_text|>", "<|header|>", "<|eot_id|>"),
        False,
        {},
    ),
    "hkust-nlp/Llama-3.1-8B-SimpleRL-Zoo": (
        "llama",
        ("<|begin_of_text|>", "<|header|>", "<|eot_id|>"),
        True,
        {},
    ),
    "mistralai/Mistral-Small-24B-Instruct-2501": ("mistral", ("<s>", "[INST]", "</s>"), True, {}),
    "yentinglin/Mistral-Small-24B-Instruct-2501-reasoning": (
        "mistral",
        ("<s>", "[INST]", "</s>"),
        True,
        {},
    ),
    "Qwen/Qwen3-14B-Base": ("qwen3", CHATML, True, {"vocab_size": 264, "head_dim": 16}),
    "ReasoningTransferability/UniReason-Qwen3-14B-RL": (
        "qwen3",
        CHATML,
        True,
        {"vocab_size": 264, "head_dim": 16},
    ),
}


def write_standins(folder: Path, names=tuple(MODELS)) -> Path:
    """Models as `folder`/owner/name; a tuned one has a few weights of its base changed where the shapes allow it."""
    for seed, name in enumerate(names):
        write_standin(folder, name, seed // 2)
    return folder


def write_standin(folder: Path, name: str, seed: int) -> Path:
    family, special, templated, changes = MODELS[name]
    files = folder / "files" / name
    files.mkdir(parents=True)
    tokenizer(special, templated).save_pretrained(files)
    vocab = 256 + len(special)
    settings = {"model_type": family, "vocab_size": vocab, "hidden_act": "silu"} | SIZES | changes
    (files / "config.json").write_text(json.dumps({"eos_token_id": 256 + len(special) - 1}))
    how = ModelConfig("", "random", settings, "float32", "float32", "none", "plain", 1)
    model = make_model(how, architecture_from_hf(settings))
    params = random_params(abstract_params(model), seed)
    if not any(name.startswith(owner) for owner in ("Qwen/", "meta-llama/", "mistralai/")):
        params["norm"]["scale"] = params["norm"]["scale"] * jnp.float32(1.25)  # the tuned one
    save_model(folder / name, model, params, tokenizer_from=files, max_shard_bytes=1 << 30)
    return folder / name


def tokenizer(special: tuple[str, ...], templated: bool) -> transformers.PreTrainedTokenizerFast:
    """Bytes as tokens, and the special ones after them."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, [])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(list(special))
    start, end = special[1], special[-1]
    template = (
        f"{{%- for m in messages %}}{{{{ '{start}' + m.role + '\\n' + m.content + '{end}' }}}}{{% endfor -%}}"
        f"{{%- if add_generation_prompt %}}{{{{ '{start}assistant\\n' }}}}{{% endif -%}}"
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=end,
        pad_token=special[0],
        chat_template=template if templated else None,
    )
