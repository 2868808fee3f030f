"""analysis/states/<unit>/ of a run: hidden states of its texts; one writer, one reader. docs/drift.md has the format.

There is one file per batch, each complete or absent, and index.json is written last: a folder without it is incomplete.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors.numpy
from etils import epath
from jaxtyping import Float

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import (
    atomic_write_bytes,
    read_object,
    remove_folder,
    write_json,
)
from jaxreason.results.claims import plain_json
from jaxreason.results.drift_files import drift_folder

MODELS = ("base", "tuned")
INDEX = "index.json"
_DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
_SHAPE = {"made_with": dict, "files": list}


class TokenStates(NamedTuple):
    """States of one text's tokens at the layers that were kept.

    Attributes:
      id: of the item.
      reply_start: index of the reply's first token.
      base, tuned: states of each model.
    """

    id: str
    reply_start: int
    base: Float[np.ndarray, "K T D"]
    tuned: Float[np.ndarray, "K T D"]


class PooledStates(NamedTuple):
    """Pooled states of N texts; Z is L + 1 layers.

    Attributes:
      ids: of the items.
      base, tuned: states of each model, by pooling.
    """

    ids: list[str]
    base: dict[str, Float[np.ndarray, "N Z D"]]
    tuned: dict[str, Float[np.ndarray, "N Z D"]]


def states_folder(workdir: epath.PathLike, unit: str) -> epath.Path:
    """Returns the folder of the states of a unit (`<benchmark>.<source>`) of a run."""
    return drift_folder(workdir) / "states" / unit


def holds_states(workdir: epath.PathLike, unit: str, made_with: dict[str, Any]) -> bool:
    """Returns whether the states of a unit are complete and have exactly this origin."""
    path = states_folder(workdir, unit) / INDEX
    if not path.exists():
        return False
    try:
        return read_object(path, _SHAPE)["made_with"] == plain_json(made_with)
    except UserError:  # Broken: made anew.
        return False


class StatesWriter:
    """Writes the states of a unit batch by batch; earlier files of the unit are removed first.

    Args:
      workdir: of the run.
      unit: `<benchmark>.<source>`.
    """

    def __init__(self, workdir: epath.PathLike, unit: str):
        self._folder, self._files = states_folder(workdir, unit), []
        remove_folder(self._folder)

    def add(
        self,
        ids: Sequence[str],
        reply_starts: Sequence[int],
        pooled: dict[str, dict[str, Float[np.ndarray, "B Z D"]]],
        tokens: dict[str, list[Float[np.ndarray, "K T D"]]],
    ) -> None:
        """Writes the texts of a batch.

        Args:
          ids: of the items.
          reply_starts: index of the reply's first token, of each text.
          pooled: model -> pooling -> states.
          tokens: model -> the states of each text's tokens; empty if none are kept.
        """
        arrays = {f"{m}.{pool}": x for m, found in pooled.items() for pool, x in found.items()}
        for model, texts in tokens.items():
            arrays |= {f"{model}.tokens.{number}": x for number, x in enumerate(texts)}
        name = f"{len(self._files):05d}.safetensors"
        about = {"ids": json.dumps(list(ids)), "reply_starts": json.dumps(list(reply_starts))}
        whole = {key: np.ascontiguousarray(x) for key, x in arrays.items()}
        atomic_write_bytes(self._folder / name, safetensors.numpy.save(whole, about))
        self._files.append({"name": name, "texts": len(ids)})

    def finish(self, made_with: dict[str, Any]) -> None:
        """Writes index.json: everything is there. `made_with` says which `states` they are: `pools` and `layers`."""
        write_json(self._folder / INDEX, {"made_with": made_with, "files": self._files})


def read_states(workdir: epath.PathLike, unit: str) -> PooledStates:
    """Returns the pooled states of a unit's texts, in batches of similar length.

    Raises:
      UserError: they do not exist, are incomplete, or a file is damaged; the message names it.
    """
    index = _index(workdir, unit)
    pools = index["made_with"]["states"]["pools"]
    ids, parts = [], {(model, pool): [] for model in MODELS for pool in pools}
    for about, arrays in _files(workdir, unit, index):
        ids += json.loads(about["ids"])
        for (model, pool), found in parts.items():
            found.append(arrays[f"{model}.{pool}"])
    pooled = {
        model: {pool: np.concatenate(parts[model, pool]) for pool in pools} for model in MODELS
    }
    return PooledStates(ids, **pooled)


def read_token_states(workdir: epath.PathLike, unit: str) -> Iterator[TokenStates]:
    """Yields the states of the tokens of a unit's texts at `token_layers`, with one file in memory at a time.

    Raises:
      UserError: as `read_states`.
    """
    index = _index(workdir, unit)
    for about, arrays in _files(workdir, unit, index) if _layers(index) else ():
        texts = zip(json.loads(about["ids"]), json.loads(about["reply_starts"]), strict=True)
        for number, (name, start) in enumerate(texts):
            yield TokenStates(name, start, *(arrays[f"{m}.tokens.{number}"] for m in MODELS))


def token_layers(workdir: epath.PathLike, unit: str) -> list[int]:
    """Returns the layers whose tokens' states were kept, in order.

    Raises:
      UserError: as `read_states`.
    """
    return _layers(_index(workdir, unit))


def _layers(index: dict[str, Any]) -> list[int]:
    return index["made_with"]["states"]["layers"]


def _index(workdir: epath.PathLike, unit: str) -> dict[str, Any]:
    path = states_folder(workdir, unit) / INDEX
    if not path.exists():
        raise UserError(f"{path}: not found, so no states of {unit} were kept, or not all of them.")
    return read_object(path, _SHAPE)


def _files(
    workdir: epath.PathLike, unit: str, index: dict
) -> Iterator[tuple[dict[str, str], dict[str, np.ndarray]]]:
    for file in index["files"]:
        path = states_folder(workdir, unit) / file["name"]
        try:
            yield _parsed(path.read_bytes())
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            what = "Remove the folder to have the states made again."
            raise UserError(f"{path}: not a whole file of states ({error}). {what}") from error


def _parsed(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    arrays = {  # The library's own function for numpy does not know bfloat16.
        name: np.frombuffer(found["data"], _DTYPES[found["dtype"]]).reshape(found["shape"])
        for name, found in safetensors.deserialize(data)
    }
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"], arrays
