"""Figures and tables of many models at once: the map of the index, and arms by what they have in common."""

import numpy as np
import pytest
from published_study import write_published

from jaxreason.report import build
from jaxreason.report.build import ReportConfig, read_summary, run_report
from jaxreason.report.contents import captions
from jaxreason.report.fidelity import fidelity_figure
from jaxreason.report.report_tables import find
from jaxreason.report.trait_tables import size_of, trait_tables
from jaxreason.report.transfer_figures import transfer_map_figure

ARMS = {"r1": "R1-Distill-Qwen-7B", "ot": "OpenThinker2-7B", "srl": "SimpleRL-7B"}
ARMS |= {"dapo": "DAPO-Qwen-32B", "limo": "LIMO-32B"}


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("survey"), ARMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FIGURES", {})
        run_report(folder, ReportConfig("t", "q", (), 0.95, 20, 0, "paper"))
    return read_summary(folder)


def test_the_map_has_a_point_an_arm_in_its_methods_colour_larger_for_larger_models(summary):
    (axes,) = transfer_map_figure(summary, False).axes
    points = {line.get_xydata()[0][0]: line for line in axes.lines if len(line.get_xydata()) == 1}
    index = {
        arm: find(summary["transfer"], arm=arm, group="other", mode="v2_pooled")["ti"]
        for arm in ARMS
    }
    drawn = {arm: points[value] for arm, value in index.items()}
    colours = {arm: line.get_color() for arm, line in drawn.items()}
    assert colours["r1"] == colours["ot"] == colours["limo"] != colours["srl"] == colours["dapo"]
    assert drawn["limo"].get_markersize() > drawn["ot"].get_markersize()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["SFT", "RL"]
    assert {text.get_text() for text in axes.texts} == set(ARMS.values())


def test_the_maps_caption_speaks_of_colour_and_size_only_where_arms_have_such_traits(summary):
    assert "Colour: method. Size: parameters." in captions(summary)["transfer_map"].text
    plain = [arm | {"traits": {}} for arm in summary["arms"]]
    text = captions(summary | {"arms": plain})["transfer_map"].text
    assert "Colour" not in text and "Size" not in text


def test_few_arms_have_no_map_and_a_study_without_the_paper_no_fidelity_figure(summary):
    fewer = summary | {"transfer": [r for r in summary["transfer"] if r["arm"] in ("r1", "ot")]}
    assert transfer_map_figure(fewer, False) is None
    assert fidelity_figure(summary | {"fidelity": []}, False) is None
    assert [axes.get_title() for axes in fidelity_figure(summary, False).axes[:2]] == [
        "Scores (points)",
        "Transferability index",
    ]


def test_arms_are_grouped_by_method_size_and_family_and_each_counts_once(summary):
    rows = {(row["trait"], row["value"]): row for row in summary["traits"]}
    assert rows["method", "SFT"]["arms"] == ["r1", "ot", "limo"]
    assert rows["size", "32B"]["arms"] == ["dapo", "limo"]
    change = {
        arm: find(summary["differences"], arm=arm, group="math", benchmark=None)["mean"]
        for arm in ARMS
    }
    expected = np.mean([change["srl"], change["dapo"]])
    assert rows["method", "RL"]["change"]["math"] == pytest.approx(expected)
    (table,) = trait_tables(summary)
    assert [row.section for row in table.rows] == ["Method"] * 2 + ["Size"] * 2 + ["Family"] * 2
    assert [row.label for row in table.rows][2:4] == ["7B", "32B"]


def test_only_what_says_billions_is_a_size():
    assert [size_of(text) for text in ("1.5B", "32B", "large", "B", "")] == [
        1.5,
        32,
        None,
        None,
        None,
    ]
