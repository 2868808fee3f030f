"""Reads the tensors of a model folder from its files a few rows at a time, without building the model or mapping files.

A mapped file counts as memory of the process while it is open, however little of it is used. Here only the rows that
were asked for are in memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Shaped

from jaxreason.errors import UserError
from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.families import WEIGHTS, weight_shapes
from jaxreason.models.huggingface import read_architecture, resolve
from jaxreason.models.safetensors_reader import RemoteFile, find_sources

BLOCK = 1 << 21  # values in memory at a time, of each model
EMBEDDING, HEAD = "embed_tokens.embedding", "lm_head.kernel"
Place = tuple[str, int]  # our dotted name of a parameter, and its layer (0 outside of layers)


class NotFiniteTensorError(UserError):
    """A tensor holds NaN or an infinity."""


class RowFile(RemoteFile):
    """A safetensors file that is read by rows; nothing is kept in memory.

    Raises:
      UserError: it is damaged, cut off, or no safetensors file.
    """

    def read(self, key: str, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of a tensor; only its rows are read."""
        shape = self.tensors()[key][0]
        start, stop, _ = index[0].indices(shape[0])
        return self.rows(key, start, stop)[(slice(None), *index[1:])]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in the layout of its file (a matrix is [out, in]).

    Attributes:
      place: which parameter it is.
      key: Hugging Face's name.
      file: which holds it.
      path: of the file, for messages.
      shape: of the tensor.
    """

    place: Place
    key: str
    file: Any
    path: epath.Path
    shape: tuple[int, ...]

    @property
    def is_matrix(self) -> bool:
        """Whether the tensor is a linear map within a layer, so that its singular values have a meaning."""
        return len(self.shape) == 2 and self.place[0].startswith("layers.")

    def blocks(self, rows: int | None = None) -> Iterator[Shaped[np.ndarray, "..."]]:
        """Yields the first `rows` rows (default: all), one block after the other.

        Raises:
          NotFiniteTensorError: with the file and the tensor.
          UserError: the file ends too early.
        """
        rows = self.shape[0] if rows is None else rows
        step = max(1, BLOCK // max(1, math.prod(self.shape[1:])))
        for start in range(0, rows, step):
            block = self.file.rows(self.key, start, min(start + step, rows))
            if not np.isfinite(block).all():
                raise NotFiniteTensorError(f"{self.path}: {self.key} holds NaN or an infinity.")
            yield block

    def read(self) -> Shaped[np.ndarray, "..."]:
        """The whole tensor in float32; errors as those of `blocks`."""
        out, start = np.empty(self.shape, np.float32), 0
        for block in self.blocks():
            out[start : start + len(block)] = block
            start += len(block)
        return out


@dataclass(frozen=True)
class StoredModel:
    """A model folder.

    Attributes:
      name: as the user gave it.
      folder: where it lies.
      architecture: what its config.json says.
      tensors: by place; a tied head is not among them.
    """

    name: str
    folder: epath.Path
    architecture: Architecture
    tensors: dict[Place, StoredTensor]

    def tensor(self, place: Place) -> StoredTensor:
        """The tensor of a place. A tied head gives that of the embedding, which is [vocab, hidden] as well."""
        tied = place == (HEAD, 0) and self.architecture.tie_word_embeddings
        return self.tensors[EMBEDDING, 0] if tied else self.tensors[place]


def open_stored(name: str) -> StoredModel:
    """The tensors of a folder or hub model; only the headers of its files are read.

    Raises:
      UserError: no such model, or files that are damaged or do not fit config.json, with the tensor.
    """
    folder = resolve(name)
    architecture = read_architecture(folder)
    shapes = weight_shapes(abstract_params(_static(architecture)))
    found = {}
    for place, source in find_sources(folder, shapes, RowFile).items():
        shape = source.file.tensors()[source.key][0]
        found[place] = StoredTensor(place, source.key, source.file, source.file.path, shape)
    return StoredModel(name, folder, architecture, found)


def _static(architecture: Architecture) -> Model:
    how = {"dtype": "float32", "param_dtype": "float32", "remat": "none", "attention": "plain"}
    return Model(architecture=architecture, unroll=1, **how)


def kind_of(place: Place) -> str:
    """The kind of a parameter: `layers.mlp.up_proj.kernel` is an `up_proj`; biases are a kind of their own."""
    parts = place[0].split(".")
    name = parts[-2] if len(parts) > 1 else parts[-1]
    return f"{name}.bias" if parts[-1] == "bias" else name


def layer_of(place: Place) -> int | None:
    """The number of a parameter's layer; None outside of layers."""
    return place[1] if place[0].startswith("layers.") else None


def shared_places(models: Sequence[StoredModel]) -> list[Place]:
    """The places that models of one architecture share; the head is among them if one of the models has its own.

    Heads and embeddings may differ in their number of rows, as vocabularies are padded to different sizes.

    Raises:
      UserError: a model lacks a tensor of the first, has one more, or one of another shape; the message names it.
    """
    first = models[0]
    for model in models[1:]:
        both = (
            {HEAD}
            if first.architecture.tie_word_embeddings != model.architecture.tie_word_embeddings
            else set()
        )
        for place in sorted(set(first.tensors) ^ set(model.tensors)):
            if place[0] not in both:
                owner, other = (first, model) if place in first.tensors else (model, first)
                raise UserError(
                    f"{owner.name} has {owner.tensors[place].key} and {other.name} has not: "
                    "models of two architectures have no weights to compare."
                )
        for place in set(first.tensors) & set(model.tensors):
            _check_shape(first, model, place)
    places = {place: None for model in models for place in model.tensors}
    return list(places)


def _check_shape(first: StoredModel, model: StoredModel, place: Place) -> None:
    one, other = first.tensors[place], model.tensors[place]
    inner = one.shape[1:] == other.shape[1:] and place[0] in (EMBEDDING, HEAD)
    if one.shape != other.shape and not inner:
        raise UserError(
            f"{one.key} has shape {one.shape} in {first.name}, {other.shape} in {model.name}."
        )


KINDS = tuple(dict.fromkeys(kind_of((name, 0)) for name in WEIGHTS))
