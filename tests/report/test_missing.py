"""A report of files that are not there, or not all there."""

import html
import json
import shutil

import pytest
from followed_study import write_followed
from synthetic_study import CONFIG

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.report import build
from jaxreason.report.build import format_summary, read_summary, run_report
from jaxreason.report.contents import FIGURES
from jaxreason.report.group_drift import SHOWN
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.summary import over_training
from jaxreason.report.transfer_tables import ABSENT


@pytest.fixture
def one_figure(monkeypatch):
    """For tests of the text: drawing all figures takes most of the time."""
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})


def page(folder) -> str:
    return (folder / "report" / "report.html").read_text()


def test_a_metric_that_no_arm_has_is_said_to_be_missing_once(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report", "cka.json"))
    run_report(copy, CONFIG)
    told = [line for line in read_summary(copy)["missing"] if "not measured" in line]
    assert told == ["Drift not measured in any arm (cka)."]


def test_a_metric_that_a_user_added_is_shown_beside_the_other_measures(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    folder = copy / "sft_lo/seed_0/analysis"
    cosine = json.loads((folder / "cosine.json").read_text())
    wanted = {"source": "base", "name": "final_distance"}
    groups = [row | {"name": "length"} for row in cosine["groups"] if wanted.items() <= row.items()]
    mine = cosine | {"metric": "mine", "groups": groups, "details": {"units": []}}
    (folder / "mine.json").write_text(json.dumps(mine))
    run_report(copy, CONFIG)
    summary = read_summary(copy)
    rows = [row for row in summary["drift"] if row["metric"] == "mine"]
    assert {row["group"]: row["mean"] for row in rows} == {
        row["group"]: row["value"] for row in groups
    }
    assert {(row["arm"], row["name"], row["source"]) for row in rows} == {
        ("sft_lo", "length", "base")
    }
    assert "mine: length, base's replies" in html.unescape(page(copy))
    assert "RL (GRPO), seed 0: drift not measured (mine)." in summary["missing"]


def test_every_metric_of_the_package_has_its_place_in_the_report():
    assert set(METRICS) == SHOWN


def test_what_is_missing_is_said(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    shutil.rmtree(copy / "sft_hi")
    (copy / "rl/seed_1/evaluation/scores.json").unlink()
    (copy / "sft_lo/seed_0/analysis/pca_shift.json").unlink()
    (copy / "transfer.json").unlink()
    path = copy / "rl/seed_0/analysis/pca_shift.json"
    counts = {"num_texts": 2, "num_cut": 0, "num_dropped": 0}
    why = {"benchmark": "synthetic_add", "undefined": "2 texts span no plane; it takes 3"}
    units = [counts | why]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"details": {"units": units}}))
    path = copy / "rl/seed_0/analysis/token_kl.json"
    other = {"details": {"undefined": "another vocabulary", "units": []}, "rows": [], "groups": []}
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    run_report(copy, CONFIG)
    summary = read_summary(copy)
    said = "RL (GRPO): token_kl cannot be compared with the base: another vocabulary."
    assert said in summary["missing"]
    assert "SFT 1e-3, seed 0: not evaluated yet." in summary["missing"]
    assert "RL (GRPO), seed 1: not evaluated yet." in summary["missing"]
    assert "SFT 2e-4, seed 0: drift not measured (pca_shift)." in summary["missing"]
    undefined = "Undefined on synthetic_add: pca_shift: 2 texts span no plane; it takes 3."
    assert undefined in summary["missing"]
    assert "The transferability index has not been computed." in summary["missing"]
    assert "Missing from this report" in page(copy)
    assert "missing: SFT 1e-3, seed 0: not evaluated yet." in format_summary(summary)


def test_a_study_that_has_only_begun_has_a_report(study, tmp_path):
    shutil.copy(study / "study.json", tmp_path / "study.json")
    run_report(tmp_path, CONFIG)
    summary = read_summary(tmp_path)
    assert "Nothing can be said yet" in summary["found"][0]["text"]
    assert "The base has not been evaluated" in summary["missing"][0]


@pytest.mark.parametrize("named", ["other", "more"])
def test_the_index_of_arms_that_the_study_has_not_is_left_out(study, tmp_path, monkeypatch, named):
    """A study that got other arms since transfer.json was written: its figures are drawn all the same."""
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    found = json.loads((copy / "transfer.json").read_text())
    old = {"other": lambda arm: f"{arm}_of_old", "more": lambda arm: arm.replace("rl", "rl_of_old")}
    for row in (*found["rows"], *found["sensitivity"]):
        row["arm"] = old[named](row["arm"])
    (copy / "transfer.json").write_text(json.dumps(found))
    drawn = {name: FIGURES[name] for name in ("transfer", "transfer_map")}
    monkeypatch.setattr(build, "FIGURES", drawn)
    run_report(copy, CONFIG)
    summary = read_summary(copy)
    without = "RL (GRPO): the transferability index has not been computed."
    assert (ABSENT if named == "other" else without) in summary["missing"]
    kept = {row["arm"] for row in summary["transfer"]}
    assert kept == (set() if named == "other" else {"sft_lo", "sft_mid", "sft_hi"})


def test_a_trajectory_of_which_only_the_base_is_there_says_nothing_of_the_run(tmp_path, one_figure):
    followed = write_followed(tmp_path / "s")
    folder = shutil.copytree(followed / "rl/seed_1/trajectory", tmp_path / "w")
    shutil.copytree(followed / "base/evaluation", folder / "steps/0/evaluation")
    path = folder / "trajectory.json"
    value = json.loads(path.read_text()) | {"elsewhere": {}, "run": "runs/rl", "base": "models/b"}
    path.write_text(json.dumps(value | {"steps": value["steps"][:1], "complete": False}))
    run_report(folder, CONFIG)
    summary = read_summary(folder)
    assert summary["differences"] == [] and summary["answer"][0].startswith("Nothing can be said")
    assert "rl, seed 0: not evaluated yet." in summary["missing"]


def steps_of(folder):
    reader = Reader(folder)
    return over_training(reader, read_study(reader), Resampling(0.95, 20, 0))


def test_a_run_that_was_not_followed_beside_others_is_said_to_be_in_no_curve(tmp_path):
    folder = write_followed(tmp_path / "s")
    for run in ("rl/seed_1", "flat/seed_0"):
        shutil.rmtree(folder / run / "trajectory")
    found = steps_of(folder)
    (curve,) = (row for row in found["curves"] if (row["arm"], row["curve"]) == ("rl", "math"))
    assert [s["seed"] for s in curve["points"][1]["seeds"]] == [0]
    said = "its steps were not evaluated, so no curve and no comparison at equal math has it"
    expected = [{"arm": arm, "seed": n, "said": said} for arm, n in (("rl", 1), ("flat", 0))]
    assert found["missed"] == expected
    shutil.rmtree(folder / "rl/seed_1/evaluation")  # Not evaluated at all: said elsewhere.
    assert steps_of(folder)["missed"] == expected[1:]
