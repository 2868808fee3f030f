"""Weights of every arm, as its seeds' files have them, and what runs changed alike: parts of summary.json."""

from typing import Any

import numpy as np

from jaxreason.report.files import Arm, Reader, Study
from jaxreason.results.drift_files import read_drift
from jaxreason.results.overlap_file import read_overlap


def weight_space_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """A row an arm: means over its seeds, as a whole, by kind of parameter and by layer, and its updates' spectrum."""
    rows = [_row(reader, arm) for arm in study.arms]
    return [row for row in rows if row is not None]


def _row(reader: Reader, arm: Arm) -> dict[str, Any] | None:
    found = {}
    for seed in arm.seeds:
        value = read_drift(reader.folder / arm.folder(seed), "weights", reader.read)
        if value is not None and "whole" in value["details"]:  # of models on devices there is less
            found[seed] = value["details"]
    if not found:
        return None
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one["by_kind"]))
    depth = min(len(one["by_layer"]) for one in found.values())
    return {
        "arm": arm.name,
        "seeds": list(found),
        "whole": _mean([one["whole"] for one in found.values()]),
        "by_kind": {
            kind: _mean([one["by_kind"][kind] for one in found.values() if kind in one["by_kind"]])
            for kind in kinds
        },
        "by_layer": [_mean([one["by_layer"][n] for one in found.values()]) for n in range(depth)],
        "spectrum": {name: _spectrum(found, name) for name in ("values", "base_values")},
    }


def _mean(parts: list[dict[str, float]]) -> dict[str, float]:
    """Of every quantity that all of them have, and what a reader compares: what is left, and chance."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    found = {name: float(np.mean([part[name] for part in parts])) for name in names}
    found["unchanged_share"] = 1 - found["changed_share"]
    for side in ("left", "right"):
        if f"overlap_{side}" in found:
            found[f"over_chance_{side}"] = found[f"overlap_{side}"] / found[f"chance_{side}"]
    return found


def _spectrum(found: dict[int, dict], name: str) -> list[float]:
    """Leading singular values over the first, a mean over the matrices of all seeds that moved."""
    moved = [t["directions"] for one in found.values() for t in one["tensors"] if t["directions"]]
    values = [np.array(one[name]) for one in moved if one[name][0]]
    if not values:
        return []
    shortest = min(map(len, values))
    return [float(x) for x in np.mean([v[:shortest] / v[0] for v in values], axis=0)]


def overlap_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Of each base the runs that were compared, and a row a pair of them.

    Raises:
      UserError: the file is broken.
    """
    value = read_overlap(reader.folder, reader.read)
    known = {arm.name for arm in study.arms}
    if value is None:
        return []
    bases = [base for base in value["bases"] if all(m["arm"] in known for m in base["members"])]
    kept = ("jaccard", "jaccard_chance_by_tensor", "cosine", "first_in_second", "second_in_first")
    return [
        {
            "members": [{"arm": m["arm"], "seed": m["seed"]} for m in base["members"]],
            "pairs": [{k: p[k] for k in ("first", "second", *kept)} for p in base["pairs"]],
        }
        for base in bases
    ]
