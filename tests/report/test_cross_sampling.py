"""Cross-sampled scores in the report: rows, figure and table from the files of runs."""

import json

import matplotlib
import pytest
from synthetic_study import ARMS, write_study

from jaxreason.report.cross_sampling import cross_rows, cross_sampling_figure, cross_tables
from jaxreason.report.report_tables import find
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.style import figure_settings

TWO = {name: ARMS[name] for name in ("rl", "sft_hi")}
ABOUT = {"benchmark": "synthetic_add", "label": "Add", "group": "math", "decoding": "greedy"}
ABOUT |= {"variant": "robust", "rule": "largest", "threshold": 0.1, "questions": 40}
SCORES = {
    "base": {0: 0.4, 1: 0.55, 4: 0.6, None: 0.625},
    "tuned": {0: 0.625, 1: 0.5, 4: 0.45, None: 0.4},
}


def result(more: float) -> dict:
    rows = [
        {"leads": leads, "budget": budget, "metric": "accuracy", "mean": score + more, "n": 40}
        | {"low": score + more - 0.1, "high": score + more + 0.1, "errors": 0, "shifts": 9.0}
        | {"taken": 9.0 if budget is None else float(budget), "taken_share": 0.02, "tokens": 50.0}
        for leads, scores in SCORES.items()
        for budget, score in scores.items()
    ]
    return ABOUT | {"rows": rows, "left_out": 0, "confidence": 0.95}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("study"), num_items=6, arms=TWO)
    for arm, seed, more in (("rl", 0, 0.0), ("rl", 1, 0.1), ("sft_hi", 0, 0.0)):
        path = folder / arm / f"seed_{seed}" / "cross_sampling" / "synthetic_add.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result(more)))
    reader = Reader(folder)
    study = read_study(reader)
    arms = [{"name": arm.name, "label": arm.label, "base": arm.base} for arm in study.arms]
    bases = [{"name": "base", "label": "Base"}]
    return {
        "cross_sampling": cross_rows(reader, study),
        **{"arms": arms, "bases": bases, "labels": {"synthetic_add": "Add"}},
    }


def test_rows_are_means_over_seeds_in_points_with_each_seeds_interval(summary):
    row = find(summary["cross_sampling"], arm="rl", leads="base", budget=1)
    assert row["mean"] == pytest.approx(60) and row["taken"] == 1
    first, second = row["seeds"]
    assert [first[name] for name in ("mean", "low", "high")] == pytest.approx([55, 45, 65])
    assert second["mean"] == pytest.approx(65)
    assert find(summary["cross_sampling"], arm="sft_hi", leads="tuned", budget=None)["mean"] == 40


def test_a_panel_an_arm_draws_both_ways_against_the_budget(summary):
    with matplotlib.rc_context(figure_settings()):
        figure = cross_sampling_figure(summary, narrow=False)
    axes = [axes for axes in figure.axes if axes.get_visible()]
    assert [panel.get_title(loc="left") for panel in axes] == ["RL (GRPO), Add", "SFT 1e-3, Add"]
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["0", "1", "4", "all"]
    lines = [line.get_ydata().tolist() for line in axes[1].lines if len(line.get_xdata()) == 4]
    assert lines == [pytest.approx([40, 55, 60, 62.5]), pytest.approx([62.5, 50, 45, 40])]
    assert cross_sampling_figure(summary | {"cross_sampling": []}, narrow=False) is None


def test_a_table_has_a_line_a_budget(summary):
    rl, sft = cross_tables(summary)
    assert [row.label for row in sft.rows] == ["none", "at most 1", "at most 4", "all"]
    assert [cell.text for cell in sft.rows[1].cells] == [
        "55.0",
        "1.0",
        "2.0\u2009%",
        "50.0",
        "1.0",
        "2.0\u2009%",
    ]
    assert sft.rows[1].cells[0].interval == "45.0 to 65.0" and rl.rows[1].cells[0].interval == ""
    assert sft.spans[0] == ("Base replies, tuned choices taken", 3)
