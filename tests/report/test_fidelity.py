"""The paper's numbers beside ours: which are found, whether they agree, and what is said where they do not."""

import json

import numpy as np
import pytest
from published_study import write_metric, write_published

from jaxreason.report import build
from jaxreason.report import fidelity_causes as causes
from jaxreason.report.build import ReportConfig, read_summary, run_report
from jaxreason.report.fidelity import fidelity_detail_tables, fidelity_tables
from jaxreason.report.report_tables import find
from jaxreason.results.published import published_indices

CONFIG = ReportConfig("t", "q", (), 0.95, 50, 0, "paper")
ARMS = {"r1": "R1-Distill-Qwen-7B", "llama": "Llama-3.1-8B-SimpleRL", "rl": "UniReason RL"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("published"), ARMS)
    questions = {"source": "questions", "name": "shift"}
    rows = [{"benchmark": "math500", "value": 8.5} | questions]
    groups = [{"group": "math", "value": 90.0, "draws": [80.0, 100.0]} | questions]
    write_metric(folder / "rl/seed_0", "paper_pca_shift", rows, groups)
    rows = [
        {"benchmark": "coqa", "source": "tuned", "name": name, "value": value}
        for name, value in (("paper_kl", 0.048), ("paper_rank_shift", 2.0))
    ]
    write_metric(folder / "rl/seed_0", "token_kl", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FIGURES", {})
        run_report(folder, CONFIG)
    return folder


@pytest.fixture(scope="module")
def rows(study):
    return read_summary(study)["fidelity"]


def test_every_published_score_of_arms_and_bases_stands_beside_ours(rows):
    found = [row for row in rows if row["kind"] == "score"]
    assert len(found) == 12 * 6  # three arms, each with a base of its own
    row = find(found, model="r1", where="math500")
    assert (row["published"], row["mean"], row["source"]) == (87.0, 88.0, "table 9")
    assert row["difference"] == pytest.approx(1.0) and row["agrees"] and row["why"] == []
    row = find(found, model="bases/Qwen--Qwen2.5-Math-7B", where="acpbench")
    assert (row["published"], row["mean"], row["source"]) == (42.7, 42.0, "table 10")


def test_a_groups_mean_is_that_of_the_published_scores(rows):
    row = find(rows, kind="mean", model="rl", where="math")
    assert row["published"] == pytest.approx(np.mean([55.7, 38.0, 87.8, 33.8]))
    assert row["mean"] == pytest.approx(np.mean([56, 38, 88, 34]))


def test_the_index_is_compared_in_the_papers_scales(rows):
    row = find(rows, kind="index", model="rl", where="other")
    assert (row["published"], row["mode"]) == (82.3, "paper_scales")
    assert row["mean"] == pytest.approx(82.3, abs=1)


def test_an_index_that_the_papers_own_scores_do_not_give_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FIGURES", {})
    arms = {"rl": "General-Reasoner RL"}
    run_report(write_published(tmp_path, arms, questions=400), CONFIG)
    row = find(read_summary(tmp_path)["fidelity"], kind="index", model="rl", where="non_reasoning")
    assert row["published"] == 66.5 and row["mean"] == pytest.approx(0.3, abs=0.5)
    assert row["why"][0] == causes.not_reproducible(0.3)


def test_an_index_of_which_one_group_alone_does_not_follow_is_named_for_that_group(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(build, "FIGURES", {})
    ours = {"rl": {"headqa": 95.0, "ifeval": 95.0}}
    run_report(write_published(tmp_path, {"rl": "SimpleRL-1.5B"}, questions=400, ours=ours), CONFIG)
    found = read_summary(tmp_path)["fidelity"]
    other, rest = (
        find(found, kind="index", model="rl", where=w) for w in ("other", "non_reasoning")
    )
    assert (other["published"], rest["published"]) == (85.6, 9.5)
    assert not other["agrees"] and causes.not_reproducible(85.6) not in other["why"]
    assert rest["why"][0] == causes.not_reproducible(9.0)


def test_eleven_indices_of_six_models_do_not_follow_from_the_papers_scores():
    odd = [(m, g) for m, x in published_indices().items() for g in x.values if not x.follows(g)]
    assert (len(odd), len({model for model, _ in odd})) == (11, 6)


def test_drift_is_compared_by_benchmark_and_group_in_the_papers_variant(rows):
    row = find(rows, kind="pca_shift", where="math500")
    assert (row["model"], row["published"], row["mean"], row["agrees"]) == ("rl", 8.31, 8.5, True)
    row = find(rows, kind="pca_shift", where="math")
    assert row["agrees"] is False and causes.GROUP_NOT_STATED in row["why"]
    assert find(rows, kind="kl", where="coqa")["difference"] == pytest.approx(0)
    row = find(rows, kind="rank_shift", where="coqa")
    assert row["published"] == 0.2 and row["why"] == [causes.DRIFT_CAUSES["rank_shift"]]
    drift = [r for r in rows if r["kind"] in ("pca_shift", "kl", "rank_shift")]
    assert len(drift) == 4  # what was not measured has no row


def test_the_tables_count_what_agrees_and_give_every_reason_once(study):
    summary = read_summary(study)
    (table,) = fidelity_tables(summary)
    scores = next(row for row in table.rows if row.label == "Scores (points)")
    assert scores.cells[0].text == "72" and scores.cells[1].text == "72 of 72"
    kinds = [t.caption.split(" (")[0] for t in fidelity_detail_tables(summary)]
    assert kinds[:2] == ["Scores", "Group means"] and len(kinds) == 6
    shift = next(t for t in fidelity_detail_tables(summary) if t.caption.startswith("PCA"))
    assert [row.cells[3].text for row in shift.rows] == ["in our interval", "(1) (2)"]
    assert len(shift.notes) == 2 and shift.notes[0].startswith("(1) Which benchmarks")
    text = (study / "report" / "report.md").read_text()
    assert "Every published number beside ours" in text and "Beside the paper's numbers" in text


def test_an_interval_without_one_end_is_shown_with_the_other(study):
    summary = read_summary(study)
    row = find(summary["fidelity"], kind="index", where="other")
    summary["fidelity"] = [
        row | {"low": low, "high": high, "agrees": None}
        for low, high in ((None, 90.0), (70.0, None), (None, None))
    ]
    (table,) = fidelity_detail_tables(summary)
    assert [row.cells[1].interval for row in table.rows] == ["? to 90.0", "70.0 to ?", ""]


def test_robust_ways_fewer_questions_and_twins_trained_here_are_named_where_we_differ(
    tmp_path, monkeypatch
):
    how = {"variant": "robust", "method": "sft", "benchmarks": ("math500", "coqa", "aime24")}
    monkeypatch.setattr(build, "FIGURES", {})
    write_published(tmp_path, {"rl": "UniReason RL"}, ours={"rl": {"math500": 5.0}}, **how)
    run_report(tmp_path, ReportConfig("t", "q", (), 0.95, 50, 0, "robust"))
    summary = read_summary(tmp_path)
    row = find(summary["fidelity"], model="rl", where="math500")
    assert row["difference"] == pytest.approx(4 - 87.8)
    assert row["why"] == [
        causes.TRAINED_HERE,
        causes.fewer(50, 500),
        causes.robust_way("math500"),
        causes.BENCHMARK_CAUSES["math500"],
    ]
    assert not any(row["kind"] == "mean" for row in summary["fidelity"])  # it is about another way


def test_a_study_that_names_no_model_of_the_paper_has_no_fidelity_table(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FIGURES", {})
    folder = write_published(tmp_path, {"rl": "UniReason RL"}, benchmarks=("math500", "coqa"))
    manifest = json.loads((folder / "study.json").read_text())
    for entry in (*manifest["arms"], *manifest["bases"]):
        entry["published"] = ""
    (folder / "study.json").write_text(json.dumps(manifest))
    run_report(folder, CONFIG)
    assert read_summary(folder)["fidelity"] == []
    assert "Beside the paper's numbers" not in (folder / "report" / "report.md").read_text()
