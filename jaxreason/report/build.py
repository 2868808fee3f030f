"""The report stage: from a study's files to report/ (html, markdown, figures, summary.json)."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from etils import epath

from jaxreason.config import at_least, between, check_ranges, unclaimed
from jaxreason.report import (
    cross_tables,
    drift_tables,
    fidelity_tables,
    paper_tables,
    run_tables,
    score_tables,
    shifted_tables,
    shifted_view,
    state_tables,
    trait_rows,
    trajectory_tables,
    transfer_tables,
    weight_tables,
)
from jaxreason.report.figures import FIGURES, Drawn, draw
from jaxreason.report.files import Reader, read_study
from jaxreason.report.pages import content, render
from jaxreason.report.sample_browser import FOLDER as SAMPLES
from jaxreason.report.sample_browser import Archive, write_samples
from jaxreason.report.scores import Resampling
from jaxreason.report.summary import summarise
from jaxreason.report.table_files import table_csv, table_latex
from jaxreason.report.tables import Table
from jaxreason.report.terminal import format_summary
from jaxreason.results.files import (
    atomic_write_bytes,
    atomic_write_text,
    read_json,
    remove_others,
)

__all__ = ["ReportConfig", "format_summary", "read_summary", "run_report"]

FOLDER = "report"
TABLES = {
    "groups": score_tables.group_tables,
    "pairs": score_tables.pair_tables,
    "benchmarks": score_tables.benchmark_tables,
    "significance": score_tables.significance_tables,
    "seeds": score_tables.seed_tables,
    "transfer": transfer_tables.transfer_tables,
    "transfer_seeds": transfer_tables.transfer_seed_tables,
    "degrees": transfer_tables.degree_tables,
    "gains": transfer_tables.gain_tables,
    "sensitivity": transfer_tables.sensitivity_tables,
    "drift": drift_tables.drift_tables,
    "other_drift": drift_tables.other_drift_tables,
    "states": state_tables.state_tables,
    "weights": weight_tables.weight_tables,
    "weight_kinds": weight_tables.weight_kind_tables,
    "weight_overlap": weight_tables.overlap_tables,
    "shifted": shifted_tables.shifted_tables,
    "shifted_examples": shifted_tables.example_tables,
    "shifted_words": shifted_tables.token_tables,
    "paper_drift": paper_tables.paper_tables,
    "cross_sampling": cross_tables.cross_tables,
    "matched": trajectory_tables.matched_tables,
    "forgetting": trajectory_tables.forgetting_tables,
    "replies": run_tables.reply_tables,
    "other_scores": run_tables.other_score_tables,
    "variants": score_tables.variant_tables,
    "asked": run_tables.asked_tables,
    "arms": run_tables.arm_tables,
    "traits": trait_rows.trait_tables,
    "fidelity": fidelity_tables.fidelity_tables,
    "fidelity_all": fidelity_tables.fidelity_detail_tables,
}
DETAILS = {
    "pairs": "Arms against each other",
    "significance": "How sure each difference is, and what could be seen",
    "seeds": "Seed by seed",
    "transfer_seeds": "Transferability index, seed by seed",
    "degrees": "Degrees of improvement, which the index is a ratio of",
    "gains": "Gain and drop: points won and lost, apart",
    "sensitivity": "Transferability index without each task",
    "other_drift": "Other measures of drift",
    "states": "Hidden states: shape, main axes and sink tokens",
    "weight_kinds": "Weights by kind of parameter",
    "weight_overlap": "Weights that runs changed alike, pair by pair",
    "shifted_words": "Shifted tokens, arm by arm",
    "paper_drift": "Drift as the study's scripts compute it, and corrected",
    "replies": "Replies: length, cut, without an answer, failed",
    "other_scores": "Other scorings",
    "asked": "How each model and task was asked",
    "fidelity_all": "Every published number beside ours",
}


# What the partial template `templates/NAME.html.jinja` (and NAME.md.jinja, where there is one) shows, as `data`: a
# function of the summary. Nothing is shown of what is empty.
VIEWS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "findings": lambda summary: summary["found"],
    "shifted_view": shifted_view.shifted_view,
}


@unclaimed("a report is made anew at each start")
@dataclass(frozen=True)
class ReportConfig:
    """What a recipe says about its report."""

    title: str
    """Heading of the report."""
    question: str
    """The question that the study asks, in a sentence."""
    limits: tuple[str, ...] = ()
    """What the recipe's author knows to limit the study, a sentence each."""
    confidence: Annotated[float, between(0, 1)] = 0.95
    """Of the bootstrap intervals."""
    resamples: Annotated[int, at_least(1)] = 2000
    """Of the bootstrap."""
    seed: Annotated[int, at_least(0)] = 0
    """Of the bootstrap."""
    variant: Literal["robust", "paper"] = "robust"
    """Of the benchmarks, whose scores the report is about; the other one stands beside it where a benchmark was
    measured in both ways.
    """


def run_report(study_folder: epath.PathLike, config: ReportConfig) -> None:
    """Reads a study's files and writes `study_folder`/report/.

    What is missing (an arm not evaluated yet, a metric not measured) is said in the report.

    Raises:
      ValueError: no study.json or a broken file; ConfigError: settings out of range.
    """
    check_ranges(config, "report")
    reader = Reader(study_folder)
    how = Resampling(config.confidence, config.resamples, config.seed)
    about = {
        "title": config.title,
        "question": config.question,
        "recipe_limits": list(config.limits),
    }
    study = read_study(reader)
    summary = summarise(reader, study, how, about, config.variant)
    drawn = {name: draw(function, summary) for name, function in FIGURES.items()}
    drawn = {name: figure for name, figure in drawn.items() if figure is not None}
    tables = {name: make(summary) for name, make in TABLES.items()}
    folder = epath.Path(study_folder) / FOLDER
    _write_figures(folder / "figures", drawn)
    _write_tables(folder / "tables", tables)
    archive = Archive(reader, study, summary)
    write_samples(folder / SAMPLES, archive)
    views = {name: make(summary) for name, make in VIEWS.items()}
    pages = render(content(summary, drawn, tables, DETAILS, views), drawn, archive)
    for name, text in pages.items():
        atomic_write_text(folder / name, text)
    atomic_write_text(folder / "summary.json", _json(summary) + "\n")


def _json(value: Any) -> str:
    """Readable JSON; lone surrogates, which UTF-8 has not, are escaped."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _write_figures(folder: epath.Path, drawn: dict[str, Drawn]) -> None:
    files = {}
    for name, figure in drawn.items():
        files |= {f"{name}.png": figure.png, f"{name}.svg": figure.svg.encode()}
    _write_all(folder, files)


def _write_tables(folder: epath.Path, tables: dict[str, list[Table]]) -> None:
    files = {}
    for name, members in tables.items():
        for number, table in enumerate(members, start=1):
            own = name if number == 1 else f"{name}_{number}"
            files[f"{own}.csv"] = table_csv(table).encode()
            files[f"{own}.tex"] = table_latex(table, own).encode()
    _write_all(folder, files)


def _write_all(folder: epath.Path, files: dict[str, bytes]) -> None:
    """Makes these the files of a folder: what an earlier report left there is of other numbers."""
    remove_others(folder, files)
    for name, data in files.items():
        atomic_write_bytes(folder / name, data)


def read_summary(study_folder: epath.PathLike) -> dict[str, Any]:
    """The summary.json of a study's report."""
    return read_json(epath.Path(study_folder) / FOLDER / "summary.json")
