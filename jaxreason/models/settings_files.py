"""The files of an exported folder beside its weights: network, tokenizer, chat template, how it generates."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.models.decoder import Model
from jaxreason.models.families import architecture_to_hf
from jaxreason.models.weight_files import INDEX_FILE
from jaxreason.models.weight_plan import StoredWeight, index_of

CONFIG_FILE = "config.json"
# Everything beside the weights that makes a folder usable: copied when a model is saved.
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json"),
)
_COPIED_FILES = (*TOKENIZER_FILES, "generation_config.json", CONFIG_FILE)
_TOKEN_SETTINGS = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_copied(source: epath.Path | None) -> dict[str, bytes]:
    """The tokenizer's files of a model folder, its generation config and its config.json; {} of None.

    Raises:
      UserError: it has no tokenizer.
    """
    if source is None:
        return {}
    files = {
        name: (source / name).read_bytes() for name in _COPIED_FILES if (source / name).exists()
    }
    if not any(name in files for name in TOKENIZER_FILES):
        raise UserError(
            f"{source}: no tokenizer to copy (looked for {', '.join(TOKENIZER_FILES)})."
        )
    return files


def settings_files(
    model: Model,
    copied: Mapping[str, bytes],
    weights: dict[str, list[StoredWeight]],
    dtype: str | None,
) -> dict[str, bytes]:
    """Name and content of each file.

    Args:
      model: static description.
      copied: as `read_copied` gives it; of its config.json only the ids of special tokens are kept.
      weights: what is in which weight file.
      dtype: of the stored weights; None for the parameters' own.
    """
    old = json.loads(copied.get(CONFIG_FILE, b"{}"))
    config = {key: old[key] for key in _TOKEN_SETTINGS if key in old}
    config |= architecture_to_hf(model.architecture) | {"torch_dtype": dtype or model.param_dtype}
    index = {INDEX_FILE: to_json(index_of(weights))} if len(weights) > 1 else {}
    return index | dict(copied) | {CONFIG_FILE: to_json(config)}


def to_json(value: dict[str, Any]) -> bytes:
    """The content of a JSON file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
