"""Writes parameters as a Hugging Face model folder: the plan of weight files, the files beside them, and the writing.

After `save_model` the folder is complete, or it is not there.
"""

import contextlib
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import Shaped

from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.families import WEIGHTS, dotted, weight_shapes
from jaxreason.models.hf_config import architecture_to_hf
from jaxreason.models.stop_tokens import CONFIG_FILE, json_bytes, with_stop_tokens
from jaxreason.models.weight_files import INDEX_FILE, SINGLE_FILE
from jaxreason.results.atomic_files import about, atomic_write_bytes, glob_in, is_remote, is_taken
from jaxreason.results.card_scores import CARD_FILE
from jaxreason.results.checksums import CHECKSUMS_FILE, hash_once, write_checksums
from jaxreason.results.lease import check_held
from jaxreason.results.locks import LOCK, writing
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sharding import to_host

# Everything beside the weights that makes a folder usable: copied when a model is saved.
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json"),
)
_COPIED_FILES = (*TOKENIZER_FILES, "generation_config.json", CONFIG_FILE)
_MORE_TEMPLATES = "additional_chat_templates"  # Where transformers puts all but the default one.
_TOKEN_SETTINGS = ("bos_token_id", "eos_token_id", "pad_token_id")
ExportDtype = Literal["float32", "bfloat16", "float16"]  # of weights in an exported folder


class StoredWeight(NamedTuple):
    """A tensor of a weight file.

    Attributes:
      key: Hugging Face's name.
      path: ours, dotted.
      layer: which of the stacked ones; None where there is one.
      transposed: whether the file has it the other way round.
      num_bytes: in the file.
    """

    key: str
    path: str
    layer: int | None
    transposed: bool
    num_bytes: int

    def to_host(self, params: dict[str, Any], dtype: str | None) -> Shaped[np.ndarray, "..."]:
        """The tensor as the file has it, in `dtype` (None: its own); every process must call it.

        Raises:
          UserError: a value is too large for float16.
        """
        value: Any = params
        for part in self.path.split("."):
            value = value[part]
        value = np.asarray(to_host(value if self.layer is None else _take_layer(value, self.layer)))
        value = value if dtype is None else _converted(self.key, value, jnp.dtype(dtype))
        return np.ascontiguousarray(value.T if self.transposed else value)


def _converted(key: str, value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.float16 and (largest := np.abs(value).max(initial=0.0)) > np.finfo(dtype).max:
        raise UserError(
            f"{key}: expected values of at most {np.finfo(dtype).max} for float16, found {largest:.6g}. Choose "
            "bfloat16 or float32 for the weights that are written."
        )
    return value.astype(dtype)


@jax.jit
def _take_layer(stacked: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(stacked, layer, keepdims=False)


def plan_files(
    model: Model, params: dict[str, Any], max_shard_bytes: int, dtype: str | None
) -> dict[str, list[StoredWeight]]:
    """The tensors of each file, filled in order up to the size; a larger one gets a file of its own."""
    stored = {
        dotted(path): jnp.dtype(dtype or leaf.dtype).itemsize
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    groups: list[list[StoredWeight]] = [[]]
    for (path, layer), shape in weight_shapes(abstract_params(model)).items():
        key, transposed = WEIGHTS[path]
        size = math.prod(shape) * stored[path]
        place = layer if "{}" in key else None
        weight = StoredWeight(key.format(layer), path, place, transposed, size)
        if groups[-1] and sum(w.num_bytes for w in groups[-1]) + size > max_shard_bytes:
            groups.append([])
        groups[-1].append(weight)
    if len(groups) == 1:
        return {SINGLE_FILE: groups[0]}
    count = len(groups)
    return {
        f"model-{i + 1:05d}-of-{count:05d}.safetensors": group for i, group in enumerate(groups)
    }


def weight_index(files: dict[str, list[StoredWeight]]) -> dict[str, Any]:
    """The value of the index file: which tensor is in which file."""
    weights = {weight.key: name for name, group in files.items() for weight in group}
    total = sum(weight.num_bytes for group in files.values() for weight in group)
    return {"metadata": {"total_size": total}, "weight_map": weights}


def read_copied(source: epath.Path | None) -> dict[str, bytes]:
    """The files of a model folder's tokenizer, chat templates among them, its generation config and its config.json.

    {} of None.

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
    more = glob_in(source / _MORE_TEMPLATES, "*.jinja")
    return files | {f"{_MORE_TEMPLATES}/{file.name}": file.read_bytes() for file in more}


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
    index = {INDEX_FILE: json_bytes(weight_index(weights))} if len(weights) > 1 else {}
    return index | dict(copied) | {CONFIG_FILE: json_bytes(config)}


def save_model(
    folder: str | epath.Path,
    model: Model,
    params: dict[str, Any],
    *,
    tokenizer_from: str | epath.Path | None,
    max_shard_bytes: int,
    dtype: str | None = None,
    stop_tokens: Mapping[int, str] | None = None,
    pad_token: tuple[int, str] | None = None,
    longest_reply: int | None = None,
    card: Callable[[], str] | None = None,
    between: Callable[[], None] = lambda: None,
    new: bool = False,
) -> None:
    """Writes a Hugging Face folder that transformers loads; every process must call it, process 0 writes.

    Weights pass through the host a shard file at a time. The folder appears whole: it is written under a
    temporary name and renamed (on a bucket, which cannot rename, config.json comes last).

    Args:
      folder: where to; a folder that is there is replaced.
      model: static description.
      params: parameters.
      tokenizer_from: model folder whose tokenizer, chat template and generation config are copied.
      max_shard_bytes: size of one file; a larger tensor gets a file of its own.
      dtype: of the stored weights; None keeps each as it is.
      stop_tokens: id and text of every token that ends a reply, that of the chat template first. They
        are written as end-of-sequence tokens, so that other programs stop where this one does; None
        leaves what `tokenizer_from` says.
      pad_token: with `stop_tokens`, as in `with_stop_tokens`.
      longest_reply: the same.
      card: makes the text of README.md, on process 0; None for none.
      between: called by every process before each file; it may raise, and there is then no (new) folder.
      new: whether a folder that is there is refused.

    Raises:
      UserError: `tokenizer_from` has no tokenizer, another program is writing the folder, or a value is too large for
        `dtype`.
    """
    copied = read_copied(None if tokenizer_from is None else epath.Path(tokenizer_from))
    files = plan_files(model, params, max_shard_bytes, dtype)

    def rest() -> dict[str, bytes]:
        found = settings_files(model, copied, files, dtype)
        if stop_tokens:
            found = with_stop_tokens(found, stop_tokens, pad_token, longest_reply)
        if card is not None:
            found[CARD_FILE] = card().encode()
        return found

    write_folder(folder, files, lambda weight: weight.to_host(params, dtype), rest, between, new)


def write_folder(
    folder: str | epath.Path,
    files: Mapping[str, list[StoredWeight]],
    tensor: Callable[[StoredWeight], np.ndarray],
    rest: Callable[[], Mapping[str, bytes]],
    between: Callable[[], None] = lambda: None,
    new: bool = False,
) -> None:
    """Writes a model folder, whole or not at all, as `save_model`; every process must call it, process 0 writes.

    Args:
      folder: where to; a folder that is there is replaced.
      files: the tensors of each weight file.
      tensor: makes one of them, on every process.
      rest: name and content of each other file, on process 0.
      between: called by every process before each file.
      new: whether a folder that is there is refused.

    Raises:
      UserError: another program is writing the folder, or it is there and `new` is True.
    """
    folder = epath.Path(folder)
    target = folder if is_remote(folder) else folder.parent / f"{folder.name}.incomplete"
    writes, hashes = jax.process_index() == 0, {}
    with contextlib.ExitStack() as held:
        on_process_zero(lambda: _begin(target, folder, new, held))
        for name, tensors in files.items():
            between()
            arrays = {weight.key: tensor(weight) for weight in tensors}
            if writes:
                hashes[name] = _write_file(target / name, arrays)
        if writes:
            write_checksums(target / CHECKSUMS_FILE, hashes)
            _write_rest(target, rest())
            if target != folder:
                (target / LOCK).unlink()
                _replace(target, folder)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"saved {folder}")


def _begin(target: epath.Path, folder: epath.Path, new: bool, held: contextlib.ExitStack) -> None:
    if target != folder:
        held.enter_context(writing(target, folder))
    if new and is_taken(folder):
        if target != folder:
            target.rmtree()  # Made just now, after the other one was renamed.
        raise UserError(f"{folder}: exists already; choose another folder or remove it.")
    _empty(target)


def _empty(folder: epath.Path) -> None:
    """Empties a folder; what it held is first made unreadable as a model, since not all goes at once on a bucket."""
    check_held()
    (folder / CONFIG_FILE).unlink(missing_ok=True)
    if is_remote(folder):
        folder.rmtree(missing_ok=True)
        folder.mkdir(parents=True)
        return
    for path in folder.iterdir():
        if path.name != LOCK:
            path.rmtree() if path.is_dir() else path.unlink()


def _write_file(path: epath.Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Writes a safetensors file and returns its size and hash."""
    metadata = {"format": "pt"}  # transformers insists
    if is_remote(path):
        data = safetensors.numpy.save(arrays, metadata)
        atomic_write_bytes(path, data)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with open(path, "wb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # As the user's umask has it.
    with about(path):
        safetensors.numpy.save_file(arrays, os.fspath(path), metadata)
    # The library makes it readable by its owner only. Some file systems have no rights to change.
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)
    return hash_once(path)


def _write_rest(folder: epath.Path, files: Mapping[str, bytes]) -> None:
    for name in sorted(files, key=lambda name: name == CONFIG_FILE):  # last: the folder is complete
        atomic_write_bytes(folder / name, files[name])


def _replace(new: epath.Path, folder: epath.Path) -> None:
    """Puts `new` in the place of `folder`. A reader finds the old folder, none, or the new one, never a mixture."""
    old = folder.parent / f"{folder.name}.replaced"
    _discard(old)
    if is_taken(folder):
        folder.rename(old)
    new.rename(folder)
    _discard(old)


def _discard(folder: epath.Path) -> None:
    """Removes a folder; of a link only the link, since what it leads to may belong to others."""
    if os.path.islink(folder):
        folder.unlink()
    else:
        folder.rmtree(missing_ok=True)
