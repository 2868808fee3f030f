"""The report stage: from a study's files to report/ (html, markdown, figures, summary.json)."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jinja2
from etils import epath
from markupsafe import Markup, escape

from jaxreason.config import at_least, between, check_ranges
from jaxreason.report import drift_tables, run_tables, score_tables, transfer_tables
from jaxreason.report.figures import FIGURES, Drawn, draw
from jaxreason.report.files import Reader, read_study
from jaxreason.report.methods import Formula, captions, methods, reading
from jaxreason.report.scores import Resampling
from jaxreason.report.sections import there
from jaxreason.report.style import looks
from jaxreason.report.summary import summarise
from jaxreason.report.terminal import format_summary
from jaxreason.report.wording import WAYS, arm_labels, decoding_label, group_label
from jaxreason.results.files import atomic_write_bytes, atomic_write_text, read_json

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
    "replies": run_tables.reply_tables,
    "other_scores": run_tables.other_score_tables,
    "variants": score_tables.variant_tables,
    "asked": run_tables.asked_tables,
    "arms": run_tables.arm_tables,
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
    "replies": "Replies: length, cut, without an answer, failed",
    "other_scores": "Other scorings",
    "asked": "How each model and task was asked",
}


@dataclass(frozen=True)
class ReportConfig:
    """What a recipe says about its report.

    Attributes:
      title: heading of the report.
      question: the question that the study asks, in a sentence.
      limits: what the recipe's author knows to limit the study, a sentence each.
      confidence, resamples, seed: of the bootstrap intervals.
      variant: of the benchmarks, whose scores the report is about; the other one stands beside it
        where a benchmark was measured in both ways.
    """

    title: str
    question: str
    limits: tuple[str, ...]
    confidence: Annotated[float, between(0, 1)]
    resamples: Annotated[int, at_least(1)]
    seed: Annotated[int, at_least(0)]
    variant: Literal["robust", "paper"] = "robust"


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
    summary = summarise(reader, read_study(reader), how, about, config.variant)
    drawn = {name: draw(function, summary) for name, function in FIGURES.items()}
    drawn = {name: figure for name, figure in drawn.items() if figure is not None}
    folder = epath.Path(study_folder) / FOLDER
    for name, figure in drawn.items():
        atomic_write_bytes(folder / f"{name}.png", figure.png)
    environment = _environment()
    content = _content(summary, drawn)
    for name in ("report.md", "report.html"):
        text = environment.get_template(f"{name}.jinja").render(**content)
        atomic_write_text(folder / name, text)
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(folder / "summary.json", text + "\n")


def read_summary(study_folder: epath.PathLike) -> dict[str, Any]:
    """The summary.json of a study's report."""
    return read_json(epath.Path(study_folder) / FOLDER / "summary.json")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxreason.report", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["formula"] = lambda part: isinstance(part, Formula)
    environment.filters["data_uri"] = _data_uri
    environment.filters["subscripts"] = _subscripts
    environment.filters["shortened"] = _shortened
    environment.filters["pipes"] = _escape_pipes
    return environment


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _shortened(path: str) -> str:
    """The last two parts of a folder's absolute path; hub names stay as they are."""
    return "/".join(epath.Path(path).parts[-2:]) if path.startswith("/") else path


def _subscripts(text: str) -> Markup:
    """`D_b` with a proper subscript; names with underscores stay as they are."""
    symbol = r"\b(DI|TI|base|mean|[A-Za-zΔΣ])_(\w+)"
    return Markup(re.sub(symbol, r"\1<sub>\2</sub>", str(escape(text))))


def _escape_pipes(text: str) -> str:
    """A bar would end a cell of a markdown table."""
    return text.replace("|", "\\|")


def _content(summary: dict[str, Any], drawn: dict[str, Drawn]) -> dict[str, Any]:
    """What the templates show."""
    content = {
        "summary": summary,
        "figures": drawn,
        "captions": captions(summary),
        "looks": looks(summary),
        "labels": arm_labels(summary),
        "group_label": group_label,
        "decoding_label": decoding_label,
        "way": WAYS[summary["variant"]],
        "tables": {name: make(summary) for name, make in TABLES.items()},
        "details": DETAILS,
        "reading": reading(summary),
        "methods": methods(summary),
    }
    return content | {"sections": there(content)}
