"""Weight drift of models that are on devices, as the checkpoints of a run are: how far the parameters moved, and how
many of them moved beyond the resolution of bfloat16. Two folders are compared from the disk (`weight_run`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.analysis.metric_types import Prepared
from jaxreason.errors import UserError
from jaxreason.models.stored_tensors import kind_of
from jaxreason.sharding import leaves_by_path, to_host


class WeightChange(NamedTuple):
    """Sums over one array, or over one layer's part of it."""

    squared_change: float
    squared_base: float
    num_changed: int
    num_weights: int


def compare_weights(base: dict[str, Any], tuned: dict[str, Any]) -> dict[str, list[WeightChange]]:
    """Returns sums of every parameter array by its path (`layers.mlp.up_proj.kernel`), one per layer if layers are
    stacked.

    Raises:
      ValueError: the models do not have the same parameters.
    """
    base, tuned = leaves_by_path(base), leaves_by_path(tuned)
    _check_same(base, tuned)
    return {path: _changes(path, base[path], tuned[path]) for path in base}


def _check_same(base: dict, tuned: dict) -> None:
    different = sorted(set(base) ^ set(tuned))
    if different:
        raise UserError(
            "weights: the models do not have the same parameters; only one has "
            f"{', '.join(different[:5])}."
        )
    for path, leaf in base.items():
        if leaf.shape != tuned[path].shape:
            raise UserError(
                f"weights: {path} has shape {leaf.shape} in the base, "
                f"{tuned[path].shape} in the tuned model."
            )


@jax.jit
def _sums(base: jax.Array, tuned: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    # Sums run over all dims but the first, so that no count overflows int32; the rest is added up on the host.
    dims = tuple(range(1, base.ndim))
    exact_base, exact_tuned = base.astype(jnp.float32), tuned.astype(jnp.float32)
    changed = base.astype(jnp.bfloat16) != tuned.astype(jnp.bfloat16)
    return (
        jnp.square(exact_tuned - exact_base).sum(dims),
        jnp.square(exact_base).sum(dims),
        changed.sum(dims, dtype=jnp.int32),
    )


def _changes(path: str, base: jax.Array, tuned: jax.Array) -> list[WeightChange]:
    change, size, changed = (np.atleast_1d(part) for part in to_host(_sums(base, tuned)))
    change, size = change.astype(np.float64), size.astype(np.float64)
    if not path.startswith("layers."):
        return [WeightChange(float(change.sum()), float(size.sum()), int(changed.sum()), base.size)]
    each = base.size // len(change)
    rows = zip(change, size, changed, strict=True)
    return [WeightChange(float(c), float(s), int(n), each) for c, s, n in rows]


def weight_drift_values(changes: list[WeightChange]) -> dict[str, float]:
    """Returns `relative_l2` = |tuned - base| / |base|, `update_l2` = |tuned - base|, and `changed_share`.

    The last one is the share of weights that differ after rounding to bf16.
    """
    change, size, changed, number = (sum(column) for column in zip(*changes, strict=True))
    return {
        "relative_l2": float(np.sqrt(change / size)) if size else float(np.sqrt(change)),
        "update_l2": float(np.sqrt(change)),
        "changed_share": changed / number,
    }


def weight_drift(arrays: dict[str, list[WeightChange]]) -> Prepared:
    """Weight drift of the whole model; details by kind of matrix and by layer. It depends on no text."""
    everything = [change for changes in arrays.values() for change in changes]
    kinds: dict[str, list[WeightChange]] = {}
    for path, changes in arrays.items():
        kinds.setdefault(kind_of((path, 0)), []).extend(changes)
    stacked = [changes for path, changes in arrays.items() if path.startswith("layers.")]
    layers = [list(layer) for layer in zip(*stacked, strict=True)]
    details = {
        "num_weights": sum(change.num_weights for change in everything),
        "by_kind": {kind: weight_drift_values(changes) for kind, changes in sorted(kinds.items())},
        "by_layer": [weight_drift_values(layer) for layer in layers],
    }
    return Prepared(lambda texts: weight_drift_values(everything), details)
