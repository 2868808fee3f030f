"""What the report makes of followed runs: curves, arms at equal math, forgetting against drift, by hand."""

import json
import shutil
import zlib

import followed_study
import matplotlib
import numpy as np
import pytest
from followed_study import BASE, GROUPS, RUNS, STEPS, loss, training_kl, write_followed

from jaxreason.report import build
from jaxreason.report.build import ReportConfig, read_summary, run_report
from jaxreason.report.contents import FIGURES
from jaxreason.report.forgetting import forgetting_tables, shares_first
from jaxreason.report.matched_math import matched_tables
from jaxreason.report.report_tables import find
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.style import figure_settings
from jaxreason.report.summary import over_training
from jaxreason.results.fits import resampled_runs

HOW = Resampling(0.95, 200, 0)
NAMES = ("trajectories", "matched", "forgetting")
TRAINING, FORWARD = "token_kl.kl_forward.base.training", "token_kl.kl_forward.base.all"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_followed(tmp_path_factory.mktemp("followed"))


@pytest.fixture(scope="module")
def found(study):
    return made(study)


def made(folder):
    reader = Reader(folder)
    return over_training(reader, read_study(reader), HOW)


def points_of(found, arm, curve, group=None):
    return find(found["curves"], arm=arm, curve=curve, group=group)["points"]


def test_curves_are_means_over_seeds_at_every_step_with_an_interval(found):
    assert (
        found["decoding"] == "t1"
    )  # that of the texts on which drift was measured, though another comes first
    points = points_of(found, "rl", "math")
    assert [p["step"] for p in points] == [0, *STEPS]
    assert [p["mean"] for p in points] == pytest.approx([40, 55, 75, 85])
    assert [s["mean"] for s in points[1]["seeds"]] == pytest.approx([50, 60])
    assert all(p["low"] <= p["mean"] <= p["high"] for p in points)
    gains = points_of(found, "rl", "gain")
    assert [p["mean"] for p in gains] == pytest.approx([0, 15, 35, 45])
    assert (gains[0]["low"], gains[0]["high"]) == (0, 0)
    lost = [np.mean([loss(RUNS["sft", s][i]) for s in (0, 1)]) for i in range(3)]
    assert [p["mean"] for p in points_of(found, "sft", "loss")] == pytest.approx([0, *lost])
    kl = points_of(found, "sft", "kl_forward")
    assert [p["mean"] for p in kl] == pytest.approx([0, 0.6, 1.2, 1.8])
    assert (kl[1]["low"], kl[1]["high"]) == pytest.approx((0.543, 0.657))  # of draws 0.54, 0.66
    index = points_of(found, "rl", "index", "other")
    assert [p["mean"] for p in index] == [10, 20, 30] and index[0]["low"] is None
    assert points_of(found, "flat", "index", "other")[0]["low"] == 5


def test_a_curve_has_the_interval_that_the_same_report_has_for_the_score_and_the_change(
    study, tmp_path, monkeypatch
):
    folder = shutil.copytree(study, tmp_path / "s")
    monkeypatch.setattr(build, "FIGURES", {})
    run_report(folder, ReportConfig("t", "q", (), 0.95, 500, 0))
    summary = read_summary(folder)
    ends, where = ("low", "high"), {"decoding": "t1", "benchmark": None}
    for arm in ("rl", "sft", "flat"):
        math, gain, lost = (
            points_of(summary["over_training"], arm, curve)[-1]
            for curve in ("math", "gain", "loss")
        )
        score = find(summary["scores"], **where, model=arm, group="math")
        assert [math[end] for end in ends] == pytest.approx([score[end] for end in ends])
        change = find(summary["differences"], **where, arm=arm, group="math")
        assert [gain[end] for end in ends] == pytest.approx([change[end] for end in ends])
        rest = find(summary["differences"], **where, arm=arm, group="rest")
        assert [lost[end] for end in ends] == pytest.approx([-rest["high"], -rest["low"]])
    # As many right as the base, and the same ones: not without width.
    flat = points_of(summary["over_training"], "flat", "gain")[-1]
    assert flat["mean"] == 0 and flat["low"] < -10 and flat["high"] > 10


def test_arms_are_compared_where_their_math_first_reaches_what_both_reach(found):
    (row,) = found["matched"]
    # SFT's seeds reach 70 and 65: the highest that both do is 65.
    assert row["math"] == pytest.approx(65) and [a["arm"] for a in row["arms"]] == ["rl", "sft"]
    rl, sft = row["arms"]
    # RL's seeds: from 50 to 70 between steps 10 and 20, and from 60 to 80.
    assert rl["step"] == pytest.approx((17.5 + 12.5) / 2)
    assert [s["mean"] for s in rl["groups"]["other"]["seeds"]] == pytest.approx([80, 78.75])
    assert [s["mean"] for s in rl["groups"]["non_reasoning"]["seeds"]] == pytest.approx(
        [52.5, 58.75]
    )
    # SFT's first is at 60 after step 10 and falls: it is read where it first reaches 65, after step 20.
    assert sft["step"] == pytest.approx((27.5 + 30) / 2)
    assert sft["groups"]["other"]["seeds"][0]["mean"] == pytest.approx(52.5)
    assert sft["groups"]["rest"]["mean"] == pytest.approx((37.5 + 35) / 2)
    assert [s["mean"] for s in sft["drift"]["kl_forward"]["seeds"]] == pytest.approx([1.65, 1.8])
    (pair,) = row["pairs"]
    assert pair["mean"] == pytest.approx((66.25 + 68.75) / 2 - 36.25)
    assert 0 < pair["low"] < pair["mean"] < pair["high"]
    # The third arm never rose above the base.
    assert row["not_reached"] == [{"arm": "flat", "math": 40.0}]


def test_arms_that_reach_just_the_score_that_others_reach_are_compared_there_too(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "s")
    shutil.copytree(folder / "sft", folder / "twin")
    manifest = json.loads((folder / "study.json").read_text())
    sft = next(arm for arm in manifest["arms"] if arm["name"] == "sft")
    manifest["arms"].append(sft | {"name": "twin", "label": "TWIN"})
    (folder / "study.json").write_text(json.dumps(manifest))
    (row,) = made(folder)["matched"]
    assert row["math"] == pytest.approx(65)
    assert [arm["arm"] for arm in row["arms"]] == ["rl", "sft", "twin"]
    assert row["not_reached"] == [{"arm": "flat", "math": 40.0}]


def test_a_score_at_equal_math_is_a_score_however_far_its_seeds_are_apart(tmp_path, monkeypatch):
    right = {("rl", 0): (20, 19), ("rl", 1): (12, 1), ("sft", 0): (19, 0), ("sft", 1): (1, 20)}
    runs = {run: ((14, *rest),) * len(STEPS) for run, rest in right.items()}
    monkeypatch.setattr(followed_study, "RUNS", runs)
    (row,) = made(write_followed(tmp_path))["matched"]
    ends = [
        arm["groups"][g][end]
        for arm in row["arms"]
        for g in GROUPS.values()
        if g != "math"
        for end in ("low", "high")
    ]
    assert min(ends) >= 0 and max(ends) <= 100


def test_arms_whose_math_is_equal_but_for_rounding_reach_the_same_score(tmp_path, monkeypatch):
    """4 and 14 of 20 have another mean than 9 and 9 in floats."""
    monkeypatch.setattr(followed_study, "GROUPS", {"adding": "math", **GROUPS})
    monkeypatch.setattr(followed_study, "BASE", (8, *BASE))
    reached = {"rl": (9, 9), "sft": (4, 14), "flat": (12, 12)}
    runs = {(arm, 0): ((*math, 16, 12),) * len(STEPS) for arm, math in reached.items()}
    monkeypatch.setattr(followed_study, "RUNS", runs)
    monkeypatch.setattr(followed_study, "training_kl", lambda right: 0.1)
    (row,) = made(write_followed(tmp_path))["matched"]
    assert row["math"] == 45 and len(row["arms"]) == 3 and not row["not_reached"]


def test_a_parabola_that_was_planted_is_found_and_ranks_first(study, tmp_path):
    for run in RUNS:
        assert loss(RUNS[run][-1]) > -8
    folder = shutil.copytree(study, tmp_path / "s")
    # Only runs of whose points the planted relation holds: RL lost less than 3 points.
    manifest = json.loads((folder / "study.json").read_text())
    manifest["arms"] = [arm for arm in manifest["arms"] if arm["name"] != "rl"]
    (folder / "study.json").write_text(json.dumps(manifest))
    kept = [r for (arm, _), steps in RUNS.items() if arm != "rl" for r in steps]
    exact = [r for r in kept if loss(r) >= 3]
    assert len(exact) == len(kept)
    fits = made(folder)["forgetting"]["fits"]
    assert fits[0]["measure"] == TRAINING and fits[0]["best"] == "quadratic"
    quadratic = fits[0]["quadratic"]
    assert [c["value"] for c in quadratic["coefficients"]] == pytest.approx([3, 0, 40], abs=1e-6)
    assert quadratic["r2"] == pytest.approx(1) and quadratic["unseen"] == pytest.approx(1)
    assert quadratic["low"] == pytest.approx(1)
    # Only where one run is drawn three times may another measure be perfect too, and share the resample.
    counts = resampled_runs(3, HOW.resamples, (HOW.seed, zlib.crc32(b"forgetting")))
    alone = np.mean(counts.max(1) == 3)
    firsts = [row["first"] for row in fits if row["first"] is not None]
    assert sum(firsts) == pytest.approx(1) and 1 - alone < firsts[0] < 1
    x = [training_kl(r) for r in kept]
    y = [loss(r) for r in kept]
    line = np.polyfit(x, y, 1)
    linear = fits[0]["linear"]
    assert [c["value"] for c in linear["coefficients"]] == pytest.approx(line[::-1])
    assert linear["r2"] == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    other = find(fits, measure=FORWARD)
    assert other["quadratic"]["r2"] < 1 and other["num_points"] == 9
    assert other["first"] < alone


def test_measures_share_the_resamples_that_do_not_tell_them_apart():
    exact, noise = np.array([1, 1, np.nan, 1, 0.9]), np.array([1, 0.2, np.nan, 1 - 1e-12, 0.95])
    # Of the four with a fit, two are ties, and each measure wins one.
    assert shares_first([exact, noise]) == pytest.approx([0.5, 0.5])
    assert shares_first([noise[1:3], exact[1:3]]) == pytest.approx([0, 1])
    assert np.isnan(shares_first([exact[2:3], noise[2:3]])).all()
    # One that has no fit where another has one is not beaten by it.
    assert shares_first([np.array([0.5, np.nan]), np.array([0.7, 1])]) == pytest.approx([0, 1])


def test_points_are_every_step_of_every_run_but_the_base(found):
    points = found["forgetting"]["points"]
    assert len(points) == len(RUNS) * len(STEPS) and {p["step"] for p in points} == set(STEPS)
    own = find(points, arm="sft", seed=1, step=20)
    assert own["loss"] == pytest.approx(loss((12, 10, 6))) and not own["last"]
    assert own["drift"][FORWARD] == pytest.approx(0.3 * 2 * 2)
    assert own["drift"]["weights.relative_l2.None.None"] is None


def test_a_study_whose_runs_were_not_followed_is_fitted_over_its_final_models(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "s", ignore=shutil.ignore_patterns("trajectory"))
    found = made(folder)
    assert found["curves"] == found["matched"] == []
    assert [p["loss"] for p in found["forgetting"]["points"]] == pytest.approx(
        [loss(steps[-1]) for steps in RUNS.values()]
    )
    assert all(p["last"] for p in found["forgetting"]["points"])
    assert find(found["forgetting"]["fits"], measure=FORWARD)["num_points"] == 5


def test_one_run_has_no_interval_and_two_points_have_no_fit_and_that_is_said(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "s")
    manifest = json.loads((folder / "study.json").read_text())
    manifest["arms"] = [arm for arm in manifest["arms"] if arm["name"] == "flat"]
    (folder / "study.json").write_text(json.dumps(manifest))
    found = made(folder)
    assert found["matched"] == []
    fit = find(found["forgetting"]["fits"], measure=FORWARD)
    assert fit["linear"]["r2"] > 0 and fit["linear"]["low"] is None and fit["unseen"] is None
    assert fit["first"] is None and fit["curve"][0][2:] == [None, None]
    assert fit["quadratic"]["undefined"] == "3 points, of 4 that a fit of degree 2 needs"
    path = folder / "flat/seed_0/trajectory/trajectory.json"
    value = json.loads(path.read_text())
    value["steps"] = value["steps"][:2]
    path.write_text(json.dumps(value))
    found = made(folder)
    assert find(found["forgetting"]["fits"], measure=FORWARD)["best"] is None
    (table,) = forgetting_tables({"over_training": found, "arms": [{"name": "flat"}]})
    assert any("no linear fit (1 points, of 3" in note for note in table.notes)


@pytest.mark.parametrize("how", [HOW, Resampling(0.95, 1, 3)], ids=["200", "1"])
def test_a_fit_without_an_end_of_its_r2_has_no_band_and_few_resamples_are_no_error(
    study, tmp_path, how
):
    """Of final models alone, too many resamples hold one model only (the only resample of seed 3 does)."""
    folder = shutil.copytree(study, tmp_path / "s", ignore=shutil.ignore_patterns("trajectory"))
    reader = Reader(folder)
    found = over_training(reader, read_study(reader), how)
    json.dumps(found, allow_nan=False)
    row = find(found["forgetting"]["fits"], measure=FORWARD)
    assert row["linear"]["low"] is None and row["linear"]["high"] is None
    assert {tuple(point[2:]) for point in row["curve"]} == {(None, None)}


def test_losses_that_differ_by_rounding_alone_are_the_same_loss(tmp_path, monkeypatch):
    """What one group lost the other gained: (9 - 5) / 20 and (9 + 5) / 20 have another mean than 9 / 20 in floats."""
    monkeypatch.setattr(followed_study, "BASE", (8, 9, 9))
    places = {("rl", 0): (9, 8, 7), ("rl", 1): (6, 5, 4), ("sft", 0): (3, 2, 1)}
    runs = {run: tuple((10, 9 - k, 9 + k) for k in moved) for run, moved in places.items()}
    monkeypatch.setattr(followed_study, "RUNS", runs)
    found = made(write_followed(tmp_path))["forgetting"]
    assert {point["loss"] for point in found["points"]} == {0}
    row = find(found["fits"], measure=FORWARD)
    assert row["linear"]["undefined"] == "every point has the same loss"


def test_the_report_draws_and_tabulates_what_followed_runs_say(study, tmp_path, monkeypatch):
    folder = shutil.copytree(study, tmp_path / "s")
    monkeypatch.setattr(build, "FIGURES", {name: FIGURES[name] for name in NAMES})
    run_report(folder, ReportConfig("t", "q", (), 0.95, 50, 0))
    for name in NAMES:
        assert list((folder / "report").rglob(f"{name}.png"))
    summary = read_summary(folder)
    (table,) = matched_tables(summary)
    rows = {row.label: [cell.text for cell in row.cells] for row in table.rows}
    assert rows["RL"][:4] == ["15", "79.4", "55.6", "67.5"]
    assert table.notes[-1].endswith("(in brackets what all reach): FLAT (40.0).")
    assert any(note.startswith("RL minus SFT, the rest: +31.2") for note in table.notes)
    text = (folder / "report" / "report.md").read_text()
    assert "Forgetting against drift" in text and "At equal math" in text


def test_the_folder_of_a_trajectory_alone_has_a_report(study, tmp_path, monkeypatch):
    folder = shutil.copytree(study / "rl/seed_1/trajectory", tmp_path / "w")
    for step, source in ((0, "base"), (30, "rl/seed_1")):
        for part in ("evaluation", "analysis"):
            if (study / source / part).exists():
                shutil.copytree(study / source / part, folder / "steps" / str(step) / part)
    path = folder / "trajectory.json"
    value = json.loads(path.read_text()) | {"elsewhere": {}, "run": "runs/rl"}
    path.write_text(json.dumps(value | {"base": "models/b", "method": "rl", "seed": 1}))
    monkeypatch.setattr(build, "FIGURES", {"trajectories": FIGURES["trajectories"]})
    run_report(folder, ReportConfig("t", "q", (), 0.95, 50, 0))
    summary = read_summary(folder)
    assert (summary["base"], summary["arms"][0]["name"]) == ("models/b", "rl")
    math = find(summary["scores"], model="rl", group="math", benchmark=None)
    assert math["mean"] == pytest.approx(90)  # the last step
    points = points_of(summary["over_training"], "rl", "math")
    assert [p["mean"] for p in points] == pytest.approx([100 * BASE[0] / 20, 60, 80, 90])
    assert list((folder / "report").rglob("trajectories.png"))


def ungraded(study, folder, places, benchmarks=tuple(GROUPS)):
    """A copy of the study in which no sample of these benchmarks has a score at these places."""
    shutil.copytree(study, folder)
    failed = {"scores": {}, "error": "timeout: 5 s", "extracted": None}
    for place in places:
        for path in (f for b in benchmarks for f in folder.glob(f"{place}/grades/{b}.*.jsonl")):
            lines = [json.loads(line) for line in path.open()]
            path.write_text("".join(json.dumps(line | failed) + "\n" for line in lines))
    return folder


def test_a_step_without_a_score_on_a_benchmark_is_left_out_of_the_curves_and_said(study, tmp_path):
    place = f"rl/seed_0/trajectory/steps/{STEPS[0]}/evaluation"
    found = made(ungraded(study, tmp_path / "copy", [place], ["sums"]))
    json.dumps(found, allow_nan=False)
    points = points_of(found, "rl", "math")
    assert [p["step"] for p in points] == [0, *STEPS]
    assert [s["seed"] for s in points[1]["seeds"]] == [1]
    assert points[1]["mean"] == pytest.approx(60)
    said = f"step {STEPS[0]} is not in the curves, since a benchmark has no score there"
    assert found["missed"] == [{"arm": "rl", "seed": 0, "said": said}]


def test_a_run_or_a_base_without_a_score_on_a_benchmark_is_said_too(study, tmp_path):
    places = ["rl/seed_0/evaluation", "rl/seed_0/trajectory/steps/*/evaluation"]
    found = made(ungraded(study, tmp_path / "run", places, ["sums"]))
    assert [s["seed"] for s in points_of(found, "rl", "math")[1]["seeds"]] == [1]
    said = "step {} is not in the curves, since a benchmark has no score there"
    assert found["missed"] == [{"arm": "rl", "seed": 0, "said": said.format(n)} for n in STEPS]
    found = made(ungraded(study, tmp_path / "base", ["base/evaluation"], ["sums"]))
    said = "it is not in the curves, since a benchmark has no score of its base"
    assert found["curves"] == [] and found["missed"] == [
        {"arm": arm, "seed": seed, "said": said} for arm, seed in RUNS
    ]


def test_a_study_in_which_nothing_could_be_graded_has_a_report(study, tmp_path, monkeypatch):
    places = ["base/evaluation", "*/seed_*/evaluation", "*/seed_*/trajectory/steps/*/evaluation"]
    folder = ungraded(study, tmp_path / "s", places)
    monkeypatch.setattr(build, "FIGURES", {})
    run_report(folder, ReportConfig("t", "q", (), 0.95, 20, 0))
    summary = read_summary(folder)
    assert "The base: 20 of 20 samples of sums (t1) have no score." in summary["missing"]
    assert [part["topic"] for part in summary["found"]] == ["", "KL from the base"]
    assert not (folder / "report/tables/groups.csv").exists()


def test_a_group_in_which_nothing_could_be_graded_has_no_finding(study, tmp_path, monkeypatch):
    folder = ungraded(study, tmp_path / "s", ["base/evaluation"], ["stories"])
    monkeypatch.setattr(build, "FIGURES", {})
    run_report(folder, ReportConfig("t", "q", (), 0.95, 20, 0))
    text = read_summary(folder)["found"][1]["text"]
    assert "Other reasoning fell with SFT" in text and "Non-reasoning" not in text


def test_the_base_of_every_arm_is_a_dashed_line_in_the_panel_of_math(found):
    """Step 0 is the base; arms may have different ones."""
    rows = [row for row in found["curves"] if row["curve"] == "math"]
    other = [p | {"mean": 30.0} if p["step"] == 0 else p for p in points_of(found, "flat", "math")]
    rows = [row | {"points": other} if row["arm"] == "flat" else row for row in rows]
    summary = {
        "over_training": {"curves": rows},
        "arms": [{"name": n, "label": n, "base": "base"} for n in ("rl", "sft", "flat")],
        "bases": [{"name": "base", "label": "Base"}],
    }
    with matplotlib.rc_context(figure_settings()):
        (axes,) = FIGURES["trajectories"](summary, False).axes
    dashed = [line.get_ydata()[0] for line in axes.lines if line.is_dashed()]
    assert sorted(dashed) == [30.0, pytest.approx(40.0)]


def test_a_curve_that_is_nowhere_defined_has_no_panel(found):
    curves = [
        row | {"points": [p | {"mean": None} for p in row["points"]]}
        if row["curve"] == "index"
        else row
        for row in found["curves"]
    ]
    summary = {
        "over_training": {"curves": curves},
        "arms": [{"name": n, "label": n, "base": "base"} for n in ("rl", "sft", "flat")],
        "bases": [{"name": "base", "label": "Base"}],
    }
    with matplotlib.rc_context(figure_settings()):
        figure = FIGURES["trajectories"](summary, False)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert "Math" in titles and not any("Index" in title for title in titles)
