"""Finds training questions that also occur in the recipe's benchmarks. They are left out, and the report says so.

Training code knows nothing of benchmarks. The questions to leave out are written into the run's folder, and the
settings of its datasets name that file.
"""

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

import ml_collections
from etils import epath

from jaxreason.config import ConfigError, nearest, parse, unclaimed
from jaxreason.data.decontamination import decontaminate
from jaxreason.data.examples import Example, load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmark_spec import Benchmark
from jaxreason.evaluation.benchmarks import load_items
from jaxreason.evaluation.eval_settings import EvalConfig, known_benchmarks
from jaxreason.results.atomic_files import absolute
from jaxreason.results.training_files import (
    decontamination_path,
    read_decontamination,
    write_decontamination,
)
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.training.run_folder import begun

_LOG = logging.getLogger(__name__)
TrainingSection = TypeVar("Section")


@unclaimed("a run is claimed by the data that is left; decontamination.json says how it began")
@dataclass(frozen=True)
class DecontaminationConfig:
    """Whether training questions are compared with the questions of benchmarks (docs/questions.md)."""

    enabled: bool = True
    """False trains on all questions. The run's decontamination.json and the study's report say so."""
    also: tuple[str, ...] = ()
    """Further benchmarks to compare with, beside those of the recipe's `eval` section."""


def decontaminated(
    config: ml_collections.ConfigDict, section: TrainingSection, folder: epath.Path
) -> TrainingSection:
    """Returns a training section whose datasets leave out the benchmarks' questions.

    Writes `<folder>/decontamination.json` and logs one line with the result. Every process must call it: process 0
    compares and writes, and the others wait until it has. A recipe without an `eval` section names no benchmark, so
    nothing is compared or written. A run that has begun keeps the questions it began with. Matches with benchmarks that
    were added later are only counted and reported.

    Args:
      config: the recipe, with its question files written.
      section: a section with `datasets`: of SFT, of RL or of a teacher.
      folder: folder of the run.

    Raises:
      UserError: the section's data cannot be read, a name in `decontamination.also` is not a benchmark or there is no
        `eval` section beside it, or the run there began with another value of `decontamination.enabled`.
    """
    settings = decontamination_settings(config)
    if "eval" not in config:
        if settings.enabled and settings.also:
            raise ConfigError(
                f"config.decontamination.also={settings.also}: expected a section `eval` in the recipe, which says "
                "where benchmarks are."
            )
        return section
    evaluation = parse(EvalConfig, config.eval, "config.eval")
    benchmarks = compared_benchmarks(evaluation, settings)
    folder = absolute(folder)
    if not settings.enabled:
        on_process_zero(lambda: _write_off(folder))
        return section
    on_process_zero(lambda: _write(section.datasets, evaluation, benchmarks, folder))
    without = {"without": str(decontamination_path(folder))}
    datasets = {
        name: dataclasses.replace(dataset, options={**dataset.options, **without})
        for name, dataset in section.datasets.items()
    }
    return dataclasses.replace(section, datasets=datasets)


def decontamination_settings(config: ml_collections.ConfigDict) -> DecontaminationConfig:
    """Returns the recipe's section, or the defaults if it has none."""
    section = config.get("decontamination")
    if section is None:
        return DecontaminationConfig()
    return parse(DecontaminationConfig, section, "config.decontamination")


def compared_benchmarks(
    evaluation: EvalConfig, settings: DecontaminationConfig
) -> dict[str, Benchmark]:
    """Returns the benchmarks that questions are compared with, by name.

    Raises:
      ConfigError: a name in `also`, or in the evaluation, is not a benchmark.
    """
    known = known_benchmarks(evaluation)
    fields = {"eval.benchmarks": evaluation.benchmarks, "decontamination.also": settings.also}
    for name, field in ((name, field) for field, names in fields.items() for name in names):
        if name not in known:
            raise ConfigError(f"config.{field}: {name!r} is no benchmark{nearest(name, known)}")
    return {name: known[name] for name in (*evaluation.benchmarks, *settings.also)}


def _write_off(folder: epath.Path) -> None:
    write_decontamination(folder, _as_it_began(folder, _report({}, {}, {}, enabled=False)))
    _LOG.warning("decontamination is off: questions of the benchmarks may be trained on")


def _write(
    datasets: dict[str, DatasetConfig],
    evaluation: EvalConfig,
    benchmarks: dict[str, Benchmark],
    folder: epath.Path,
) -> None:
    asked, unread = [], {}
    for name, benchmark in benchmarks.items():
        try:
            asked += benchmark_questions(name, benchmark, evaluation)
        except (UserError, OSError, ImportError) as error:
            unread[name] = str(error)
    trained = [
        dataclasses.replace(example, source=name)
        for name, dataset in datasets.items()
        for example in load_examples(dataclasses.replace(dataset, limit=0), DropLog(quiet=True))
    ]
    _, found = decontaminate(trained, asked)
    report = _report(found, Counter(e.source for e in asked), unread, enabled=True)
    report = _as_it_began(folder, report)
    write_decontamination(folder, report)
    log = _LOG.warning if unread or report["found_later"] else _LOG.info
    log("%s", describe_contamination(report, {name: b.label for name, b in benchmarks.items()}))


def _as_it_began(folder: epath.Path, report: dict[str, Any]) -> dict[str, Any]:
    """Returns the report of a run that has begun, with a count of the matches found only now.

    If no run has begun there, returns `report` unchanged.
    """
    if not begun(folder) or not decontamination_path(folder).exists():
        return report
    first = read_decontamination(decontamination_path(folder))
    if first["enabled"] != report["enabled"]:
        raise ConfigError(
            f"config.decontamination.enabled: the run in {folder} began with {first['enabled']}; use another --workdir."
        )
    known = {(item["source"], item["question"]) for item in first["items"]}
    new = [item for item in report["items"] if (item["source"], item["question"]) not in known]
    benchmarks = first["benchmarks"] | report["benchmarks"]
    unread = {name: why for name, why in report["unread"].items() if name not in benchmarks}
    return first | {"benchmarks": benchmarks, "unread": unread, "found_later": _counted(new)}


def benchmark_questions(name: str, benchmark: Benchmark, evaluation: EvalConfig) -> list[Example]:
    """Returns all questions of a benchmark, even if only a part of them is asked; their source is its name.

    Raises:
      UserError: its data does not exist or cannot be read.
    """
    prompt = next(iter(benchmark.prompts.values()))  # Its prompts differ only in the template.
    items = load_items(
        benchmark.label, prompt, evaluation.source, evaluation.data_folder, limit=0, seed=0
    )
    return [dataclasses.replace(item.example, source=name) for item in items]


def _report(
    found: dict[str, Any], counts: dict[str, int], unread: dict[str, str], enabled: bool
) -> dict[str, Any]:
    items = found.get("items", [])
    return {
        "enabled": enabled,
        "questions": found.get("train", 0),
        "kept": found.get("kept", 0),
        "benchmarks": dict(counts),
        "unread": unread,
        "removed": _counted(items),
        "reasons": found.get("removed", {}),
        "alike": found.get("alike", 0),
        "found_later": {},
        "items": items,
    }


def _counted(items: list[dict[str, str]]) -> dict[str, dict[str, int]]:
    """Counts the questions: dataset -> benchmark -> number."""
    counts: dict[str, dict[str, int]] = {}
    pairs = Counter((item["source"], item["evaluation_source"]) for item in items)
    for (dataset, benchmark), count in sorted(pairs.items()):
        counts.setdefault(dataset, {})[benchmark] = count
    return counts


def describe_contamination(report: dict[str, Any], labels: dict[str, str]) -> str:
    """Says in one line how many questions of which dataset match which benchmark, and which ones were not read."""
    removed = report["questions"] - report["kept"]
    text = (
        f"decontamination: {removed} of {report['questions']} training questions are left out"
        f"{_said(report['removed'], labels)}"
    )
    if report["found_later"]:
        later = _said(report["found_later"], labels)
        text += (
            f"; benchmarks that came after the run had begun ask others that it learns from{later}"
        )
    if report["unread"]:
        names = ", ".join(labels.get(name, name) for name in report["unread"])
        text += f"; NOT compared with {names}, whose questions cannot be read here"
    return text


def _said(removed: dict[str, dict[str, int]], labels: dict[str, str]) -> str:
    parts = [
        f"{dataset}: " + ", ".join(f"{n} of {labels.get(name, name)}" for name, n in counts.items())
        for dataset, counts in removed.items()
    ]
    return f" ({'; '.join(parts)})" if parts else ""
