"""How far one tensor moved: sums over its values, and for a matrix of a layer the directions of its update.

Two model folders are compared tensor by tensor from the disk. In memory are at most a few float32 copies of the largest
matrix within a layer, and blocks of rows of everything else.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
from jaxtyping import Bool, Float

from jaxreason.analysis.spectra import EXACT_SIDE, Factors, angles, factorise, spread
from jaxreason.models.stored_tensors import (
    BLOCK,
    Place,
    StoredModel,
    StoredTensor,
    kind_of,
    layer_of,
)

# Leading directions that are compared; at most a quarter of a matrix' smaller side.
DIRECTIONS = 32
_NOISE = 1e-5  # A singular value of an update below this share of the largest is rounding.

Blocks = Iterator[tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]]


def compare_tensor(
    base: StoredModel, tuned: StoredModel, place: Place, side: int = EXACT_SIDE
) -> dict[str, Any]:
    """Compares one tensor of two models; docs/weights.md explains the keys.

    Args:
      base, tuned: models of `shared_places`.
      place: of the tensor.
      side: as for `factorise`.

    Raises:
      UserError: a value is not finite, or a file ends too early; the message has the file and the tensor.
    """
    one, other = base.tensor(place), tuned.tensor(place)
    about = {"path": place[0], "kind": kind_of(place), "layer": layer_of(place)}
    if not one.is_matrix:
        return about | sums(paired_blocks(one, other)) | {"directions": None}
    first, second = one.read(), other.read()
    found = sums(_blocks_of(first, second))
    moved = update_directions(first, second, side) if found["squared_change"] else None
    return about | found | {"directions": moved}


def paired_blocks(*tensors: StoredTensor) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields the rows that all tensors have, in float32, one block after the other."""
    rows = min(tensor.shape[0] for tensor in tensors)
    for blocks in zip(*(tensor.blocks(rows) for tensor in tensors), strict=True):
        yield tuple(block.astype(np.float32) for block in blocks)


def _blocks_of(first: np.ndarray, second: np.ndarray) -> Blocks:
    step = max(1, BLOCK // first.shape[1])
    for start in range(0, len(first), step):
        yield first[start : start + step], second[start : start + step]


def sums(blocks: Blocks) -> dict[str, Any]:
    """Returns sums of squares, and how many values differ after rounding both to bfloat16."""
    change = size = 0.0
    changed = number = 0
    for base, tuned in blocks:
        change += float(np.square(tuned - base, dtype=np.float64).sum())
        size += float(np.square(base, dtype=np.float64).sum())
        changed += int(differs(base, tuned).sum())
        number += base.size
    names = ("squared_change", "squared_base", "num_changed", "num_weights")
    return dict(zip(names, (change, size, changed, number), strict=True))


def differs(
    base: Float[np.ndarray, "..."], tuned: Float[np.ndarray, "..."]
) -> Bool[np.ndarray, "..."]:
    """Returns whether values differ in bfloat16."""
    first, second = (x.astype(ml_dtypes.bfloat16).astype(np.float32) for x in (base, tuned))
    return first != second


def update_directions(
    base: Float[np.ndarray, "m n"], tuned: Float[np.ndarray, "m n"], side: int = EXACT_SIDE
) -> dict[str, Any]:
    """Returns the spectrum and spread of the update, and its position relative to the base's leading directions.

    Args:
      base: a matrix, [out, in].
      tuned: another one.
      side: as for `factorise`.
    """
    count = max(1, min(DIRECTIONS, min(base.shape) // 4))
    of_base, of_tuned = factorise(base, side), factorise(tuned, side)
    update = tuned - base
    of_update = factorise(update, side)
    found = spread(update, of_update)
    return {
        "exact": of_update.exact,
        "side": min(base.shape),
        "count": count,
        "values": _numbers(of_update.values[:count]),
        "base_values": _numbers(of_base.values[:count]),
        "tuned_values": _numbers(of_tuned.values[:count]),
        **(found._asdict() if found else {}),
        **_against(of_base, of_update, update, count),
        **_moved(of_base, of_tuned, count),
    }


def _against(base: Factors, update: Factors, change: np.ndarray, count: int) -> dict[str, float]:
    """Returns how the update's leading directions, and all of its energy, lie to the base's leading directions."""
    kept = max(1, int((update.values[:count] > _NOISE * update.values[0]).sum()))
    energy, found = float(np.einsum("ij,ij->", change, change, dtype=np.float64)), {}
    for name, size, matrix in (("left", 0, change.T), ("right", 1, change)):
        own, theirs = getattr(base, name)[:, :count], getattr(update, name)[:, :kept]
        between = angles(own, theirs)
        inside = np.square(matrix @ own, dtype=np.float64).sum()
        found |= {
            f"angle_{name}": float(between.mean()),
            f"overlap_{name}": float(np.square(np.cos(np.radians(between))).mean()),
            f"energy_{name}": float(inside) / energy,
            f"chance_{name}": count / change.shape[size],
        }
    return found


def _moved(base: Factors, tuned: Factors, count: int) -> dict[str, float]:
    """Returns how far a matrix' own singular values and leading directions moved."""
    shared = min(len(base.values), len(tuned.values))
    first, second = (f.values[:shared].astype(np.float64) for f in (base, tuned))
    size = float(np.linalg.norm(first))
    drift = float(np.linalg.norm(second - first))
    pairs = ((name, getattr(base, name), getattr(tuned, name)) for name in ("left", "right"))
    turned = {
        f"rotation_{n}": float(angles(a[:, :count], b[:, :count]).mean()) for n, a, b in pairs
    }
    return {"spectral_drift": drift / size if size else drift, **turned}


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def changed_overlaps(base: StoredModel, tuned: list[StoredModel], place: Place) -> dict[str, Any]:
    """Returns the counts for the overlap of what models of one base changed in a tensor.

    Args:
      base: the model that all of them were made from.
      tuned: two or more.
      place: of the tensor.

    Returns:
      `num_weights`; `changed` and `squared`, one number per model; `shared` and `dot`, one per pair (i < j, in order).
    """
    pairs = list(itertools.combinations(range(len(tuned)), 2))
    changed, squared = np.zeros(len(tuned), int), np.zeros(len(tuned))
    shared, dots, number = np.zeros(len(pairs), int), np.zeros(len(pairs)), 0
    for first, *others in paired_blocks(*(model.tensor(place) for model in (base, *tuned))):
        masks = [differs(first, other) for other in others]
        updates = [other - first for other in others]
        number += first.size
        changed += [int(mask.sum()) for mask in masks]
        squared += [float(np.square(x, dtype=np.float64).sum()) for x in updates]
        shared += [int((masks[i] & masks[j]).sum()) for i, j in pairs]
        dots += [
            float(np.multiply(updates[i], updates[j], dtype=np.float64).sum()) for i, j in pairs
        ]
    sizes = {"num_weights": number, "changed": changed.tolist(), "squared": squared.tolist()}
    return sizes | {"shared": shared.tolist(), "dot": dots.tolist()}
