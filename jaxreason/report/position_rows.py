"""How drift runs along a reply: rows of summary.json, from the positions in analysis/token_kl.json."""

from typing import Any

import numpy as np

from jaxreason.report.files import Arm, Reader, Study
from jaxreason.results.drift_files import read_drift

METRIC = "token_kl"
CURVES = ("kl_forward", "rank_shift", "shifted_share")


def position_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """By arm, source, group and name: `points`, each the mean over the tokens, of all seeds and benchmarks, between the
    positions `first` and `last` of a reply (counted from 1).
    """
    rows = []
    for arm in study.arms:
        units = [unit for seed in arm.seeds for unit in _units(reader, arm, seed)]
        for source in dict.fromkeys(unit["source"] for unit in units):
            for group in study.group_names():
                members = [
                    unit
                    for unit in units
                    if unit["source"] == source and study.groups.get(unit["benchmark"]) == group
                ]
                rows += _rows({"arm": arm.name, "source": source, "group": group}, members)
    return rows


def _units(reader: Reader, arm: Arm, seed: int) -> list[dict]:
    found = read_drift(reader.folder / arm.folder(seed), METRIC, reader.read)
    units = [] if found is None else found["details"].get("units", ())
    return [unit for unit in units if unit.get("by_position")]


def _rows(where: dict[str, str], units: list[dict]) -> list[dict]:
    spans: dict[tuple[int, int], list[dict]] = {}
    for unit in units:
        for part in unit["by_position"]:
            spans.setdefault((part["first"], part["last"]), []).append(part)
    rows = []
    for name in CURVES:
        there = {s: [part for part in parts if name in part] for s, parts in sorted(spans.items())}
        points = [_point(span, parts, name) for span, parts in there.items() if parts]
        rows += [where | {"name": name, "points": points}] if points else []
    return rows


def _point(span: tuple[int, int], parts: list[dict], name: str) -> dict[str, float]:
    counts = [part["num_tokens"] for part in parts]
    mean = float(np.average([part[name] for part in parts], weights=counts))
    return {"first": span[0], "last": span[1], "num_tokens": sum(counts), "mean": mean}
