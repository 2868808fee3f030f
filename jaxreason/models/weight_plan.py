"""Which weight is in which file of an exported folder, and how it is taken from the parameters."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from jaxreason.models.decoder import Model, abstract_params
from jaxreason.models.families import WEIGHTS
from jaxreason.models.weight_files import SINGLE_FILE
from jaxreason.sharding import to_host


def dotted(path: tuple) -> str:
    """The name of a parameter from its path in the tree."""
    return ".".join(entry.key for entry in path)


def weight_shapes(shapes: dict[str, Any]) -> dict[tuple[str, int], tuple[int, ...]]:
    """Shape of each weight by (dotted name, layer), in the order of the table."""
    flat = {dotted(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    depth = next(shape[0] for name, shape in flat.items() if name.startswith("layers."))
    outer = {(name, 0): shape for name, shape in flat.items() if not name.startswith("layers.")}
    inner = {name: shape[1:] for name, shape in flat.items() if name.startswith("layers.")}
    return outer | {(name, layer): inner[name] for layer in range(depth) for name in inner}


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
        """The tensor as the file has it, in `dtype` (None: its own); every process must call it."""
        value = params
        for part in self.path.split("."):
            value = value[part]
        value = np.asarray(to_host(value if self.layer is None else _take_layer(value, self.layer)))
        value = value if dtype is None else value.astype(jnp.dtype(dtype))
        return np.ascontiguousarray(value.T if self.transposed else value)


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


def index_of(files: dict[str, list[StoredWeight]]) -> dict[str, Any]:
    """The value of the index file: which tensor is in which file."""
    weights = {weight.key: name for name, group in files.items() for weight in group}
    total = sum(weight.num_bytes for group in files.values() for weight in group)
    return {"metadata": {"total_size": total}, "weight_map": weights}
