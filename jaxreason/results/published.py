"""The published numbers of Huan et al. 2025 (arXiv 2507.00432 v2): the tables in `paper/` and their only reader."""

import csv
import functools
import pathlib
from typing import NamedTuple

from jaxreason.results.groups import GroupName

FOLDER = pathlib.Path(__file__).parent / "paper"
ROUNDING = 0.15  # Of an index whose scores have one decimal.
PCA_SHIFT, KL, RANK_SHIFT = "pca_shift", "kl", "rank_shift"  # Metrics in drift.csv.


class PublishedModel(NamedTuple):
    """A tuned model of the paper. `published_scores` and `base` name rows of scores.csv; "" if it has no scores."""

    name: str
    scores: str
    base: str
    method: str
    size: str
    family: str
    path: str  # Name on the hub; "" if it was not released.
    base_path: str

    @property
    def traits(self) -> dict[str, str]:
        """The traits by which a report may group it."""
        return {"method": self.method, "size": self.size, "family": self.family}


class PublishedBenchmark(NamedTuple):
    """A benchmark of the paper; `source` is the table of its scores."""

    name: str
    label: str
    group: GroupName
    questions: int
    source: str


class PublishedIndex(NamedTuple):
    """The transferability index of a model by group, as published and as the published scores give it."""

    values: dict[str, float]
    recomputed: dict[str, float]

    def follows(self, group: str) -> bool:
        """Returns whether the index of a group follows from the published scores, up to their rounding."""
        return abs(self.values[group] - self.recomputed[group]) < ROUNDING


class PublishedDrift(NamedTuple):
    """A published distance of a tuned model from its base, on a benchmark or as the mean of a group (`where`)."""

    model: str
    metric: str
    where: str
    value: float
    source: str


@functools.cache
def published_models() -> dict[str, PublishedModel]:
    """Returns the tuned models by name."""
    return {row["model"]: PublishedModel(*row.values()) for row in _rows("models.csv")}


@functools.cache
def published_benchmarks() -> dict[str, PublishedBenchmark]:
    """Returns the twelve benchmarks by name, in the paper's order."""
    return {
        row["benchmark"]: PublishedBenchmark(
            *(row["benchmark"], row["label"], row["group"], int(row["questions"]), row["source"])
        )
        for row in _rows("benchmarks.csv")
    }


@functools.cache
def published_scores() -> dict[str, dict[str, float]]:
    """Returns points by benchmark, for each model and base by its name in the paper's tables 9 to 11."""
    return {
        row["model"]: {name: float(row[name]) for name in published_benchmarks()}
        for row in _rows("scores.csv")
    }


@functools.cache
def published_indices() -> dict[str, PublishedIndex]:
    """Returns the index (tables 1 and 5) of each tuned model that has one."""
    groups = {"other": "other", "non_reasoning": "non"}
    return {
        row["model"]: PublishedIndex(
            {group: float(row[f"published_{column}"]) for group, column in groups.items()},
            {group: float(row[f"recomputed_{column}"]) for group, column in groups.items()},
        )
        for row in _rows("transferability.csv")
    }


@functools.cache
def published_drifts() -> tuple[PublishedDrift, ...]:
    """Returns every published PCA shift, KL and rank shift."""
    return tuple(
        PublishedDrift(
            row["model"], row["metric"], row["where"], float(row["value"]), row["source"]
        )
        for row in _rows("drift.csv")
    )


def _rows(name: str) -> list[dict[str, str]]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
