"""Tables of hidden states: their shape, their main axes, and sink tokens."""

from collections.abc import Callable
from typing import Any

from jaxreason.report.drift_tables import quantity_rows
from jaxreason.report.state_rows import STATE_QUANTITIES
from jaxreason.report.tables import NONE, Cell, Row, Table, find
from jaxreason.report.wording import arm_labels, significant

AXES = "Main axes"
SINKS = "Sink tokens a text, in the middle layer"
LINES: tuple[tuple[str, str, str, Callable[[dict], float]], ...] = (  # section, label, rows, value
    (AXES, "base's variance on two axes", "variance", lambda row: sum(row["base"][:2])),
    (AXES, "tuned model's variance on its two", "variance", lambda row: sum(row["tuned"][:2])),
    (AXES, "base's variance on all kept", "variance", lambda row: sum(row["base"])),
    (AXES, "tuned model's variance on its kept", "variance", lambda row: sum(row["tuned"])),
    (AXES, "squared shift that lies in the base's plane", "variance", lambda row: row["in_plane"]),
    (SINKS, "base, at the first token", "sinks", lambda row: row["base_first"]),
    (SINKS, "base, later", "sinks", lambda row: row["base_later"]),
    (SINKS, "tuned, at the first token", "sinks", lambda row: row["tuned_first"]),
    (SINKS, "tuned, later", "sinks", lambda row: row["tuned_later"]),
    (SINKS, "left out, of either", "sinks", lambda row: row["excluded"]),
    (SINKS, "of these in the reply", "sinks", lambda row: row["excluded_of_reply"]),
    (SINKS, "base's longest state / median", "sinks", lambda row: row["base_ratio"]),
    (SINKS, "tuned model's longest state / median", "sinks", lambda row: row["tuned_ratio"]),
)


def state_tables(summary: dict[str, Any]) -> list[Table]:
    """Every quantity of hidden states by group, and what is said of axes and sinks, an arm a column."""
    states, labels = summary["states"], arm_labels(summary)
    names = {row["arm"] for key in ("rows", "variance", "sinks") for row in states[key]}
    arms = [arm for arm in summary["arms"] if arm["name"] in names]
    if not arms:
        return []
    columns = tuple(labels[arm["name"]] for arm in arms)
    shape = [
        row
        for quantity in STATE_QUANTITIES
        for row in quantity_rows(summary, states["rows"], quantity, arms)
    ]
    about = [line for name in (AXES, SINKS) for line in _lines(states, name, arms)]
    made = {
        "Hidden states on the base's replies, means over layers. Of a model compared with itself all are 0.": shape,
        "Shares of variance, and sink tokens; means over tasks and seeds, on the base's replies.": about,
    }
    return [Table(caption, columns, tuple(rows)) for caption, rows in made.items() if rows]


def _lines(states: dict, section: str, arms: list[dict]) -> list[Row]:
    rows = []
    for _, label, key, value in (line for line in LINES if line[0] == section):
        found = [find(states[key], arm=arm["name"]) for arm in arms]
        if any(found):
            cells = tuple(Cell(significant(value(row))) if row else NONE for row in found)
            rows.append(Row(label, cells, section))
    return rows
