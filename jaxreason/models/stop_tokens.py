"""Stop tokens in an exported folder, written where other programs look for them.

A base model's files name the end of a document (`<|endoftext|>`), while the chat template with which a
twin was trained ends a turn with another token (`<|im_end|>`). `transformers` and vLLM stop at the ids
of generation_config.json (or config.json), lm-eval at the tokenizer's end-of-sequence token.
"""

import json
from collections.abc import Mapping
from typing import Any

from jaxreason.errors import UserError

CONFIG_FILE = "config.json"
_TOKENIZER, _MAP, _GENERATION = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)


def with_stop_tokens(
    files: Mapping[str, bytes],
    stop_tokens: Mapping[int, str],
    pad_token: tuple[int, str] | None = None,
    longest_reply: int | None = None,
) -> dict[str, bytes]:
    """The files of a folder, changed so that all files that name stop tokens name these ones.

    Args:
      files: name and content; config.json is among them.
      stop_tokens: id and text of each, that of the chat template first.
      pad_token: id and text of the padding token; written only where none is named yet, since other programs
        would pad with the first stop token. config.json stays as it is: there it would keep an embedding from
        being trained.
      longest_reply: tokens; a smaller `max_new_tokens`, which vLLM takes for a limit, is raised to it.

    Raises:
      UserError: one of them is no JSON object.
    """
    ids = list(stop_tokens)
    stops = {"eos_token_id": ids[0] if len(ids) == 1 else ids}
    config = _read(files, CONFIG_FILE) | stops
    changed = {_GENERATION: _generation(files, config, pad_token, longest_reply) | stops}
    if stop_tokens[ids[0]] is not None:
        texts = {"eos_token": stop_tokens[ids[0]]} | _new_pad(files, pad_token)
        for name in (_TOKENIZER, *({_MAP} & set(files))):
            changed[name] = _read(files, name) | texts
    changed[CONFIG_FILE] = config
    return dict(files) | {name: json_bytes(value) for name, value in changed.items()}


def _generation(
    files: Mapping[str, bytes],
    config: dict[str, Any],
    pad_token: tuple[int, str] | None,
    longest_reply: int | None,
) -> dict[str, Any]:
    others = {key: config[key] for key in ("bos_token_id", "pad_token_id") if key in config}
    found = _read(files, _GENERATION) if _GENERATION in files else others
    if pad_token is not None and found.get("pad_token_id") is None:
        found |= {"pad_token_id": pad_token[0]}
    limit = found.get("max_new_tokens")
    if longest_reply is not None and limit is not None:
        found |= {"max_new_tokens": max(limit, longest_reply)}
    return found


def _new_pad(files: Mapping[str, bytes], pad_token: tuple[int, str] | None) -> dict[str, str]:
    named = any(_read(files, name).get("pad_token") for name in (_TOKENIZER, _MAP))
    return {} if named or pad_token is None else {"pad_token": pad_token[1]}


def _read(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        value = json.loads(files.get(name, b"{}"))
    except (RecursionError, ValueError) as error:
        raise UserError(f"{name} of the tokenizer cannot be read as JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{name} of the tokenizer: expected a JSON object.")
    return value


def json_bytes(value: dict[str, Any]) -> bytes:
    """The content of a JSON file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
