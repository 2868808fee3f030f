"""Pairs of base and tuned model for the transferability index, from a table or from a study."""

import csv
import dataclasses
import functools
import itertools
import math
from typing import Annotated

import numpy as np
from etils import epath
from jaxtyping import Float

from jaxreason.config import ConfigError, at_least, nearest, unclaimed
from jaxreason.errors import UserError
from jaxreason.results.clusters import Clustered, cluster, means
from jaxreason.results.grade_files import read_sample_scores
from jaxreason.results.score_files import EVALUATION, read_score_rows, sample_key_of
from jaxreason.results.statistics import resampled_means, resampled_seeds, wilson_end
from jaxreason.results.study_files import base_of, bases_of, read_manifest, run_folder

ALL_SEEDS = "all"


@unclaimed("the index is made anew at each start")
@dataclasses.dataclass(frozen=True)
class TableConfig:
    """Published scores: a CSV with one row per model and one column per benchmark, and a CSV of pairs of its models."""

    scores: str
    """A CSV of scores in points, 0 to 100: one row per model, one column per benchmark."""
    model_column: str
    """The column with the model's name."""
    groups: dict[str, tuple[str, ...]]
    """The benchmark columns of each group; `math` is the group with which the others are compared."""
    sizes: dict[str, Annotated[int, at_least(1)]]
    """Number of questions of each benchmark, for intervals by binomial resampling; empty for no intervals."""
    pairs: str
    """A CSV of pairs of these models."""
    label_column: str
    """The column with the name of the pair."""
    tuned_column: str
    """The column with the tuned model."""
    base_column: str
    """The column with the base."""
    published_columns: dict[str, str]
    """Maps a group to the column with published values to check against; may be empty."""
    published_mode: str
    """The mode of the published values."""


@dataclasses.dataclass(frozen=True)
class GroupScores:
    """Scores in points on the benchmarks of a group, and the data that resampling needs.

    `items` has the samples of each benchmark (base first, then the seeds); `sizes` only has the number of questions.
    With neither there are no intervals.
    """

    names: tuple[str, ...]
    base: Float[np.ndarray, " b"]
    tuned: Float[np.ndarray, " b"]
    sizes: Float[np.ndarray, " b"] | None
    items: tuple[Clustered, ...] | None


@dataclasses.dataclass(frozen=True, eq=False)  # So that it can be a key.
class Comparison:
    """One tuned model (or all seeds of an arm) against its base."""

    model: str
    arm: str
    base: str
    seed: int | str | None
    decoding: str | None
    groups: dict[str, GroupScores]
    published: dict[str, float]


@functools.lru_cache(maxsize=256)  # A trajectory is made anew with each of its steps.
def resamples_of(
    comparison: Comparison, num: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the result of `resample` with the generator of a seed."""
    return resample(comparison, num, np.random.default_rng(seed))


def resample(
    comparison: Comparison, num: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns base and tuned scores [R, b] of each group in `num` resamples; a group without data has no entry.

    With items, questions are resampled together for base and tuned (paired), and so are the seeds if there are several.
    With sizes only, every score is redrawn as a binomial share of its questions, base and tuned separately. A score
    that never varies (all right, or all wrong) is drawn from the ends of Wilson's interval.
    """
    state = rng.bit_generator.seed_seq.spawn(1)[0]
    draws = {}
    for name, group in comparison.groups.items():
        if group.items is not None:
            draws[name] = _resample_items(group.items, num, rng, state)
        elif group.sizes is not None:
            draws[name] = tuple(
                _binomial(s, group.sizes, num, rng) for s in (group.base, group.tuned)
            )
    return draws


def _resample_items(
    items, num: int, rng: np.random.Generator, seeds_state
) -> tuple[np.ndarray, np.ndarray]:
    base, tuned = [], []
    for scores in items:
        models = [0, *[1] * (scores.sums.shape[1] - 1)]
        drawn = 100 * resampled_means(scores, num, rng, models)
        base.append(drawn[:, 0])
        # Every benchmark uses the same choice of seeds: a seed is a model, and may be good or bad on all of them.
        tuned.append(resampled_seeds(drawn[:, 1:], np.random.default_rng(seeds_state)))
    return np.stack(base, axis=1), np.stack(tuned, axis=1)


def _binomial(
    points: np.ndarray, sizes: np.ndarray, num: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns shares of that many questions; 0 and 100, which never vary, are drawn as in `resampled_means`."""
    shares = points / 100
    drawn = rng.binomial(sizes.astype(int), shares, size=(num, len(points))) / sizes
    ends = wilson_end(shares, sizes, rng.normal(size=(num, len(points))))
    return 100 * np.where((shares == 0) | (shares == 1), ends, drawn)


def table_comparisons(config: TableConfig) -> list[Comparison]:
    """Returns the pairs of a table of published scores.

    Raises:
      ConfigError, ValueError: a missing file or column, a model without a row, or a score outside 0..100.
    """
    scores = _scores_by_model(config)
    pairs = _read_csv(config.pairs, "transfer.table.pairs")
    needed = (
        config.label_column,
        config.tuned_column,
        config.base_column,
        *config.published_columns.values(),
    )
    _check_columns(config.pairs, pairs, needed)
    return [_table_comparison(config, scores, number, row) for number, row in pairs.items()]


def _table_comparison(
    config: TableConfig, scores: dict[str, dict[str, float]], number: int, row: dict
) -> Comparison:
    base, tuned = row[config.base_column], row[config.tuned_column]
    for name in (base, tuned):
        if name not in scores:
            raise UserError(
                f"{config.scores}: no row for model {name!r}, which {config.pairs} names"
                f"{nearest(name, scores)}"
            )
    groups = {}
    for group, names in config.groups.items():
        sizes = np.array([config.sizes[name] for name in names], float) if config.sizes else None
        columns = (np.array([scores[model][name] for name in names]) for model in (base, tuned))
        groups[group] = GroupScores(names, *columns, sizes, None)
    published = {
        group: _number(config.pairs, row, number, column)
        for group, column in config.published_columns.items()
    }
    return Comparison(row[config.label_column], tuned, base, None, None, groups, published)


def _scores_by_model(config: TableConfig) -> dict[str, dict[str, float]]:
    rows = _read_csv(config.scores, "transfer.table.scores")
    names = [name for group in config.groups.values() for name in group]
    _check_columns(config.scores, rows, (config.model_column, *names))
    found, places = {}, {}
    for number, row in rows.items():
        model = row[config.model_column]
        earlier = places.setdefault(model, number)
        if earlier != number:
            raise UserError(
                f"{config.scores}, row {number}: {model!r} is in row {earlier} already."
            )
        found[model] = {name: _points(config.scores, row, number, name) for name in names}
    return found


def _points(path: str, row: dict, number: int, column: str) -> float:
    value = _number(path, row, number, column)
    if not 0 <= value <= 100:
        raise UserError(
            f"{path}, row {number}, column {column}: expected a score of 0 to 100, got {value}."
        )
    return value


def _number(path: str, row: dict, number: int, column: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"{path}, row {number}, column {column}: expected a number, got {row[column]!r}."
        )
    return value


def _read_csv(path: str, field: str) -> dict[int, dict]:
    """Returns the rows of a CSV by their line in the file, without comments and empty lines."""
    file = epath.Path(path)
    if not file.exists():
        raise ConfigError(f"{field}: {path} not found.")
    text = file.read_text().removeprefix("\ufeff")  # Spreadsheets mark UTF-8 in this way.
    numbered = enumerate(text.split("\n"), start=1)
    lines = {n: line for n, line in numbered if line.strip() and not line.startswith("#")}
    rows = dict(zip([*lines][1:], csv.DictReader(lines.values()), strict=False))
    if not rows:
        raise ConfigError(f"{field}: {path} has no rows.")
    return rows


def _check_columns(path: str, rows: dict[int, dict], needed: tuple[str, ...]) -> None:
    first = next(iter(rows.values()))
    for name in needed:
        if name not in first:
            raise ConfigError(f"{path}: no column {name!r}{nearest(name, first)}")


def study_comparisons(folder: epath.Path, variant: str) -> list[Comparison]:
    """Returns every arm and seed of a finished study against the arm's base, and all seeds of an arm together.

    Args:
      folder: of the study.
      variant: of the benchmarks ("robust", "paper"); benchmarks without it are left out.

    Raises:
      ValueError: an evaluation is missing, or the models were not asked the same questions.
    """
    study = read_manifest(folder)
    models = {base["name"]: base["model"] for base in bases_of(study)}
    comparisons = []
    for decoding, arm in itertools.product(study["decodings"], study["arms"]):
        seeds = [(seed, (seed,)) for seed in arm["seeds"]]
        if len(seeds) > 1:
            seeds.append((ALL_SEEDS, tuple(arm["seeds"])))
        for name, members in seeds:
            tuned = [folder / run_folder(arm["name"], seed) / EVALUATION for seed in members]
            base = base_of(arm)
            groups = compared_groups(folder / base / EVALUATION, tuned, decoding, variant)
            made = Comparison(arm["label"], arm["name"], models[base], name, decoding, groups, {})
            comparisons += [made] if groups else []
    return comparisons


def compared_groups(
    base: epath.Path, tuned: list[epath.Path], decoding: str, variant: str
) -> dict[str, GroupScores]:
    """Returns the scores of finished evaluations of a base and of tuned models by group; none without that decoding.

    Raises:
      UserError: a tuned model lacks a benchmark of the base, or was asked other questions.
    """
    expected = _primary_rows(base, decoding, variant)
    for folder in tuned:
        missing = sorted(set(expected) - set(_primary_rows(folder, decoding, variant)))
        if missing:
            raise UserError(
                f"{folder}: no {decoding} scores of {', '.join(missing)}, which {base} has."
            )
    items: dict[str, dict[str, Clustered]] = {}
    for benchmark, row in expected.items():
        scored = sample_key_of(row), row["grader"], row["metric"], row["weight"]
        scores = cluster([read_sample_scores(folder, *scored) for folder in (base, *tuned)])
        items.setdefault(row["group"], {})[benchmark] = scores
    return {group: _item_group(members) for group, members in items.items()}


def _primary_rows(folder: epath.Path, decoding: str, variant: str) -> dict[str, dict]:
    rows = read_score_rows(folder, variant)
    return {row["benchmark"]: row for row in rows if row["primary"] and row["decoding"] == decoding}


def _item_group(members: dict[str, Clustered]) -> GroupScores:
    points = np.stack([100 * means(scores) for scores in members.values()])
    return GroupScores(
        tuple(members), points[:, 0], points[:, 1:].mean(1), None, tuple(members.values())
    )
