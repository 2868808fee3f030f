"""The report's weights: what the files say, arm by arm, and nothing where there are none."""

import matplotlib
import pytest
from synthetic_study import ARMS, write_study
from synthetic_weights import DEPTH, weights_file

from jaxreason.report import weight_drift
from jaxreason.report.report_tables import NONE
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.style import figure_settings, looks
from jaxreason.report.summary import summarise
from jaxreason.report.weight_drift import (
    SHOWN,
    beyond_chance,
    overlap_tables,
    weight_kind_tables,
    weight_tables,
)

ABOUT = {"title": "t", "question": "q", "recipe_limits": []}


def summary_of(folder):
    reader = Reader(folder)
    return summarise(reader, read_study(reader), Resampling(0.95, 20, 0), ABOUT, "robust")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), num_items=10)


@pytest.fixture(scope="module")
def summary(folder):
    return summary_of(folder)


@pytest.fixture(autouse=True)
def same_settings_as_the_report():
    with matplotlib.rc_context(figure_settings()):
        yield


def test_a_row_an_arm_has_the_means_over_its_seeds(summary):
    assert [row["arm"] for row in summary["weight_space"]] == list(ARMS)
    row = summary["weight_space"][0]
    assert row["seeds"] == [0, 1] and len(row["by_layer"]) == DEPTH
    whole = weights_file(1.0)["details"]["whole"]
    assert row["whole"]["overlap_left"] == pytest.approx(whole["overlap_left"])
    growth = [layer["relative_l2"] for layer in row["by_layer"]]
    assert growth == sorted(growth) and growth[0] > 0
    for name, values in {
        "values": [1, 0.5, 0.4, 0.3],
        "base_values": [1, 7 / 8, 6 / 8, 5 / 8],
    }.items():
        assert row["spectrum"][name] == pytest.approx(values)


def test_tables_have_a_column_an_arm_and_say_how_an_update_lies_to_chance(summary):
    (table,) = weight_tables(summary)
    assert len(table.columns) == len(ARMS) and len(table.rows) == len(SHOWN)
    cells = {row.label: [cell.text for cell in row.cells] for row in table.rows}
    times = next(label for label in cells if "output directions (× chance)" in label)
    assert cells[times] == ["0.50"] * len(ARMS)
    assert cells["effective rank of Δw (% of full)"] == ["50.0"] * len(ARMS)
    (kinds,) = weight_kind_tables(summary)
    lines = [row for row in kinds.rows if row.label == "embed_tokens"]
    assert len(lines) == 2 and all(NONE not in row.cells for row in lines)


def test_the_overlap_table_has_a_row_a_pair_with_what_chance_gives(summary):
    (table,) = overlap_tables(summary)
    runs = 2 * len(ARMS)
    assert len(table.rows) == runs * (runs - 1) / 2
    first = table.rows[0]
    assert first.label == "RL (GRPO), seed 0, RL (GRPO), seed 1"
    assert [cell.text for cell in first.cells] == ["0.500", "0.200", "0.800", "0.667", "0.667"]


def test_figures_show_every_arm(summary):
    figure = weight_drift.weight_layers_figure(summary, False)
    look = looks(summary)
    for axes, name in zip(figure.axes, ("changed_share", "relative_l2"), strict=True):
        drawn = {line.get_color(): list(line.get_ydata()) for line in axes.lines}
        for row in summary["weight_space"]:
            expected = [100 * layer[name] for layer in row["by_layer"]]
            assert drawn[look[row["arm"]].colour] == pytest.approx(expected)
    panels = weight_drift.weight_directions_figure(summary, False).axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["q_proj", "up_proj"]
    points = [line.get_xdata()[0] for line in panels[1].lines if line.get_marker() != "None"]
    assert points == pytest.approx([0.5] * 2 * len(ARMS))


def test_the_matrix_has_chance_at_0_and_the_cosine_above_the_diagonal(summary):
    (axes,) = weight_drift.weight_overlap_figure(summary, False).axes
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown[0, 1] == "0.37" and shown[1, 0] == "0.80"  # two seeds of an arm
    assert shown[0, 2] == "0.00" and shown[2, 0] == "0.40"
    assert beyond_chance({"jaccard": 1.0, "jaccard_chance_by_tensor": 0.2}) == 1
    assert beyond_chance({"jaccard": None, "jaccard_chance_by_tensor": None}) is None


def test_nothing_is_shown_of_weights_that_were_not_compared(folder, summary):
    for path in [*folder.glob("*/seed_*/analysis/weights.json"), folder / "weights_overlap.json"]:
        path.unlink()
    none = summary_of(folder)
    assert none["weight_space"] == none["weight_overlap"] == []
    for tables in (weight_tables, weight_kind_tables, overlap_tables):
        assert tables(none) == []
    for name in ("weight_layers", "weight_directions", "weight_overlap"):
        assert getattr(weight_drift, f"{name}_figure")(none, False) is None
