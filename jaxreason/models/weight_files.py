"""The files of a model folder, checked before their content is used: names, hashes and settings."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import glob_in, size_of
from jaxreason.results.checksums import CHECKSUMS_FILE, check_regular, hash_all_once, read_checksums
from jaxreason.runtime.distributed import on_process_zero

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_OTHER_FORMS = ("bin", "gguf", "pt", "pth")
_MOST_JSON_BYTES = 100_000_000  # as the safetensors library bounds a header


def read_settings(path: epath.Path) -> dict[str, Any]:
    """The object in a JSON file of a model folder.

    Raises:
      UserError: it cannot be read, is no regular file, too large, or no JSON object.
    """
    try:
        check_regular(path)
        if size_of(path) > _MOST_JSON_BYTES:
            raise UserError(f"{path}: {size_of(path)} bytes; expected a small JSON file.")
        value = json.loads(path.read_text())
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found a {type(value).__name__}.")
    return value


def read_index(folder: epath.Path) -> dict[str, str] | None:
    """The file of each tensor according to the index; None without an index.

    Beside a whole model in a single file an index is not read, as in transformers: it is left over
    from another way to store the model.

    Raises:
      UserError: the index is broken, or names a file outside the folder.
    """
    path = folder / INDEX_FILE
    if not path.exists() or (folder / SINGLE_FILE).exists():
        return None
    table = read_settings(path).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise UserError(f"{path}: expected a `weight_map` of tensor names to file names.")
    for key, name in table.items():
        if not isinstance(name, str) or name in ("", ".", "..") or {"/", "\\", "\0"} & set(name):
            raise UserError(
                f"{path}: {key} is said to be in {name!r}; expected the name of a file beside the "
                "index."
            )
    return table


def weight_names(folder: epath.Path) -> list[str]:
    """Names of the folder's weight files: the single file, or those of the index.

    Raises:
      UserError: there are none, one that the index names is missing, or is no regular file.
    """
    table = read_index(folder)
    if table is None and not (folder / SINGLE_FILE).exists():
        raise UserError(_no_weights(folder))
    names = [SINGLE_FILE] if table is None else sorted(set(table.values()))
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise UserError(
            f"{folder / INDEX_FILE}: names {len(missing)} file(s) that are missing: {missing[:5]}"
        )
    for name in names:
        try:
            check_regular(folder / name)
        except OSError as error:
            raise UserError(f"{error}; expected a safetensors file.") from error
    return names


def _no_weights(folder: epath.Path) -> str:
    others = sorted(file.name for form in _OTHER_FORMS for file in glob_in(folder, f"*.{form}"))
    found = f"; found {', '.join(others[:3])}" if others else ""
    return (
        f"{folder}: neither {INDEX_FILE} nor {SINGLE_FILE} is there{found}. Weights are read from safetensors files "
        "alone; transformers writes them (`from_pretrained`, then `save_pretrained` into another folder)."
    )


def weights_identity(folder: epath.PathLike) -> dict[str, Any]:
    """A hash of config.json and of all bytes of all weight files, and their number.

    Any process may call it, alone. A local file that has not changed since is not read again.

    Raises:
      UserError: files that are missing or cannot be read.
    """
    folder = epath.Path(folder)
    names = weight_names(folder)
    try:
        digest = hashlib.sha256((folder / "config.json").read_bytes())
        for name, found in hash_all_once(folder, names).items():
            digest.update(f"{name} {found['bytes']} {found['sha256']}\n".encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error}).") from error
    return {"sha256": digest.hexdigest(), "files": len(names)}


def verified_identity(folder: epath.PathLike) -> dict[str, Any]:
    """`weights_identity` of a folder whose weights are as they were exported; every process must call it, 0 reads.

    Raises:
      UserError: on every process, as `weights_identity` and `check_weights`.
    """
    check_weights(epath.Path(folder))
    return on_process_zero(lambda: weights_identity(folder))


def check_weights(folder: epath.Path) -> None:
    """Compares the weight files with the checksums that an export has written beside them, if any.

    Every process must call it; process 0 reads.

    Raises:
      UserError: on every process, with the file that is not as it was exported.
    """
    found = on_process_zero(lambda: find_damage(folder))
    if found:
        raise UserError(found)


def find_damage(folder: epath.Path) -> str:
    """Describes the first file that differs from what the export wrote; "" if none does, or there are no checksums.

    Any process may call it, alone.
    """
    path = folder / CHECKSUMS_FILE
    try:
        if not path.exists():
            return ""
        files = read_checksums(path)
        for name, found in hash_all_once(folder, weight_names(folder)).items():
            if name not in files:
                return f"{folder / name}: not in {CHECKSUMS_FILE}. {_ON_PURPOSE}"
            if _differs(found, files[name]):
                return f"{folder / name}: not the bytes that were exported. {_ON_PURPOSE}"
    except (UserError, OSError) as error:
        return str(error)
    return ""


_ON_PURPOSE = (
    "Put back a copy of the file, or remove the folder and have its run export it again; if it was changed on "
    f"purpose, remove {CHECKSUMS_FILE}."
)


def _differs(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return any(found[key] != wanted[key] for key in ("bytes", "sha256"))
