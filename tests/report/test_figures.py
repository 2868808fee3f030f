"""What figures show is what the summary says."""

import json
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from synthetic_study import write_study

from jaxreason.report import style, wording
from jaxreason.report.contents import FIGURES, SECTIONS
from jaxreason.report.figure_files import render_figure, wrap_titles
from jaxreason.report.reply_positions import SHOWN, _members, _rows, kl_positions_figure
from jaxreason.report.score_figures import frontier_figure, score_figure
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.style import COLOURS, arm_legend, figure_settings, grid, looks, smooth
from jaxreason.report.summary import summarise
from jaxreason.report.transfer_figures import transfer_figure

ABOUT = {"title": "t", "question": "q", "recipe_limits": []}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    reader = Reader(write_study(tmp_path_factory.mktemp("study"), num_items=30))
    return summarise(reader, read_study(reader), Resampling(0.95, 100, 0), ABOUT, "robust")


@pytest.fixture(autouse=True)
def same_settings_as_the_report(monkeypatch):
    """With the font that comes with matplotlib: whether a title fits depends on the fonts of a machine."""
    monkeypatch.setattr(style, "FONTS", ("DejaVu Sans",))
    with matplotlib.rc_context(figure_settings()):
        yield


def filled_points(axes, look):
    """(x, y) of the filled markers of a model."""
    lines = [
        line
        for line in axes.lines
        if line.get_marker() == look.marker and line.get_markerfacecolor() == look.colour
    ]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines]


def test_arms_differ_in_colour_and_marker_in_all_figures_alike(summary):
    found = looks(summary)
    assert len({look.colour for look in found.values()}) == len(found)
    many = {"bases": [{"name": "base"}], "arms": [{"name": str(i)} for i in range(21)]}
    assert len(set(looks(many).values())) == 22
    assert len(set(COLOURS)) == 10


def test_scores_stand_where_the_summary_says(summary):
    figure = score_figure(summary, narrow=False)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "Math, greedy decoding"
    row = next(
        r
        for r in summary["scores"]
        if (r["decoding"], r["group"], r["benchmark"], r["model"]) == ("greedy", "math", None, "rl")
    )
    ((x, y),) = filled_points(axes, looks(summary)["rl"])
    assert x == pytest.approx(row["mean"])
    assert axes.get_yticklabels()[int(y)].get_text() == "RL (GRPO)"


@pytest.mark.parametrize("narrow", [False, True])
def test_the_frontier_has_math_across_and_the_other_group_along(summary, narrow):
    figure = frontier_figure(summary, narrow)
    axes = figure.axes[1]
    assert axes.get_title(loc="left") == "Non-reasoning, greedy decoding"
    for arm in ("rl", "sft_lo", "sft_mid", "sft_hi"):
        expected = [
            next(
                r["mean"]
                for r in summary["differences"]
                if (r["decoding"], r["group"], r["benchmark"], r["arm"])
                == ("greedy", group, None, arm)
            )
            for group in ("math", "non_reasoning")
        ]
        assert filled_points(axes, looks(summary)[arm]) == [pytest.approx(tuple(expected))]
    assert {text.get_text() for text in axes.texts} == {arm["label"] for arm in summary["arms"]}


def test_the_legend_of_numbers_has_every_arm_that_any_panel_shows(summary, monkeypatch):
    monkeypatch.setattr(wording, "MANY", 3)
    kept = [
        row
        for row in summary["differences"]
        if (row["decoding"], row["arm"]) != (summary["decodings"][-1], "sft_mid")
    ]
    figure = frontier_figure(summary | {"differences": kept}, narrow=False)
    shown = {text.get_text() for axes in figure.axes for text in axes.texts}
    (legend,) = figure.legends
    assert shown == {"1", "2", "3", "4"}
    assert [text.get_text()[0] for text in legend.get_texts()] == ["1", "2", "3", "4"]


def test_labels_of_points_do_not_cover_each_other(summary):
    figure = frontier_figure(summary, narrow=False)
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_an_undefined_index_is_written_and_not_drawn(summary):
    figure = transfer_figure(summary, narrow=False)
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["undefined"]
        assert filled_points(axes, looks(summary)["sft_lo"]) == []


def test_axes_of_equal_values_show_a_span_that_a_reader_can_use(tmp_path):
    """Nobody answered anything and nothing moved: no axis from -1e-17 to 1e-17."""
    arms = {"given": ("rl", "RL", (-1.0, -1.0, -1.0), 1e-17)}
    folder = write_study(tmp_path, num_items=10, seeds=(0,), arms=arms)
    for path in folder.glob("**/evaluation/grades/*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        text = [json.dumps(x | {"scores": {"correct": 0.0, "correct_loose": 0.0}}) for x in lines]
        path.write_text("\n".join(text) + "\n")
    path = folder / "given/seed_0/metrics.jsonl"
    steps = [json.dumps({"step": s, "loss": 1e-17 * s}) for s in range(1, 101)]
    path.write_text("\n".join(steps) + "\n")
    reader = Reader(folder)
    found = summarise(reader, read_study(reader), Resampling(0.95, 100, 0), ABOUT, "robust")
    least = {"scores": 1, "frontier": 1, "benchmarks": 1, "kl": 1e-3, "pca_shift": 1e-3}
    drawn = {name: function(found, False) for name, function in FIGURES.items()}
    for name, span in least.items():
        for axes in drawn[name].axes:
            low, high = axes.get_xlim()
            assert high - low >= span * (1 - 1e-9), name
    for axes in drawn["kl_frontier"].axes:
        assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] >= 5e-4
        assert np.ptp(axes.get_ylim()) >= 1
    assert np.ptp(drawn["training"].axes[0].get_ylim()) >= 1e-6


def test_drift_along_the_reply_is_that_of_all_tasks_of_a_group(summary):
    rows = [
        r
        for r in summary["positions"]
        if (r["arm"], r["source"], r["group"]) == ("rl", "base", "math")
    ]
    row = next(r for r in rows if r["name"] == "kl_forward")
    assert [(p["first"], p["last"], p["num_tokens"]) for p in row["points"]] == [
        (1, 1, 192),
        (2, 2, 192),
        (3, 4, 384),
    ]
    figure = kl_positions_figure(summary, narrow=False)
    assert len(figure.axes) == 6
    line = next(x for x in figure.axes[0].lines if x.get_color() == looks(summary)["rl"].colour)
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 12**0.5])
    np.testing.assert_allclose(line.get_ydata(), [p["mean"] for p in row["points"]])
    assert line.get_ydata()[0] == pytest.approx(2 * line.get_ydata()[1])


def test_means_along_the_reply_weigh_tokens_and_leave_few_of_them_out():
    units = [
        {"by_position": [{"first": 1, "last": 1, "num_tokens": n, "kl_forward": v}]}
        for n, v in ((30, 1.0), (10, 3.0))
    ]
    (row,) = _rows({"arm": "a"}, units)
    assert row["points"] == [{"first": 1, "last": 1, "num_tokens": 40, "mean": 1.5}]
    rows = [
        {
            "arm": "a",
            "source": "base",
            "group": "math",
            "name": "kl_forward",
            "points": row["points"] * 3,
        }
    ]
    few = [dict(rows[0], points=[dict(row["points"][0], num_tokens=19)] * 3)]
    about = SHOWN[0]
    assert len(_members({"positions": rows}, about, "math")) == 1
    assert _members({"positions": few}, about, "math") == []


def test_running_means_keep_a_constant_and_the_ends():
    np.testing.assert_allclose(smooth([3.0] * 50, 0.1), 3.0)
    assert smooth([0.0, 0.0, 0.0, 9.0], 0.75)[-1] == pytest.approx(4.5)


@pytest.mark.parametrize("name", ["scores", "kl_positions", "training"])
@pytest.mark.parametrize("narrow", [False, True])
def test_titles_of_panels_neither_meet_nor_leave_the_figure(summary, name, narrow):
    labels = {
        "math": "Mathematics of every kind",
        "other": "Other reasoning of a long name",
        "non_reasoning": "Neither of the other two kinds",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wording, "GROUP_LABELS", labels)
        figure = FIGURES[name](summary, narrow)
    wrap_titles(figure)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    titles = [
        text.get_window_extent()
        for axes in panels
        for text in axes.findobj(Text)
        if text.get_text() and text.get_text() == axes.get_title("left")
    ]
    assert len(titles) == len(panels)
    assert max(box.x1 for box in titles) <= figure.bbox.x1
    for number, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[number + 1 :])


@pytest.mark.parametrize("title", ["a title almost as wide as its panel is", "wide " * 20])
def test_a_layout_that_was_found_for_titles_is_kept_if_none_became_higher(title):
    figure, (panel,) = grid(1, 1, 2.0, narrow=True)
    panel.set_title(title)
    wrap_titles(figure)
    wrapped = "\n" in panel.get_title("left")
    assert wrapped == title.startswith("wide")
    placed = panel.get_position().bounds
    panel.set_ylabel("a label\nof three\nlines")
    figure.draw_without_rendering()
    assert (panel.get_position().bounds == placed) == (not wrapped)


def test_the_report_draws_titles_that_are_too_long_in_two_lines(summary):
    def long(summary, narrow):
        figure, axes = grid(3, 3, 2.0, narrow)
        for panel in axes:
            panel.set_title("a title that is much longer than its panel is wide")
        return figure

    lines = re.findall(r">([^<>]+)</text>", render_figure(long, summary).svg)
    assert "a title that is much longer than its panel is wide" not in lines
    assert sum(line.startswith("a title that is") for line in lines) == 3


def test_axes_of_distances_along_the_reply_begin_at_zero(summary):
    still = [
        row | {"points": [point | {"mean": 0.0} for point in row["points"]]}
        for row in summary["positions"]
    ]
    for positions in (still, summary["positions"]):
        for axes in kl_positions_figure(summary | {"positions": positions}, False).axes:
            assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize("narrow", [False, True])
def test_a_legend_of_many_long_names_stays_within_the_figure(summary, narrow):
    names = [f"{number}. General-Reasoner-Qwen2.5-14B-Instruct" for number in range(1, 19)]
    arms = [{"name": name, "label": name, "base": "base"} for name in names]
    figure, _ = grid(1, 1, 2.0, narrow)
    arm_legend(figure, summary | {"arms": arms}, names, narrow)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_findings_in_full_come_after_all_that_they_speak_of():
    titles = [section.title for section in SECTIONS]
    assert titles[-2:] == ["Findings in full", "Training"]
