"""Which tensor of a model folder's safetensors files is which parameter, and reading parts of tensors.

Five distinct refusals tell how a checkpoint does not fit. Local files go through the safetensors library; from a
bucket, where it cannot read, byte ranges are fetched.
"""

import functools
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from etils import epath
from safetensors import safe_open

from jaxreason.errors import UserError
from jaxreason.models.families import WEIGHTS

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}
# Buffers that old checkpoints hold beside the weights.
_IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
_NAMES = [re.compile(re.escape(name).replace(r"\{\}", r"\d+")) for name, _ in WEIGHTS.values()]


class LoadError(UserError):
    """A checkpoint that does not fit the model."""


class UnmappedKeyError(LoadError):
    """The checkpoint has a key that no parameter is named after."""


class UnexpectedTargetError(LoadError):
    """The checkpoint has a weight that this architecture does not have."""


class SetTwiceError(LoadError):
    """Two files of the checkpoint hold the same weight."""


class NeverSetError(LoadError):
    """The checkpoint lacks a weight."""


class WrongShapeError(LoadError):
    """A weight of the checkpoint has another shape than the parameter."""


class LocalFile:
    """A safetensors file on this machine's disk."""

    def __init__(self, path: epath.Path):
        self._file = safe_open(os.fspath(path), framework="numpy")

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and safetensors dtype name of every key."""
        slices = {key: self._file.get_slice(key) for key in self._file.keys()}  # noqa: SIM118
        return {key: (tuple(s.get_shape()), s.get_dtype()) for key, s in slices.items()}

    def read(self, key: str, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of a tensor."""
        return self._file.get_slice(key)[index]


class RemoteFile:
    """A safetensors file behind any path that epath can open: a header of JSON, then the tensors' bytes."""

    def __init__(self, path: epath.Path):
        self._path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._header = json.loads(file.read(length))
        self._header.pop("__metadata__", None)
        self._start = 8 + length
        self._tensor = functools.lru_cache(maxsize=1)(
            self._fetch
        )  # its parts are asked for in a row

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and safetensors dtype name of every key."""
        return {key: (tuple(info["shape"]), info["dtype"]) for key, info in self._header.items()}

    def read(self, key: str, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of a tensor."""
        return self._tensor(key)[index]

    def _fetch(self, key: str) -> np.ndarray:
        info = self._header[key]
        begin, end = info["data_offsets"]
        with self._path.open("rb") as file:
            file.seek(self._start + begin)
            data = file.read(end - begin)
        return np.frombuffer(data, _DTYPES[info["dtype"]]).reshape(info["shape"])


def open_files(folder: epath.Path) -> dict[str, Any]:
    """The folder's weight files by name: those of the index, or the single file.

    Raises:
      ValueError: there are no safetensors, or a file that the index names is missing.
    """
    index = folder / INDEX_FILE
    if index.exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    elif (folder / SINGLE_FILE).exists():
        names = [SINGLE_FILE]
    else:
        raise UserError(f"{folder}: neither {INDEX_FILE} nor {SINGLE_FILE} is there.")
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise UserError(f"{index}: names {len(missing)} file(s) that are missing: {missing[:5]}")
    kind = RemoteFile if "://" in os.fspath(folder) else LocalFile
    files = {name: kind(folder / name) for name in names}
    for name, file in files.items():
        for key, (_, dtype) in file.tensors().items():
            if dtype not in _DTYPES:
                raise UserError(
                    f"{folder / name}: {key} is {dtype}; expected one of {', '.join(_DTYPES)}."
                )
    return files


class Source(NamedTuple):
    """Where a weight is; `transposed` if it is stored the other way round than our parameter."""

    file: Any
    key: str
    transposed: bool

    def read(self, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of our parameter."""
        if self.transposed:
            return self.file.read(self.key, index[::-1]).T
        return self.file.read(self.key, index)


def find_sources(
    folder: epath.Path, wanted: Mapping[tuple[str, int], tuple[int, ...]]
) -> dict[tuple[str, int], Source]:
    """The tensor for every weight wanted.

    Args:
      folder: a Hugging Face model folder.
      wanted: shape of each weight by (our dotted name, layer); layer 0 for those outside layers.

    Raises:
      UnmappedKeyError, UnexpectedTargetError, SetTwiceError, NeverSetError, WrongShapeError: with the key.
    """
    targets = {WEIGHTS[ours][0].format(layer): (ours, layer) for ours, layer in wanted}
    found: dict[tuple[str, int], Source] = {}
    for name, file in open_files(folder).items():
        for key, (shape, _) in file.tensors().items():
            if _IGNORED.fullmatch(key) or _is_copy_of_embedding(key, file, targets, folder):
                continue
            if key not in targets:
                raise _refusal(key, f"{folder / name}: {key}")
            target = targets[key]
            source = Source(file, key, transposed=WEIGHTS[target[0]][1])
            if target in found:
                raise SetTwiceError(
                    f"{folder / name}: {key}: a file before this one holds it, too."
                )
            expected = wanted[target][::-1] if source.transposed else wanted[target]
            if shape != expected:
                raise WrongShapeError(
                    f"{folder / name}: {key}: shape {shape}, expected {expected}."
                )
            found[target] = source
    missing = [key for key, target in targets.items() if target not in found]
    if missing:
        raise NeverSetError(f"{folder}: {len(missing)} weight(s) missing: {', '.join(missing[:5])}")
    return found


def _refusal(key: str, where: str) -> LoadError:
    if any(name.fullmatch(key) for name in _NAMES):
        return UnexpectedTargetError(f"{where}: this architecture has no such weight.")
    return UnmappedKeyError(f"{where}: no parameter has this name.")


def _is_copy_of_embedding(key: str, file: Any, targets: Mapping, folder: epath.Path) -> bool:
    """Whether this is the head of a model with tied embeddings, stored though it is the embedding again."""
    embedding = WEIGHTS["embed_tokens.embedding"][0]
    if key != WEIGHTS["lm_head.kernel"][0] or key in targets:
        return False
    owner = next((f for f in open_files(folder).values() if embedding in f.tensors()), None)
    if owner is None or owner.tensors()[embedding] != file.tensors()[key]:
        return False
    rows = file.tensors()[key][0][0]
    starts = range(0, rows, 4096)
    blocks = [(slice(start, min(start + 4096, rows)), slice(None)) for start in starts]
    return all(np.array_equal(file.read(key, b), owner.read(embedding, b)) for b in blocks)
