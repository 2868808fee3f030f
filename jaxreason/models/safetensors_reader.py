"""Finds the tensor of a model folder's safetensors files for each parameter, and reads parts of tensors.

Five kinds of error tell why a checkpoint does not fit. Local files go through the safetensors library; from a
bucket, where it cannot read, byte ranges are fetched. A header is checked before anything in it is used.
"""

import contextlib
import functools
import json
import math
import mmap
import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from etils import epath
from safetensors import SafetensorError, safe_open

from jaxreason.errors import UserError
from jaxreason.models.families import WEIGHTS
from jaxreason.models.weight_files import read_index, weight_names
from jaxreason.results.atomic_files import is_remote, size_of

_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}
ROWS = 4096  # of a tensor, looked at together
_MOST_HEADER_BYTES = 100_000_000  # as the safetensors library bounds it
# What checkpoints hold beside the weights: buffers that follow from config.json, masks and counters, the state of
# other libraries, and the heads of value and reward models. No logit depends on these.
_IGNORED = re.compile(
    r"(.+\.)?(rotary_emb\.((original_)?inv_freq|(cos|sin)_cached)"
    r"|(self_attn|attn)\.(bias|masked_bias)|position_ids|causal_mask|_extra_state)"
    r"|(v_head|value_head|score|reward_head)(\.\w+)*\.(weight|bias)"
)
_PREFIX = "model."  # of the base model's names
_EMBEDDING, _HEAD = WEIGHTS["embed_tokens.embedding"][0], WEIGHTS["lm_head.kernel"][0]
_NAMES = [re.compile(re.escape(name).replace(r"\{\}", r"\d+")) for name, _ in WEIGHTS.values()]


class LoadError(UserError):
    """A checkpoint that does not fit the model."""


class UnmappedKeyError(LoadError):
    """The checkpoint has a key that no parameter is named after."""


class UnexpectedTargetError(LoadError):
    """The checkpoint has a weight that this architecture does not have."""


class SetTwiceError(LoadError):
    """Two files of the checkpoint hold the same weight with different values."""


class NeverSetError(LoadError):
    """The checkpoint lacks a weight."""


class WrongShapeError(LoadError):
    """A weight of the checkpoint has another shape than the parameter."""


def _described(header: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {key: (tuple(info["shape"]), info["dtype"]) for key, info in header.items()}


class LocalFile:
    """A safetensors file on this machine's disk.

    Attributes:
      turn: to be held while a weight is read; here any number of threads may hold it.

    Raises:
      UserError: it is damaged, cut off, or no safetensors file.
    """

    def __init__(self, path: epath.Path):
        try:
            self._file = safe_open(os.fspath(path), framework="numpy")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a whole safetensors file ({error}).") from error
        with open(path, "rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            self._header = _read_header(file.read(start - 8), os.stat(path).st_size - start, path)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data = np.frombuffer(mapped, np.uint8)[start:]
        self.turn = contextlib.nullcontext()

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and safetensors dtype name of every key."""
        return _described(self._header)

    def read(self, key: str, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of a tensor: the bytes of the file itself, which cannot be written, not a copy."""
        info = self._header[key]
        if info["dtype"] not in _DTYPES:
            return self._file.get_slice(key)[index]
        data = self._data[slice(*info["data_offsets"])]
        return data.view(_DTYPES[info["dtype"]]).reshape(info["shape"])[index]


class RemoteFile:
    """A safetensors file behind any path that epath can open: a header of JSON, then the tensors' bytes.

    Attributes:
      turn: to be held while a weight is read, all parts of it: one tensor at a time is kept in memory.

    Raises:
      UserError: it is damaged, cut off, or no safetensors file.
    """

    def __init__(self, path: epath.Path):
        self.path = path = epath.Path(path)
        size = size_of(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._start = 8 + length
            if length > min(_MOST_HEADER_BYTES, size - 8):
                raise UserError(f"{path}: not a whole safetensors file (header of {length} bytes).")
            self._header = _read_header(file.read(length), size - self._start, path)
        self._tensor = functools.lru_cache(maxsize=1)(self._fetch)  # its parts come in a row
        self.turn = threading.Lock()

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape and safetensors dtype name of every key."""
        return _described(self._header)

    def read(self, key: str, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of a tensor."""
        return self._tensor(key)[index]

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Rows of a tensor, which lie one after the other in the file."""
        info = self._header[key]
        dtype, width = np.dtype(_DTYPES[info["dtype"]]), math.prod(info["shape"][1:])
        size = width * dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(self._start + info["data_offsets"][0] + start * size)
            data = file.read((stop - start) * size)
        if len(data) < (stop - start) * size:
            raise UserError(f"{self.path}: not a whole safetensors file ({key} is cut off).")
        return np.frombuffer(data, dtype).reshape(stop - start, *info["shape"][1:])

    def _fetch(self, key: str) -> np.ndarray:
        return self.rows(key, 0, self._header[key]["shape"][0])


def _read_header(data: bytes, room: int, path: epath.Path) -> dict[str, Any]:
    """The table of tensors, each of which lies within the `room` bytes that follow the header."""
    try:
        header = json.loads(data)
        header.pop("__metadata__", None)
        for key, info in header.items():
            if not _is_tensor(info, room):
                raise UserError(f"{path}: not a whole safetensors file ({key[:200]} is not in it).")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: not a safetensors file ({type(error).__name__}).") from error
    return header


def _is_tensor(info: dict[str, Any], room: int) -> bool:
    begin, end = info["data_offsets"]
    numbers = (begin, end, *info["shape"])
    if not all(type(number) is int and number >= 0 for number in numbers) or end > room:
        return False
    dtype = _DTYPES.get(info["dtype"])  # of others the size is not known here, and not read
    return dtype is None or end - begin == math.prod(info["shape"]) * np.dtype(dtype).itemsize


def open_files(
    folder: epath.Path, kind: Callable[[epath.Path], Any] | None = None
) -> dict[str, Any]:
    """The folder's weight files by name: those of the index, or the single file; each opened by `kind`.

    Raises:
      UserError: there are no safetensors, or a file that the index names is missing, damaged, or
        not beside the index.
    """
    kind = kind or (RemoteFile if is_remote(folder) else LocalFile)
    return {name: kind(folder / name) for name in weight_names(folder)}


class Source(NamedTuple):
    """The place of a weight; `transposed` if the file stores it transposed to our parameter."""

    file: Any
    key: str
    transposed: bool

    def read(self, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of our parameter."""
        if self.transposed:
            return self.file.read(self.key, index[::-1]).T
        return self.file.read(self.key, index)


def find_sources(
    folder: epath.Path,
    wanted: Mapping[tuple[str, int], tuple[int, ...]],
    kind: Callable[[epath.Path], Any] | None = None,
) -> dict[tuple[str, int], Source]:
    """The tensor for every weight wanted.

    Args:
      folder: a Hugging Face model folder.
      wanted: shape of each weight by (our dotted name, layer); layer 0 for those outside layers.
      kind: the reader that opens a file; None picks the fastest one for its place.

    Raises:
      UnmappedKeyError, UnexpectedTargetError, SetTwiceError, NeverSetError, WrongShapeError: with the key.
    """
    files, index = open_files(folder, kind), read_index(folder)
    tensors = {name: file.tensors() for name, file in files.items()}
    targets, embedding = _named_as_stored(wanted, tensors)
    found: dict[tuple[str, int], Source] = {}
    for name, file in files.items():
        for key, (shape, dtype) in tensors[name].items():
            if _IGNORED.fullmatch(key) or _is_stored_tied_head(
                key, file, embedding, targets, files
            ):
                continue
            if key not in targets:
                if index is not None and key not in index and key != _HEAD:
                    continue  # left over in a file: nobody loads it
                raise _refusal(key, f"{folder / name}: {key}")
            target = targets[key]
            source = Source(file, key, transposed=WEIGHTS[target[0]][1])
            _check_tensor(f"{folder / name}: {key}", shape, dtype, wanted[target], source)
            # Of two that differ transformers takes the one that is read last, whatever the index says.
            if target in found and not _same(file, key, found[target].file, key):
                raise SetTwiceError(
                    f"{folder / name}: {key}: a file before this one holds it, too, with other values; "
                    "expected one, or two that are equal."
                )
            found.setdefault(target, source)
    missing = [key for key, target in targets.items() if target not in found]
    if missing:
        raise NeverSetError(f"{folder}: {len(missing)} weight(s) missing: {', '.join(missing[:5])}")
    return found


def _check_tensor(
    where: str, shape: tuple[int, ...], dtype: str, wanted: tuple[int, ...], source: Source
) -> None:
    if dtype not in _DTYPES:
        raise UserError(f"{where} is {dtype}; expected one of {', '.join(_DTYPES)}.")
    expected = wanted[::-1] if source.transposed else wanted
    if shape != expected:
        raise WrongShapeError(f"{where}: shape {shape}, expected {expected}.")


def _refusal(key: str, where: str) -> LoadError:
    if any(name.fullmatch(key) for name in _NAMES):
        return UnexpectedTargetError(f"{where}: this architecture has no such weight.")
    return UnmappedKeyError(f"{where}: no parameter has this name.")


def _named_as_stored(
    wanted: Mapping[tuple[str, int], Any], tensors: Mapping[str, Mapping]
) -> tuple[dict[str, tuple[str, int]], str]:
    """Our weights by the names that these files have for them, and their name of the embedding.

    A file of the base model alone, without the head, lacks the prefix that its names have within the whole model. With
    tied embeddings a file may hold the one array under the head's name alone.
    """
    stored = {key for table in tensors.values() for key in table}
    bare = _EMBEDDING.removeprefix(_PREFIX) in stored and not any(
        key.startswith(_PREFIX) and not _IGNORED.fullmatch(key) for key in stored
    )
    named = {WEIGHTS[ours][0].format(layer): (ours, layer) for ours, layer in wanted}
    if bare:
        named = {key.removeprefix(_PREFIX): target for key, target in named.items()}
    embedding = _EMBEDDING.removeprefix(_PREFIX) if bare else _EMBEDDING
    if _HEAD not in named and embedding not in stored and _HEAD in stored:
        named = {_HEAD if key == embedding else key: target for key, target in named.items()}
    return named, embedding


def _is_stored_tied_head(
    key: str, file: Any, embedding: str, targets: Mapping, files: Mapping[str, Any]
) -> bool:
    """Whether this is the stored head of a model with tied embeddings, equal to the embedding."""
    if key != _HEAD or key in targets:
        return False
    owner = next((f for f in files.values() if embedding in f.tensors()), None)
    return owner is not None and _same(file, key, owner, embedding)


def _same(file: Any, key: str, other: Any, other_key: str) -> bool:
    """Whether two tensors have the same shape and values, perhaps in two types; a few rows at a time are read."""
    (shape, dtype), (other_shape, other_dtype) = file.tensors()[key], other.tensors()[other_key]
    if shape != other_shape or not {dtype, other_dtype} <= {*_DTYPES}:
        return False
    return all(
        np.array_equal(file.read(key, rows), other.read(other_key, rows)) for rows in _blocks(shape)
    )


def _blocks(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """A few rows of a tensor each, all of it together."""
    starts, others = range(0, shape[0], ROWS) if shape else (), [slice(None)] * (len(shape) - 1)
    parts = [(slice(start, min(start + ROWS, shape[0])), *others) for start in starts]
    return parts if shape else [()]


def first_not_finite(folder: epath.PathLike) -> str:
    """Describes the first tensor with NaN or infinity: its file and how many; "" if all values are finite.

    Tensors that are never loaded are not looked at: a causal mask, for example, may hold infinities.

    Raises:
      UserError: a file is damaged.
    """
    folder = epath.Path(folder)
    for name, file in open_files(folder).items():
        for key, (shape, dtype) in file.tensors().items():
            if _IGNORED.fullmatch(key) or dtype not in _DTYPES:
                continue
            bad = sum(_not_finite(file.read(key, rows)) for rows in _blocks(shape))
            if bad:
                return f"{folder / name}: {key} holds {bad:,} values that are NaN or infinite"
    return ""


def _not_finite(values: np.ndarray) -> int:
    return int((~np.isfinite(values.astype(np.float32))).sum())
