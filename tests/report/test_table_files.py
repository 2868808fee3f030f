"""Tables as CSV and LaTeX hold what the page shows, whatever stands in a cell."""

import csv
import io
import re

import pytest

from jaxreason.report.report_tables import (
    NONE,
    Cell,
    Table,
    TableRow,
    latex,
    table_csv,
    table_latex,
)

HOSTILE = '50% of a_b & {x} #1 $2 ~^\\end{table} <b> [y], "q"\n\x00\udfff'
TABLE = Table(
    caption="Scores & changes.",
    columns=("score", "vs base", "said"),
    spans=(("Math", 2), ("Other", 1)),
    rows=(
        TableRow(
            "RL", (Cell("61.5", "58.0 to 65.1"), Cell("+4.5†", "−1.0 to +9.9", "up"), NONE), "A"
        ),
        TableRow(HOSTILE, (Cell("1,200"), Cell("−3.0"), Cell(HOSTILE)), "B"),
    ),
)


def test_a_csv_read_again_is_the_table():
    head, first, second = csv.reader(io.StringIO(table_csv(TABLE)))
    names = ["Math: score", "Math: vs base"]
    ends = [[f"{name} low", f"{name} high"] for name in names]
    clear = "Math: vs base clear"
    assert head == ["section", "row", names[0], *ends[0], names[1], *ends[1], clear, "Other: said"]
    assert first == ["A", "RL", "61.5", "58.0", "65.1", "4.5", "-1.0", "9.9", "up", "–"]
    assert second[2:9] == ["1200", "", "", "-3.0", "", "", ""]
    assert second[1] == second[9] == HOSTILE.replace("\x00", "\ufffd").replace("\udfff", "\ufffd")


def test_what_stands_beside_a_number_and_is_no_interval_has_a_column_of_its_own():
    """How many of the arms an index is of, or which number is furthest off: neither is an end of an interval."""
    cells = Cell("12.5", "of 3"), Cell("−4.0", "From base to RL, MATH500"), Cell("7.0", "? to 9.5")
    table = Table("c", ("index", "furthest", "ti"), (TableRow("RL", cells),))
    head, row = csv.reader(io.StringIO(table_csv(table)))
    assert head[2:] == [
        "index",
        "index note",
        "furthest",
        "furthest note",
        "ti",
        "ti low",
        "ti high",
    ]
    assert row[2:] == ["12.5", "of 3", "-4.0", "From base to RL, MATH500", "7.0", "?", "9.5"]


def test_nothing_in_a_cell_is_a_command_of_latex():
    text = latex(HOSTILE)
    bare = re.sub(r"\\[a-zA-Z]+\{\}|\\[&%$#_{}]|\{[\[\]]\}", "", text)
    assert not re.search(r"[&%$#_{}~^\\<>\[\]\"\n\x00\udfff]", bare)
    assert r"\textbackslash{}end\{table\}" in text and r"50\% of a\_b \& \{x\} \#1 \$2" in text


@pytest.mark.parametrize("rows", [2, 60])
def test_every_row_of_latex_has_a_cell_for_every_column(rows):
    table = Table("c", TABLE.columns, TABLE.rows * (rows // 2), TABLE.spans)
    lines = table_latex(table, "x").splitlines()
    kind = "longtable" if rows > 45 else "tabular"
    assert lines.count(rf"\end{{{kind}}}") == 1 and rf"\begin{{{kind}}}{{lrrr}}" in "\n".join(lines)
    start = lines.index(r"\midrule")
    assert lines.index(r"\toprule") < start < lines.index(r"\bottomrule")
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in lines
    body = [x for x in lines[start:] if x.endswith(r"\\") and "multicolumn" not in x]
    assert len(body) == rows
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {3}
    text = "\n".join(line for line in lines if not line.startswith("%"))
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


def test_every_table_of_the_report_is_there_in_both(study):
    folder = study / "report" / "tables"
    names = {path.stem for path in folder.iterdir()}
    assert {"groups", "groups_2", "benchmarks", "drift"} <= names
    for name in names:
        rows = list(csv.reader(io.StringIO((folder / f"{name}.csv").read_text())))
        assert len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}
        assert f"\\label{{tab:{name}}}" in (folder / f"{name}.tex").read_text()
