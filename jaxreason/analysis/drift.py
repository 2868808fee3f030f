"""The drift stage: a tuned model against its base on the texts of their evaluations, to
analysis/<metric>.json.

docs/drift.md defines the metrics and the files.
"""

import dataclasses
import logging
import zlib
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxreason.analysis.measure import make_measure, measure_unit
from jaxreason.analysis.measured import Bootstrapped, Measured, Prepared, bootstrap
from jaxreason.analysis.metrics import METRICS
from jaxreason.analysis.origin import Origin, holds_part, is_pending, unit_name
from jaxreason.analysis.texts import Unit, load_units
from jaxreason.analysis.weights import compare_weights
from jaxreason.config import FREE, ConfigError, at_least, between, check_ranges, nearest
from jaxreason.distributed import on_process_zero
from jaxreason.errors import UserError
from jaxreason.interrupt import Interrupt
from jaxreason.models.decoder import Model
from jaxreason.models.huggingface import ModelConfig
from jaxreason.models.model_source import ModelSource
from jaxreason.results.drift_files import (
    read_drift_part,
    remove_drift_parts,
    write_drift,
    write_drift_part,
)
from jaxreason.results.statistics import percentiles
from jaxreason.sharding import check_rows

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DriftConfig:
    """How drift is measured."""

    metrics: Annotated[tuple[str, ...], FREE]  # keys of METRICS
    decoding: str  # whose replies are read
    texts_per_benchmark: Annotated[int, at_least(1)]
    # prompt and reply; longer texts are cut, and counted
    max_length: Annotated[int, at_least(1)]
    batch_size: Annotated[int, at_least(1), FREE]  # rows, over all devices
    logprob_chunk: Annotated[int, at_least(1), FREE]  # positions whose logits exist at a time
    resamples: Annotated[int, at_least(1)]  # of the texts, for intervals
    confidence: Annotated[float, between(0, 1)]
    seed: Annotated[int, at_least(0)]
    # of the benchmarks: it says how they were asked
    variant: Literal["robust", "paper"] = "robust"


def run_drift(
    config: DriftConfig,
    base: ModelConfig,
    tuned: ModelConfig,
    mesh: Mesh,
    workdir: epath.PathLike,
    base_evaluation: epath.PathLike,
    tuned_evaluation: epath.PathLike,
) -> None:
    """`compare` of the models of two folders on the replies of both."""
    check_config(config, mesh)
    folders = {"base": epath.Path(base_evaluation), "tuned": epath.Path(tuned_evaluation)}
    sources = ModelSource.of_folder(base, mesh), ModelSource.of_folder(tuned, mesh)
    compare(config, *sources, mesh, workdir, folders)


def compare(
    config: DriftConfig,
    base: ModelSource,
    tuned: ModelSource,
    mesh: Mesh,
    workdir: epath.PathLike,
    folders: dict[str, epath.Path],
) -> None:
    """Measures every metric that has no file yet, and writes `workdir`/analysis/<metric>.json.

    Args:
      config: what is measured; `check_config` has seen it.
      base: p of the divergences.
      tuned: the other model.
      mesh: where.
      workdir: of the tuned model.
      folders: who replied ("base", "tuned") -> the evaluation whose texts are read.

    Each file says what it was made with. One that was made with the texts of fewer benchmarks is made again, as a study
    that gained a benchmark needs it; any other difference is refused. What was measured of each benchmark is kept in
    analysis/parts until all is done, so that a killed run goes on.

    Raises:
      UserError: settings, evaluations or models that cannot be compared, or files made with others; says which.
      SystemExit: with code 143, after a signal.
    """
    units = _units(config, folders) if _reads_texts(config) else []
    origin = Origin.of(config, base, tuned, units)
    pending = on_process_zero(lambda: [x for x in config.metrics if is_pending(workdir, x, origin)])
    if not pending:
        return
    with Interrupt() as interrupt:
        _measure_all(config, base, tuned, mesh, workdir, units, origin, pending, interrupt)


def _measure_all(config, base, tuned, mesh, workdir, units, origin, pending, interrupt) -> None:
    of_texts = tuple(name for name in pending if METRICS[name].reads == "texts")
    parts = [unit for unit in units if unit.texts] if of_texts else []
    whole = on_process_zero(lambda: [holds_part(workdir, origin, x, of_texts) for x in parts])
    missing = [unit for unit, held in zip(parts, whole, strict=True) if not held]
    texts = sum(len(unit.texts) for unit in units)
    _LOG.info("data: %d texts; to be measured: %s", texts, ", ".join(pending))
    # Two models in one program for each row length, and few batches: layers laid out one by one
    # would take longer to compile than they save.
    base_model, base_params = base.open(unroll=1)
    interrupt.check("Nothing was measured yet.")
    tuned_model, tuned_params = tuned.open(unroll=1)
    check_vocabularies(base.name, base_model, tuned.name, tuned_model)
    measure = make_measure(base_model, tuned_model, config.logprob_chunk)

    def measure_unless_stopped(*arrays):
        interrupt.check("What was measured of whole benchmarks is saved.")
        return measure(*arrays)

    sizes = config.batch_size, config.max_length
    if missing:
        _LOG.info("compiling the comparison, once for each length of texts")
    for unit in missing:
        models = base_params, tuned_params
        measured = measure_unit(measure_unless_stopped, *models, mesh, unit, *sizes)
        made = _part(config, of_texts, unit, measured) | origin.of_part(unit)
        _on_zero(write_drift_part, workdir, unit_name(unit), made)
    interrupt.check("What was measured of whole benchmarks is saved.")
    about = {"base": base.name, "tuned": tuned.name, "decoding": config.decoding}
    about["variant"] = config.variant
    if "weights" in pending:
        changes = compare_weights(base_params, tuned_params)
        made = _weights_file(about, changes) | origin.of_metric("weights")
        _on_zero(write_drift, workdir, "weights", made)

    def write_files() -> None:
        found = {unit: read_drift_part(workdir, unit_name(unit))["metrics"] for unit in parts}
        for name in of_texts:
            made = _texts_file(config, about, name, units, found) | origin.of_metric(name)
            write_drift(workdir, name, made)
        remove_drift_parts(workdir)

    on_process_zero(write_files)


def _units(config: DriftConfig, folders: dict[str, epath.Path]) -> list[Unit]:
    lengths = config.texts_per_benchmark, config.max_length
    return load_units(folders, config.decoding, *lengths, config.variant)


def _reads_texts(config: DriftConfig) -> bool:
    return any(METRICS[name].reads == "texts" for name in config.metrics)


def check_config(config: DriftConfig, mesh: Mesh | None) -> None:
    """Refuses what cannot be measured, before a model is loaded.

    Args:
      config: the recipe's section.
      mesh: where to measure; None where that is not known.

    Raises:
      UserError: with the field, what was expected and what came.
    """
    for name in config.metrics:
        if name not in METRICS:
            raise ConfigError(
                f"drift.metrics: no metric {name!r}{nearest(name, METRICS)} "
                f"Valid: {', '.join(METRICS)}."
            )
    check_ranges(config, "drift")
    if mesh is not None and _reads_texts(config):
        check_rows(mesh, config.batch_size, "drift.batch_size")


def check_vocabularies(base: str, base_model: Model, tuned: str, tuned_model: Model) -> None:
    """Refuses models, given with their names, whose distributions cannot be compared.

    Raises:
      UserError: their vocabularies differ in size.
    """
    sizes = base_model.architecture.vocab_size, tuned_model.architecture.vocab_size
    if sizes[0] != sizes[1]:
        raise UserError(
            f"drift: {base} has a vocabulary of {sizes[0]} tokens, {tuned} one of "
            f"{sizes[1]}; distributions over different vocabularies have no divergence."
        )


def _on_zero(write: Callable[..., None], *arguments) -> None:
    if jax.process_index() == 0:
        write(*arguments)


def _part(
    config: DriftConfig, metrics: tuple[str, ...], unit: Unit, measured: Measured
) -> dict[str, dict]:
    """Values, resampled values and details of metrics of texts, for one unit."""
    # By benchmark and not by source or run: the same items are drawn together wherever they are
    # read.
    seed = (config.seed, zlib.crc32(unit.benchmark.encode()))
    result = {}
    for name in metrics:
        prepared: Prepared = METRICS[name].prepare(measured)
        found = bootstrap(prepared, len(unit.texts), config.resamples, seed)
        result[name] = {
            "values": found.values,
            "draws": {key: _rounded(draws) for key, draws in found.draws.items()},
            "details": prepared.details,
        }
    return {"metrics": result}


def _rounded(draws: np.ndarray) -> list[float]:
    return [float(f"{draw:.6g}") for draw in draws]


def _texts_file(
    config: DriftConfig, about: dict, metric: str, units: list[Unit], found: dict[Unit, dict]
) -> dict:
    rows, groups = [], {}
    for unit, part in found.items():
        part = part[metric]
        where = {"benchmark": unit.benchmark, "group": unit.group, "source": unit.source}
        draws = {name: np.array(values) for name, values in part["draws"].items()}
        rows += _rows(
            where | {"num_texts": len(unit.texts)},
            Bootstrapped(part["values"], draws),
            config.confidence,
        )
        groups.setdefault((unit.group, unit.source), []).append(Bootstrapped(part["values"], draws))
    details = [
        {
            "benchmark": u.benchmark,
            "source": u.source,
            "num_texts": len(u.texts),
            "num_cut": u.num_cut,
        }
        | {"num_dropped": u.num_dropped, **(found[u][metric]["details"] if u in found else {})}
        for u in units
    ]
    return {
        "metric": metric,
        **about,
        "confidence": config.confidence,
        "rows": rows,
        "groups": [
            row
            for key, members in groups.items()
            for row in _group_rows(*key, members, config.confidence)
        ],
        "details": {"units": details},
    }


def _rows(where: dict, found: Bootstrapped, confidence: float) -> list[dict]:
    rows = []
    for name, value in found.values.items():
        low, high = percentiles(found.draws[name], confidence)
        rows.append(where | {"name": name, "value": value, "low": low, "high": high})
    return rows


def _group_rows(
    group: str, source: str, members: list[Bootstrapped], confidence: float
) -> Iterable[dict]:
    """The mean over the benchmarks of a group in which a metric is defined, whose texts are resampled
    independently; draws kept for the report.
    """
    members = [member for member in members if member.values]
    if not members:
        return []
    names = members[0].values
    whole = Bootstrapped(
        {name: float(np.mean([member.values[name] for member in members])) for name in names},
        {name: np.mean([member.draws[name] for member in members], axis=0) for name in names},
    )
    where = {"group": group, "source": source, "num_benchmarks": len(members)}
    return [
        row | {"draws": _rounded(whole.draws[row["name"]])}
        for row in _rows(where, whole, confidence)
    ]


def _weights_file(about: dict, changes: dict) -> dict:
    prepared = METRICS["weights"].prepare(changes)
    where = {"benchmark": None, "group": None, "source": None, "low": None, "high": None}
    values = prepared.statistic(np.arange(0))
    rows = [where | {"name": name, "value": value} for name, value in values.items()]
    return {"metric": "weights", **about, "rows": rows, "groups": [], "details": prepared.details}
