"""The files of a tokenizer: their places, the check that they need no program, and the stop ids that they declare."""

import hashlib
import json
from typing import Any

import huggingface_hub
from etils import epath

from jaxreason.data.tokenizer_library import tokenizer_library
from jaxreason.errors import UserError, hub_error
from jaxreason.results.atomic_files import glob_in
from jaxreason.results.checksums import CHECKSUMS_FILE, check_regular

_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
_MOST_IDS = 2**31  # Token ids are signed 32-bit numbers on devices.
_READ_TOO = ("additional_chat_templates/*.jinja",)  # transformers reads them whenever they exist.


def local_folder(path: str, scratch: epath.Path) -> epath.Path:
    """Returns a folder on this machine with the files of a local folder, of one on a bucket, or of a model of the hub.

    Raises:
      UserError: there is no such folder, or the hub cannot be reached.
    """
    folder = epath.Path(path).expanduser()
    if "://" in path:
        for pattern in _FILES:
            for file in glob_in(folder, pattern):
                file.copy(scratch / file.name)
        return scratch
    if folder.is_dir():
        return folder
    if path.startswith(("/", ".", "~")) or path.count("/") > 1:
        raise UserError(f"{path}: no such folder.")
    try:
        return epath.Path(huggingface_hub.snapshot_download(path, allow_patterns=list(_FILES)))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = " ".join(str(error).split())  # It may have several lines.
        told = (
            f"{path}: no such folder here, and not to be had from the Hugging Face Hub ({reason}). "
            "Give the path of a downloaded model folder instead."
        )
        raise hub_error(told, error) from error


def digest_files(folder: epath.Path, path: str) -> str:
    """Returns a hash of all that a tokenizer is made of: the files' names and contents.

    What differs between models that have the same tokenizer does not count: hashes and places of weights, and their
    number type and the order of fields in config.json.

    Raises:
      UserError: config.json is not a JSON object.
    """
    files = {file for pattern in (*_FILES, *_READ_TOO) for file in glob_in(folder, pattern)}
    named = {str(file.relative_to(folder)): file for file in files if not _of_weights(file.name)}
    named.pop("config.json", None)
    model = _read(folder / "config.json", path)
    kept = {key: value for key, value in model.items() if key not in ("dtype", "torch_dtype")}
    total = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name, file in sorted(named.items()):
        total.update(f"\n{name}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _of_weights(name: str) -> bool:
    return name == CHECKSUMS_FILE or name.endswith(".index.json")


def check_files(folder: epath.Path, path: str) -> None:
    """Checks that there is a tokenizer that needs no program of the folder's own, in regular files.

    Raises:
      UserError: there is none; the message names what there is, the program, or the file that is not regular.
    """
    _check_regular(folder)
    names = ("tokenizer.json", "tokenizer_config.json")
    if not any((folder / name).exists() for name in names):
        there = ", ".join(sorted(item.name for item in folder.iterdir())) or "nothing"
        raise UserError(f"{path}: no tokenizer.json or tokenizer_config.json there; found {there}.")
    own = _read(folder / "tokenizer_config.json", path)
    model = _read(folder / "config.json", path)
    # transformers takes the class from the one file, or else follows the other's model type.
    if _known(own.get("tokenizer_class") or model.get("tokenizer_class")):
        return
    for name, content, key in (
        ("tokenizer_config.json", own, "AutoTokenizer"),
        ("config.json", model, "AutoTokenizer"),
        ("config.json", model, "AutoConfig"),
    ):
        program = _auto_map(content).get(key)
        if program is not None:
            raise UserError(
                f"{path}: {name}: auto_map.{key} asks for the program {str(program)[:100]!r} of the folder, and "
                "programs that come with a model are never run; a tokenizer_class of transformers is needed."
            )


def _check_regular(folder: epath.Path) -> None:
    """Refuses files that are not regular: opening a pipe would wait forever, also in the libraries that read them."""
    for file in (file for pattern in (*_FILES, *_READ_TOO) for file in glob_in(folder, pattern)):
        try:
            check_regular(file)
        except OSError as error:
            raise UserError(f"{error}; expected a file of a tokenizer, or none.") from error


def _auto_map(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("auto_map")
    return found if isinstance(found, dict) else {"AutoTokenizer": found} if found else {}


def _known(name: Any) -> bool:
    """Returns whether transformers itself has such a class."""
    names = (name, f"{name}Fast")
    return isinstance(name, str) and any(hasattr(tokenizer_library(), one) for one in names)


def _read(file: epath.Path, path: str) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {file.name} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: {file.name}: expected a JSON object.")
    return content


def declared_stop_ids(folder: epath.Path, path: str) -> set[int]:
    """Returns the end-of-sequence ids in config.json and generation_config.json; either file may be absent.

    Raises:
      UserError: a file is not a JSON object, or an id is no whole number that a token can have.
    """
    ids: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        value = _read(folder / name, path).get("eos_token_id")
        found = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(one) is int and 0 <= one < _MOST_IDS for one in found):
            shown = repr(value)[:80]
            raise UserError(
                f"{path}: {name}: eos_token_id: expected token ids, 0 to {_MOST_IDS - 1}, or null, got {shown}."
            )
        ids.update(found)
    return ids
