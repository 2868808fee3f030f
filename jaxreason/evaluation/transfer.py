"""The transferability index of a table of scores or of a finished study: transfer.json."""

import dataclasses
import logging
from typing import Annotated, Literal

from etils import epath

from jaxreason.config import (
    ConfigError,
    above,
    at_least,
    between,
    check_ranges,
    nearest,
    to_dict,
    unclaimed,
)
from jaxreason.evaluation.index_rows import index_rows, sensitivity_rows
from jaxreason.evaluation.transfer_index import DEGREES, pooled_scale
from jaxreason.evaluation.transfer_inputs import (
    ALL_SEEDS,
    Comparison,
    TableConfig,
    study_comparisons,
    table_comparisons,
)
from jaxreason.results.groups import MATH, groups_in_order
from jaxreason.results.study_files import write_transfer

_LOG = logging.getLogger(__name__)
NO_INDEX = f"transfer: the index is undefined, since it compares {MATH} with other groups and none was measured."


@unclaimed("the index is made anew at each start")
@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """The settings of the transferability index."""

    modes: tuple[str, ...] = ("v1_relative", "v2_literal", "v2_pooled", "paper_scales")
    """Keys of `transfer_index.DEGREES`; each one gives a set of rows."""
    scales: dict[str, Annotated[float, above(0)]] = dataclasses.field(default_factory=dict)
    """The standard deviation of the gains of each group, for `v2_pooled` (only their ratios affect TI); if empty, it is
    pooled over the compared models, for each decoding.
    """
    confidence: Annotated[float, between(0, 1)] = 0.95
    """The confidence level of the bootstrap intervals."""
    resamples: Annotated[int, at_least(1)] = 2000
    """Number of resamples of the bootstrap."""
    seed: Annotated[int, at_least(0)] = 0
    """The seed of the bootstrap."""
    match_tolerance: Annotated[float, at_least(0)] = 0.15
    """Difference in points up to which a published value counts as reproduced."""
    table: TableConfig | None = None
    """Published scores to read; None for a study's folder."""
    variant: Literal["robust", "paper"] = "robust"
    """Which scores of a study are read: "robust" or "paper"."""


def run_transfer(config: TransferConfig, folder: epath.PathLike) -> list[dict]:
    """Computes every index, with and without each benchmark, writes transfer.json and returns the index's rows.

    docs/evaluation_files.md describes the file.

    Args:
      folder: the study's folder; with `config.table`, only the folder to write to.

    Raises:
      ConfigError, ValueError: settings or files cannot be used; the message names them.
    """
    check_transfer(config)
    folder = epath.Path(folder)
    comparisons = (
        study_comparisons(folder, config.variant)
        if config.table is None
        else table_comparisons(config.table)
    )
    rows, scales = index_of(config, comparisons)
    sensitivity = [
        row
        for decoding, members in _by_decoding(comparisons).items()
        for row in sensitivity_rows(members, config.modes, scales[decoding or "table"])
    ]
    write_transfer(folder, to_dict(config), scales, rows, sensitivity)
    if not rows:
        _LOG.warning(NO_INDEX)
    return rows


def index_of(
    config: TransferConfig, comparisons: list[Comparison]
) -> tuple[list[dict], dict[str, dict[str, float]]]:
    """Returns the rows of every comparison, and for each decoding the deviations of the gains of its groups."""
    rows, scales = [], {}
    for decoding, members in _by_decoding(comparisons).items():
        scales[decoding or "table"] = used = _scales(config, members)
        rows += [row for member in members for row in _rows(config, member, used)]
    return rows, scales


def _by_decoding(comparisons: list[Comparison]) -> dict[str | None, list[Comparison]]:
    found: dict[str | None, list[Comparison]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.decoding, []).append(comparison)
    return found


def run_study_transfer(config: TransferConfig, folder: epath.PathLike) -> list[dict]:
    """Does what `run_transfer` does, for the study in `folder`, whatever table the recipe has."""
    return run_transfer(dataclasses.replace(config, table=None), folder)


def check_transfer(config: TransferConfig) -> None:
    """Refuses settings with which no table of scores could be read.

    Raises:
      ConfigError: the message has the field, the expected values and the given one.
    """
    for mode in config.modes:
        if mode not in DEGREES:
            raise ConfigError(
                f"transfer.modes: no mode {mode!r}{nearest(mode, DEGREES) or '.'} "
                f"Valid: {', '.join(DEGREES)}."
            )
    check_ranges(config, "transfer")
    if config.table is not None:
        _check_table(config.table)


def _check_table(table: TableConfig) -> None:
    if MATH not in table.groups:
        raise ConfigError(
            f"transfer.table.groups: expected a group {MATH!r}, got {', '.join(table.groups)}."
        )
    if table.published_columns and table.published_mode not in DEGREES:
        raise ConfigError(f"transfer.table.published_mode: expected one of {', '.join(DEGREES)}.")
    for name in (name for names in table.groups.values() for name in names):
        if table.sizes and not table.sizes.get(name, 0) > 0:
            raise ConfigError(f"transfer.table.sizes.{name}: expected the number of its questions.")


def _scales(config: TransferConfig, members: list[Comparison]) -> dict[str, float]:
    names = dict.fromkeys(name for member in members for name in member.groups)
    if config.scales:
        missing = [name for name in names if name not in config.scales]
        if missing:
            raise ConfigError(
                f"transfer.scales: no value for {', '.join(missing)} "
                "(give all groups, or none to pool)."
            )
        return {name: config.scales[name] for name in names}
    single = [m for m in members if m.seed != ALL_SEEDS]
    gains = {
        name: [m.groups[name].tuned - m.groups[name].base for m in single if name in m.groups]
        for name in names
    }
    return {name: pooled_scale(values) for name, values in gains.items()}


def _rows(config: TransferConfig, comparison: Comparison, scales: dict[str, float]) -> list[dict]:
    how = config.modes, scales, config.confidence, config.resamples, config.seed
    return [row | _published(config, comparison, row) for row in index_rows(comparison, *how)]


def _published(config: TransferConfig, comparison: Comparison, row: dict) -> dict:
    value = comparison.published.get(row["group"])
    if value is None or config.table is None or row["mode"] != config.table.published_mode:
        return {"published": None, "meets_published": None}
    met = row["ti"] is not None and abs(row["ti"] - value) <= config.match_tolerance
    return {"published": value, "meets_published": met}


def format_table(rows: list[dict]) -> str:
    """Returns the rows as text, a line for a model, seed, decoding and mode; `!` means: not as published."""
    if not rows:
        return NO_INDEX
    groups = groups_in_order(row["group"] for row in rows)
    lines = {}
    for row in rows:
        key = tuple(
            "" if row[k] is None else str(row[k]) for k in ("model", "seed", "decoding", "mode")
        )
        lines.setdefault(key, {})[row["group"]] = row
    header = ["model", "seed", "decoding", "mode", "DI math"] + [f"TI {group}" for group in groups]
    table = [header] + [
        [*key, _degree_cell(cells), *(_cell(cells.get(g)) for g in groups)]
        for key, cells in lines.items()
    ]
    kept = [i for i in range(len(header)) if any(line[i] for line in table[1:])]
    widths = [max(len(line[i]) for line in table) for i in kept]
    text = [
        "  ".join(line[i].ljust(w) for i, w in zip(kept, widths, strict=True)).rstrip()
        for line in table
    ]
    notes = sorted({f"undefined: {row['undefined']}" for row in rows if row["undefined"]})
    if any(row["note"] and row["undefined_share"] for row in rows):
        notes.append("?: no end, the index is undefined in too many of the resamples")
    missed = len({row["model"] for row in rows if row["meets_published"] is False})
    if missed:
        notes.append(f"! the published value is not met ({missed} models)")
    return "\n".join(text + notes)


def _degree_cell(cells: dict[str, dict]) -> str:
    degree = next(iter(cells.values()))["di_math"]
    return "" if degree is None else f"{degree:.3f}"


def _cell(row: dict | None) -> str:
    if row is None:
        return ""
    if row["ti"] is None:
        return "undefined"
    text = f"{row['ti']:.1f}"
    if row["low"] is not None or row["high"] is not None or row["undefined_share"] is not None:
        ends = ("?" if end is None else f"{end:.1f}" for end in (row["low"], row["high"]))
        text += f" [{', '.join(ends)}]"
    if row["published"] is not None:
        text += f" (published {row['published']:.1f}{'' if row['meets_published'] else ' !'})"
    return text
