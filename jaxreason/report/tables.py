"""Tables as plain records, made from the summary; rendering them is the templates' business."""

from dataclasses import dataclass
from typing import Any

from jaxreason.report.wording import decoding_label


@dataclass(frozen=True)
class Cell:
    """A number as text, its interval, and whether it is a clear change (`up`, `down`) or not."""

    text: str
    interval: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Row:
    """A line: its label, its cells, and whether it starts a section named `section`."""

    label: str
    cells: tuple[Cell, ...]
    section: str = ""


@dataclass(frozen=True)
class Table:
    """A caption, column labels in two levels (`spans`: label and number of columns), rows and
    notes.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    spans: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


NONE = Cell("–")


def benchmark_label(summary: dict[str, Any], name: str) -> str:
    """What a benchmark is called."""
    return summary["labels"].get(name, name.replace("_", " "))


def find(rows: list[dict], **wanted: Any) -> dict | None:
    """The first row with these values."""
    return next(
        (row for row in rows if all(row[key] == value for key, value in wanted.items())), None
    )


def caption(decoding: str, text: str) -> str:
    """The caption of one decoding's table."""
    return f"{decoding_label(decoding)}. {text}"
