"""Hidden states in the report: rows, figures and tables say what the metrics' files say."""

import json
import re
import shutil

import matplotlib
import numpy as np
import pytest
from state_study import DEPTH, MOVED, SEEDS, measured_of, write_states
from synthetic_study import GROUPS, write_study

from jaxreason.analysis.cka import cka_distance
from jaxreason.analysis.subspaces import subspaces
from jaxreason.report import build
from jaxreason.report.contents import FIGURES
from jaxreason.report.hidden_state_drift import (
    cka_maps_figure,
    pca_maps_figure,
    state_layers_figure,
    state_tables,
)
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.style import figure_settings, looks
from jaxreason.report.summary import summarise

STATE_FIGURES = ("state_layers", "cka_maps", "pca_maps")
ABOUT = {"title": "t", "question": "q", "recipe_limits": []}


def read(folder):
    reader = Reader(folder)
    return summarise(reader, read_study(reader), Resampling(0.95, 20, 0), ABOUT, "robust")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_states(tmp_path_factory.mktemp("states"))


@pytest.fixture(scope="module")
def summary(folder):
    return read(folder)


@pytest.fixture(autouse=True)
def same_settings_as_the_report():
    with matplotlib.rc_context(figure_settings()):
        yield


def details(metric, arm):
    """Of every benchmark and seed, in the pooling that is shown."""
    return [
        metric(measured_of(benchmark, arm, seed)).details["reply"]
        for benchmark in GROUPS
        for seed in SEEDS
    ]


def row_of(rows, **wanted):
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_layers_are_means_over_tasks_and_seeds(summary):
    values = row_of(summary["states"]["layers"], arm="sft_hi", name="angle")["values"]
    expected = np.mean([part["angle"] for part in details(subspaces, "sft_hi")], axis=0)
    np.testing.assert_allclose(values, expected, rtol=1e-3)
    assert values[0] == 0 and values[1] > 1


def test_maps_of_layers_against_layers_are_means_over_tasks_and_seeds(summary):
    row = row_of(summary["states"]["cka"], arm="rl")
    for name in ("base_to_tuned", "base_to_base"):
        expected = np.mean([part[name] for part in details(cka_distance, "rl")], axis=0)
        np.testing.assert_allclose(row[name], expected, atol=6e-4)


def test_groups_have_intervals_in_which_their_values_lie(summary):
    row = row_of(summary["states"]["rows"], arm="rl", name="rotation.reply", group="math")
    assert 0 < row["low"] <= row["mean"] <= row["high"]
    assert len(row["seeds"]) == len(SEEDS)


def test_sinks_are_counted_in_the_layer_of_the_rule(summary):
    row = row_of(summary["states"]["sinks"], arm="rl")
    assert (row["layer"], row["base_first"], row["tuned_first"]) == (DEPTH // 2, 1, 0)
    assert (row["excluded"], row["excluded_of_reply"]) == (1, 0)
    assert (row["base_ratio"], row["tuned_ratio"]) == (150, 75)


def test_the_panel_of_an_arm_and_a_task_joins_the_two_states_of_each_layer(summary):
    figure = pca_maps_figure(summary, narrow=False)
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["Add", "Order", "Copy"]
    row = row_of(summary["states"]["maps"], arm="rl", benchmark="synthetic_order")
    base, tuned = np.array(row["base"]), np.array(row["tuned"])
    segments = figure.axes[1].lines[0].get_xydata().reshape(DEPTH, 3, 2)
    np.testing.assert_allclose(segments[:, 0], np.stack([0 * base[:, 0], base[:, 1]], 1))
    moved = np.stack([tuned[:, 0] - base[:, 0], tuned[:, 1]], 1)
    np.testing.assert_allclose(segments[:, 1], moved)
    for points, expected in zip(figure.axes[1].collections, (segments[:, 0], moved), strict=True):
        np.testing.assert_allclose(points.get_offsets(), expected)


def test_columns_of_maps_share_their_axes_so_that_arms_compare(summary):
    axes = np.reshape(pca_maps_figure(summary, narrow=False).axes, (len(MOVED), -1))
    assert len({panel.get_xlim() for panel in axes[:, 0]}) == 1


def test_a_phone_shows_two_tasks_of_different_groups(summary):
    axes = pca_maps_figure(summary, narrow=True).axes
    assert len(axes) == 2 * len(MOVED)
    assert [panel.get_title(loc="left") for panel in axes[:2]] == ["Add", "Order"]


def test_the_heat_map_shows_what_the_tuned_layers_lost(summary):
    panel = cka_maps_figure(summary, narrow=False).axes[0]
    row = row_of(summary["states"]["cka"], arm="rl")
    expected = np.array(row["base_to_tuned"]) - row["base_to_base"]
    np.testing.assert_allclose(panel.images[0].get_array(), expected)
    assert np.abs(expected[:, 0]).max() < 1e-3 and expected[-1, -1] < -0.01
    low, high = panel.images[0].get_clim()
    assert low == -high


def test_lines_by_layer_are_the_summarys_in_the_arms_colour(summary):
    panel = state_layers_figure(summary, narrow=False).axes[1]
    assert panel.get_title(loc="left") == "Angle between main axes"
    colour = looks(summary)["sft_hi"].colour
    (line,) = [line for line in panel.lines if line.get_color() == colour]
    expected = row_of(summary["states"]["layers"], arm="sft_hi", name="angle")["values"]
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_the_table_has_every_quantity_and_the_sinks(summary):
    shape, about = state_tables(summary)
    assert "Rotation (base's variance)" in {row.section for row in shape.rows}
    first = next(row for row in about.rows if row.label == "base, at the first token")
    assert [cell.text for cell in first.cells] == ["1.00"] * len(MOVED)


def test_the_report_shows_them_under_a_heading_of_their_own(folder, monkeypatch):
    monkeypatch.setattr(build, "FIGURES", {name: FIGURES[name] for name in STATE_FIGURES})
    build.run_report(folder, build.ReportConfig("t", "q", (), 0.95, 20, 0))
    text = (folder / "report" / "report.md").read_text()
    section = text[text.index("## Hidden states") :]
    places = [section.index(f"](figures/{name}.png)") for name in STATE_FIGURES]
    assert places == sorted(places) and "### Hidden states: shape" in section
    page = (folder / "report" / "report.html").read_text()
    assert all(f'<figure id="fig-{name}"' in page for name in STATE_FIGURES)
    assert "http" not in page and not re.findall(r'(?:src|href)="(?!#|data:)[^"]+"', page)


def test_a_study_without_these_files_shows_nothing_of_them(tmp_path):
    found = read(write_study(tmp_path, num_items=10, seeds=(0,)))
    assert not any(found["states"].values())
    assert all(
        draw(found, False) is None
        for draw in (pca_maps_figure, cka_maps_figure, state_layers_figure)
    )
    assert state_tables(found) == []


def test_a_layer_in_which_the_base_does_not_vary_is_a_gap(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.glob("rl/seed_*/analysis/frechet.json"):
        made = json.loads(path.read_text())
        for unit in made["details"]["units"]:
            unit["reply"]["mean"][0] = None
        path.write_text(json.dumps(made))
    found = read(copy)
    values = row_of(found["states"]["layers"], arm="rl", name="mean")["values"]
    assert values[0] is None and all(value > 0 for value in values[1:])
    panel = state_layers_figure(found, narrow=False).axes[2]
    colour = looks(found)["rl"].colour
    (line,) = [line for line in panel.lines if line.get_color() == colour]
    assert np.isnan(line.get_ydata()[0])
