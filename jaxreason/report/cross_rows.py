"""Scores of cross-sampled replies: rows of summary.json, from cross_sampling/<benchmark>.json of every run."""

from typing import Any

import numpy as np

from jaxreason.report.files import Reader, Study
from jaxreason.results.cross_files import read_results

ABOUT = ("benchmark", "label", "group", "decoding", "variant", "rule", "threshold", "questions")


def cross_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """By arm, benchmark, leading model and budget (null: no end): the mean over seeds in points, and each seed's own.

    Raises:
      UserError: a file is broken.
    """
    found: dict[tuple, list[dict]] = {}
    for arm, seed in study.runs():
        for value in read_results(reader.folder / arm.folder(seed), reader.read):
            for row in value["rows"]:
                key = arm.name, value["benchmark"], row["leads"], row["budget"]
                about = {name: value.get(name) for name in ABOUT}
                found.setdefault(key, []).append(about | row | {"seed": seed})
    return [_row(*key, members) for key, members in found.items()]


def _row(arm: str, benchmark: str, leads: str, budget: int | None, members: list[dict]) -> dict:
    scored = [member for member in members if member["mean"] is not None]
    about = {name: members[0][name] for name in ABOUT}
    where = {"arm": arm, "leads": leads, "budget": budget}
    means = {name: _mean([m[name] for m in members]) for name in ("taken", "taken_share", "tokens")}
    seeds = [
        {"seed": m["seed"], **{name: 100 * m[name] for name in ("mean", "low", "high")}}
        for m in scored
    ]
    return about | where | means | {"mean": _mean([s["mean"] for s in seeds]), "seeds": seeds}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
