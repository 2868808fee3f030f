"""A study whose arms have bases of their own: every comparison is with the arm's base, and no other."""

import json
import shutil

import pytest
from synthetic_study import write_study

from jaxreason.evaluation.transfer_inputs import study_comparisons
from jaxreason.report import build
from jaxreason.report.build import ReportConfig, read_summary, run_report
from jaxreason.report.contents import FIGURES
from jaxreason.report.terminal import format_summary

OWN = "bases/owner--other"
CONFIG = ReportConfig("t", "q", (), 0.95, 20, 0)


@pytest.fixture
def index_alone(monkeypatch):
    """Drawing all figures takes most of the time."""
    monkeypatch.setattr(build, "FIGURES", {"transfer": FIGURES["transfer"]})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two arms on the study's base, two on another, whose evaluation is that of what was an arm."""
    folder = tmp_path_factory.mktemp("own")
    write_study(folder, num_items=30, seeds=(0,))
    (folder / "bases").mkdir()
    shutil.move(folder / "sft_lo" / "seed_0", folder / OWN)
    manifest = json.loads((folder / "study.json").read_text())
    arms = {arm["name"]: arm for arm in manifest["arms"] if arm["name"] != "sft_lo"}
    arms["rl"] |= {"base": OWN}
    arms["sft_mid"] |= {"base": OWN, "after": "rl"}
    manifest |= {"arms": list(arms.values()), "shared_base": False}
    manifest["bases"] = [
        {"name": "base", "model": "synthetic/base"},
        {"name": OWN, "model": "owner/other"},
    ]
    (folder / "study.json").write_text(json.dumps(manifest))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FIGURES", {})
        run_report(folder, CONFIG)
    return folder


def score(summary, model, **where):
    wanted = {"decoding": "greedy", "benchmark": None, "group": "math", "model": model} | where
    (row,) = [r for r in summary["scores"] if all(r[k] == v for k, v in wanted.items())]
    return row["mean"]


def test_a_difference_is_taken_from_the_arms_own_base(study):
    summary = read_summary(study)
    assert score(summary, "base") != score(summary, OWN)
    for row in summary["differences"]:
        where = {name: row[name] for name in ("decoding", "group", "benchmark")}
        base = "base" if row["arm"] == "sft_hi" else OWN
        change = score(summary, row["arm"], **where) - score(summary, base, **where)
        assert row["mean"] == pytest.approx(change)


def test_arms_of_other_bases_are_not_set_against_each_other(study):
    pairs = {(r["arm"], r["against"]) for r in read_summary(study)["arm_differences"]}
    assert pairs == {("rl", "sft_mid")}


def test_the_index_is_of_the_arms_own_base(study):
    found = {c.arm: c for c in study_comparisons(study, "robust") if c.decoding == "greedy"}
    summary = read_summary(study)
    assert {arm: c.base for arm, c in found.items()} == {
        "rl": "owner/other",
        "sft_mid": "owner/other",
        "sft_hi": "synthetic/base",
    }
    for arm, base in (("rl", OWN), ("sft_hi", "base")):
        group = found[arm].groups["math"]
        assert group.base.mean() == pytest.approx(score(summary, base))
        assert group.tuned.mean() == pytest.approx(score(summary, arm))


def test_the_report_names_every_base_with_its_arms_below_it_and_what_a_chain_came_after(study):
    summary, text = read_summary(study), (study / "report" / "report.md").read_text()
    assert [arm["name"] for arm in summary["arms"]] == ["sft_hi", "rl", "sft_mid"]
    assert "Bases: synthetic/base, owner/other." in text
    lines = [line.split()[0:2] for line in format_summary(summary).splitlines()]
    bases = [line for line in lines if line[:1] == ["Base"]]
    assert bases[:2] == [["Base", "base"], ["Base", "other"]]
    assert "| SFT 5e-4 | sft, after RL (GRPO) | 0 | 1 of 1 | 100 | Base other |" in text
    assert not any("All runs here start from the same base" in line for line in summary["limits"])
    assert "| | questions | Base other | RL (GRPO) | SFT 5e-4 |" in text


def test_arms_whose_base_is_not_evaluated_are_left_out_and_others_are_not(
    study, tmp_path, index_alone
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    (copy / OWN / "evaluation" / "scores.json").unlink()
    run_report(copy, CONFIG)
    summary = read_summary(copy)
    assert {row["arm"] for row in summary["differences"]} == {"sft_hi"}
    said = "Base other has not been evaluated, so nothing can be compared with it."
    assert said in summary["missing"]


def test_what_two_models_do_not_share_is_left_out_with_the_reason(study, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FIGURES", {"kl": FIGURES["kl"]})
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    reason = "vocabularies of 24 and 32 tokens"
    for metric in ("token_kl", "pca_shift", "cka", "cosine", "shifted_tokens", "weights"):
        nothing = {"rows": [], "groups": [], "details": {"undefined": reason, "units": []}}
        path = copy / "rl/seed_0/analysis" / f"{metric}.json"
        path.write_text(json.dumps({"metric": metric, **nothing}))
    run_report(copy, CONFIG)
    summary = read_summary(copy)
    names = "token_kl, pca_shift, cosine, cka, shifted_tokens, weights"
    assert f"RL (GRPO): {names} cannot be compared with the base: {reason}." in summary["missing"]
    assert {row["arm"] for row in summary["drift"]} == {"sft_hi", "sft_mid"}
    assert "rl" in {row["arm"] for row in summary["differences"]}  # its scores are compared


@pytest.mark.parametrize("wanted", [True, False])
def test_drift_that_the_recipe_does_not_ask_for_is_not_called_missing(
    study, tmp_path, wanted, index_alone
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report", "analysis"))
    manifest = json.loads((copy / "study.json").read_text())
    manifest["arms"] = [arm | {"drift": wanted} for arm in manifest["arms"]]
    (copy / "study.json").write_text(json.dumps(manifest))
    run_report(copy, CONFIG)
    missing = read_summary(copy)["missing"]
    assert any("rift not measured" in line for line in missing) == wanted
    said = "RL (GRPO): compared with its base by its scores alone, as the recipe asks."
    assert (said in missing) == (not wanted)


def test_an_arm_that_names_a_base_that_is_not_listed_is_refused(study, tmp_path):
    manifest = json.loads((study / "study.json").read_text())
    manifest["arms"][0]["base"] = "bases/gone"
    (tmp_path / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"study\.json: arm rl is compared with bases/gone"):
        run_report(tmp_path, CONFIG)


def test_an_index_without_pooled_deviations_is_still_in_figure_and_terminal(
    study, tmp_path, index_alone
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    made = json.loads((copy / "transfer.json").read_text())
    made["rows"] = [row for row in made["rows"] if row["mode"] != "v2_pooled"]
    made["rows"].sort(key=lambda row: row["mode"] != "v1_relative")
    (copy / "transfer.json").write_text(json.dumps(made))
    run_report(copy, CONFIG)
    assert (copy / "report" / "figures" / "transfer.png").exists()
    rows = [r for r in made["rows"] if (r["arm"], r["mode"]) == ("rl", "paper_scales")]
    (row,) = [r for r in rows if (r["decoding"], r["group"]) == ("greedy", "other")]
    (line,) = [
        x for x in format_summary(read_summary(copy)).splitlines()[:12] if x.startswith("RL")
    ]
    assert f"{row['ti']:.1f}".replace("-", "−") in line.split()
