"""The report stage: reads a study's files and writes report/ (html, markdown, figures, tables, summary.json)."""

import json
import re
from typing import Any

from etils import epath

from jaxreason.config import check_ranges
from jaxreason.report.contents import DETAILS, FIGURES, TABLES, VIEWS
from jaxreason.report.figure_files import Drawn, render_figure
from jaxreason.report.pages import page_content, render_pages
from jaxreason.report.report_config import ReportConfig
from jaxreason.report.report_tables import Table, table_csv, table_latex
from jaxreason.report.sample_browser import FOLDER as SAMPLES
from jaxreason.report.sample_browser import Archive, write_samples
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.summary import summarise
from jaxreason.report.terminal import format_summary
from jaxreason.results.atomic_files import (
    atomic_write_bytes,
    atomic_write_text,
    is_remote,
    read_json,
    remove_others,
)
from jaxreason.results.locks import REPORT_LOCK, in_turn

__all__ = ["ReportConfig", "format_summary", "read_summary", "run_report", "summary_text"]

FOLDER = "report"


def run_report(study_folder: epath.PathLike, config: ReportConfig) -> None:
    """Reads a study's files and writes `study_folder`/report/.

    The report names what is missing (an arm that is not evaluated yet, a metric that is not measured). While another
    program makes the report of this study, it waits, so that the files are of one report.

    Raises:
      ValueError: there is no study.json, or a file is broken.
      ConfigError: settings are out of range.
    """
    check_ranges(config, "report")
    if not is_remote(study_folder):
        read_study(Reader(study_folder))  # In a folder of another kind no lock is made either.
    with in_turn(epath.Path(study_folder) / REPORT_LOCK, "its report"):
        _make(study_folder, config)


def _make(study_folder: epath.PathLike, config: ReportConfig) -> None:
    reader = Reader(study_folder)
    how = Resampling(config.confidence, config.resamples, config.seed)
    about = {
        "title": config.title,
        "question": config.question,
        "recipe_limits": list(config.limits),
    }
    study = read_study(reader)
    summary = summarise(reader, study, how, about, config.variant)
    drawn = _draw(summary) if config.figures else {}
    tables = {name: make(summary) for name, make in TABLES.items()}
    folder = epath.Path(study_folder) / FOLDER
    _write_figures(folder / "figures", drawn)
    _write_tables(folder / "tables", tables)
    archive = Archive(reader, study, summary)
    write_samples(folder / SAMPLES, archive)
    views = {name: make(summary) for name, make in VIEWS.items()}
    pages = render_pages(page_content(summary, drawn, tables, DETAILS, views), drawn, archive)
    for name, text in pages.items():
        atomic_write_text(folder / name, text)
    atomic_write_text(folder / "summary.json", _json(summary) + "\n")


def _draw(summary: dict[str, Any]) -> dict[str, Drawn]:
    """Returns the figures for which the summary has something to draw."""
    drawn = {name: render_figure(function, summary) for name, function in FIGURES.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _json(value: Any) -> str:
    """Returns readable JSON; lone surrogates, which UTF-8 does not have, are escaped."""
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
    """Makes these the only files of a folder: files that an earlier report left there have other numbers."""
    remove_others(folder, files)
    for name, data in files.items():
        atomic_write_bytes(folder / name, data)


def read_summary(study_folder: epath.PathLike) -> dict[str, Any]:
    """Returns the summary.json of a study's report."""
    return read_json(epath.Path(study_folder) / FOLDER / "summary.json")


def summary_text(study_folder: epath.PathLike) -> str:
    """Returns the comparison of a study's report as text for the terminal."""
    return format_summary(read_summary(study_folder))
