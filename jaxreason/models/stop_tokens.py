"""Stop tokens in an exported folder, written where other programs look for them.

A base model's files name the end of a document (`<|endoftext|>`), while the chat template with which a
twin was trained ends a turn with another token (`<|im_end|>`). `transformers` and vLLM stop at the ids
of generation_config.json (or config.json), lm-eval at the tokenizer's end-of-sequence token.
"""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxreason.models.weight_files import read_settings


def write_stop_tokens(folder: epath.Path, stop_tokens: Mapping[int, str]) -> None:
    """Changes the configs of a folder that is being written.

    Args:
      folder: with config.json, and whatever else was copied.
      stop_tokens: id and text of each, that of the chat template first.
    """
    ids = list(stop_tokens)
    stops = ids[0] if len(ids) == 1 else ids
    config = read_settings(folder / "config.json") | {"eos_token_id": stops}
    file = folder / "generation_config.json"
    others = {key: config[key] for key in ("bos_token_id", "pad_token_id") if key in config}
    generation = read_settings(file) if file.exists() else others
    _write(file, generation | {"eos_token_id": stops})
    text = stop_tokens[ids[0]]
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        if file.exists() or name == "tokenizer_config.json":
            settings = read_settings(file) if file.exists() else {}
            _write(file, settings | {"eos_token": text})
    _write(folder / "config.json", config)  # last, as in `save_model`


def _write(file: epath.Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
