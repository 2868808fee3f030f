"""Tables as plain records, and their files: CSV (ends of intervals in columns of their own) and LaTeX with booktabs."""

import csv
import io
import itertools
import re
from dataclasses import dataclass
from typing import Any

from jaxreason.report.wording import MINUS, decoding_label

_NUMBER = re.compile(rf"[+{MINUS}-]?\d[\d,]*(\.\d+)?")
# Columns of a CSV beside a number's own, where a cell has something there.
BESIDE = ("low", "high", "clear", "note")
UNKNOWN_END = "?"  # Of an interval.
_LONG = 45  # Rows; a longer table takes several pages.
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{MINUS: "$-$", "–": "--", "—": "---", "\u2009": r"\,", "\u00a0": "~", "‖": r"$\Vert$"},
    **{"†": r"\textdagger{}", "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "×": r"$\times$"},
    **{"Δ": r"$\Delta$", "Σ": r"$\Sigma$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$"},
    **{"√": r"$\surd$", "·": r"$\cdot$", "→": r"$\rightarrow$", "²": r"$^2$", "⊥": r"$\perp$"},
    **{"∞": r"$\infty$", "°": r"$^\circ$", "≈": r"$\approx$", "μ": r"$\mu$", "σ": r"$\sigma$"},
}


@dataclass(frozen=True)
class Cell:
    """A number as text, its interval, and whether it is a clear change (`up`, `down`) or not."""

    text: str
    interval: str = ""
    tone: str = ""


@dataclass(frozen=True)
class TableRow:
    """A line: its label, its cells, and the name of the section that it starts, if any."""

    label: str
    cells: tuple[Cell, ...]
    section: str = ""


@dataclass(frozen=True)
class Table:
    """A caption, column labels in two levels (`spans`: label and number of columns), rows and notes."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    spans: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


NONE = Cell("–")


def benchmark_label(summary: dict[str, Any], name: str) -> str:
    """Returns the name of a benchmark for readers."""
    return summary["labels"].get(name, name.replace("_", " "))


def find(rows: list[dict], **wanted: Any) -> dict | None:
    """Returns the first row with these values."""
    return next(
        (row for row in rows if all(row[key] == value for key, value in wanted.items())), None
    )


def decoding_caption(decoding: str, text: str) -> str:
    """Returns the caption of one decoding's table."""
    return f"{decoding_label(decoding)}. {text}"


def head_labels(table: Table) -> list[str]:
    """Returns the columns' labels, combined into one level."""
    spans = [label for label, width in table.spans for _ in range(width)]
    spans += [""] * (len(table.columns) - len(spans))
    pairs = zip(spans, table.columns, strict=True)
    return [f"{span}: {column}" if span else column for span, column in pairs]


def table_csv(table: Table) -> str:
    """Returns comma-separated values: section, label, and for each column its value, and `low` and `high` of an
    interval.

    If any cell has one, a further column says whether it is a clear change (`up`, `down`), and a further one has what
    stands beside a number and is no interval (`note`). Numbers are plain, with a hyphen as minus.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = list(zip(*(row.cells for row in table.rows), strict=True))
    parts = [[_beside(cell) for cell in cells] for cells in columns]
    shapes = [[any(part) for part in zip(*column, strict=True)] for column in parts]
    head = ["section", "row"]
    for label, shape in zip(head_labels(table), shapes, strict=True):
        head += [label, *(f"{label} {part}" for part in itertools.compress(BESIDE, shape))]
    writer.writerow(map(_no_control, head))
    for row in table.rows:
        values = [row.section, row.label]
        for cell, shape in zip(row.cells, shapes, strict=True):
            values += [_plain_csv(cell.text), *itertools.compress(_beside(cell), shape)]
        writer.writerow(map(_no_control, values))
    return out.getvalue()


def _beside(cell: Cell) -> tuple[str, str, str, str]:
    """Returns what the columns BESIDE a cell's own hold: the ends of its interval, its tone, and any other text."""
    low, _, high = cell.interval.partition(" to ")
    if all(end == UNKNOWN_END or _NUMBER.fullmatch(end) for end in (low, high)):
        return _plain_csv(low), _plain_csv(high), cell.tone, ""
    return "", "", cell.tone, cell.interval


def _plain_csv(text: str) -> str:
    """Returns a number in a form that other programs read; any other text is unchanged."""
    number = text.rstrip("†")
    if not _NUMBER.fullmatch(number):
        return text
    return number.replace(MINUS, "-").replace(",", "").lstrip("+")


def _no_control(text: str) -> str:
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "\ufffd", text)


def table_latex(table: Table, label: str) -> str:
    """Returns a table environment (a longtable if it is long) for the packages booktabs and longtable.

    Args:
      table: of the report.
      label: the label by which a paper refers to it.
    """
    width, long = len(table.columns) + 1, len(table.rows) > _LONG
    caption = f"\\caption{{{latex(' '.join((table.caption, *table.notes)))}}}\\label{{tab:{label}}}"
    body = ["\\toprule", *_head(table), "\\midrule", *(["\\endhead"] if long else [])]
    body += [*_body(table, width), "\\bottomrule"]
    columns = "{l" + "r" * (width - 1) + "}"
    if long:
        begin, end = [f"\\begin{{longtable}}{columns}", f"{caption} \\\\"], ["\\end{longtable}"]
    else:
        begin = ["\\begin{table}", "\\centering", caption, f"\\begin{{tabular}}{columns}"]
        end = ["\\end{tabular}", "\\end{table}"]
    needs = "% \\usepackage{booktabs,longtable,textcomp} and \\usepackage[T1]{fontenc}"
    return "\n".join([needs, *begin, *body, *end]) + "\n"


def _head(table: Table) -> list[str]:
    lines, rules, start = [], [], 2
    for _, width in table.spans:
        rules.append(f"\\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    if table.spans:
        spans = (f"\\multicolumn{{{w}}}{{c}}{{{latex(label)}}}" for label, w in table.spans)
        lines += [f" & {' & '.join(spans)} \\\\", " ".join(rules)]
    return [*lines, " & ".join(["", *map(latex, table.columns)]) + r" \\"]


def _body(table: Table, width: int) -> list[str]:
    lines, section = [], ""
    for row in table.rows:
        if row.section and row.section != section:
            lines += ["\\addlinespace"] if lines else []
            lines.append(f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{latex(row.section)}}}}} \\\\")
            section = row.section
        lines.append(" & ".join([latex(row.label), *map(_latex_cell, row.cells)]) + r" \\")
    return lines


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    text = f"\\textbf{{{text}}}" if cell.tone else text
    return f"{text} {{\\scriptsize [{latex(cell.interval)}]}}" if cell.interval else text


def latex(text: str) -> str:
    """Returns a text with LaTeX's special characters escaped; characters that LaTeX does not know are unchanged."""
    # A bracket after the end of a row would be read as its argument, so brackets are always protected.
    escaped = (_LATEX.get(character, character) for character in _no_control(text))
    return "".join(escaped).replace("[", "{[}").replace("]", "{]}").replace("\n", " ")


def arms_in(summary: dict[str, Any], rows: list[dict]) -> list[str]:
    """Returns the arms that occur in any of the rows, in the order of the summary."""
    there = {row["arm"] for row in rows}
    return [arm["name"] for arm in summary["arms"] if arm["name"] in there]
