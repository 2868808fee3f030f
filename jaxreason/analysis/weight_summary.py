"""What analysis/weights.json says of the tensors of two folders: as a whole, by kind of matrix and by layer."""

import math
from collections.abc import Callable
from typing import Any

from jaxreason.analysis.measured import Prepared

# Means over matrices: where none of them moved, they are left out.
MEANS = (
    *("effective_rank", "stable_rank", "top_1", "top_10", "rank_share"),
    *("angle_left", "angle_right", "overlap_left", "overlap_right"),
    *("energy_left", "energy_right", "chance_left", "chance_right"),
    *("spectral_drift", "rotation_left", "rotation_right"),
)


def weight_details(records: list[dict[str, Any]]) -> Prepared:
    """Values over all parameters, and details by kind, by layer and by tensor.

    Args:
      records: as `compare_tensor` gives them.
    """
    whole = _of(records)
    values = {name: whole[name] for name in ("relative_l2", "changed_share", "update_l2")}
    moved = ("spectral_drift", "rotation_left", "rotation_right")
    values |= {name: whole.get(name, 0.0) for name in moved}
    details = {
        "num_weights": sum(record["num_weights"] for record in records),
        "whole": whole,
        "by_kind": _by(records, lambda record: record["kind"]),
        "by_layer": list(_by([r for r in records if r["layer"] is not None], _layer).values()),
        "tensors": records,
    }
    return Prepared(lambda texts: values, details)


def _layer(record: dict[str, Any]) -> int:
    return record["layer"]


def _by(records: list[dict], key: Callable[[dict], Any]) -> dict[Any, dict[str, float]]:
    groups: dict[Any, list[dict]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: _of(groups[name]) for name in sorted(groups)}


def _of(records: list[dict]) -> dict[str, float]:
    change, size = (sum(r[name] for r in records) for name in ("squared_change", "squared_base"))
    changed, number = (sum(r[name] for r in records) for name in ("num_changed", "num_weights"))
    found = {
        "relative_l2": math.sqrt(change / size) if size else math.sqrt(change),
        "update_l2": math.sqrt(change),
        "changed_share": changed / number,
    }
    moved = [_with_share(r["directions"]) for r in records if r["directions"]]
    for name in MEANS:
        there = [one[name] for one in moved if name in one]
        found |= {name: sum(there) / len(there)} if there else {}
    return found


def _with_share(moved: dict[str, Any]) -> dict[str, Any]:
    """With the effective rank as a share of the directions that the matrix has."""
    rank = moved.get("effective_rank")
    return moved if rank is None else moved | {"rank_share": rank / moved["side"]}
