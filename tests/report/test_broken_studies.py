"""A report of files that are broken or cut, and of settings out of range."""

import json
import math
import shutil

import pytest
from synthetic_study import CONFIG

from jaxreason.config import ConfigError, parse
from jaxreason.errors import UserError
from jaxreason.report import build
from jaxreason.report.build import ReportConfig, read_summary, run_report
from jaxreason.report.contents import FIGURES

SCORE = dict.fromkeys(
    ("benchmark", "prompt", "grader", "variant", "group", "decoding", "metric", "primary"), "x"
)


@pytest.fixture
def one_figure(monkeypatch):
    """For tests of the text: drawing all figures takes most of the time."""
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})


def page(folder) -> str:
    return (folder / "report" / "report.html").read_text()


def lines_of(path):
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        (
            "metrics.jsonl",
            lambda x: x[:40] + x[41:],
            r"seed_0/metrics\.jsonl, line 41: expected st",
        ),
        (
            "metrics.jsonl",
            lambda x: x[:90],
            r"metrics\.jsonl: ends at step 90, but the run made 100",
        ),
        ("metrics.jsonl", lambda x: [], r"metrics\.jsonl: ends at step 0, but the run made 100"),
        (
            "metrics.jsonl",
            lambda x: x[:7] + x[6:],
            r"metrics\.jsonl, line 8: expected step 8, got 7",
        ),
        (
            "evaluation/samples/synthetic_get.own.t1.jsonl",
            lambda x: x[:5] + x[4:-1],
            r"line 6: .* in line 5 al",
        ),
        (
            "evaluation/grades/synthetic_get.own.t1.hash_answer.jsonl",
            lambda x: x[1:],
            r"has 39 samples, expected 40",
        ),
        (
            "evaluation/samples/synthetic_get.own.t1.jsonl",
            lambda x: [],
            r"has 0 samples, expected 40",
        ),
    ],
)
def test_a_line_lost_or_doubled_in_a_finished_study_is_refused(
    study, tmp_path, one_figure, name, edit, message
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    path = copy / "rl/seed_0" / name
    path.write_text("".join(edit(lines_of(path))))
    with pytest.raises(UserError, match=message):
        run_report(copy, CONFIG)
    path.unlink()
    with pytest.raises(UserError, match=path.name):
        run_report(copy, CONFIG)
    assert not (copy / "report").exists()


@pytest.mark.parametrize(
    "name, content",
    [
        ("study.json", "[]"),
        ("transfer.json", "[1]"),
        ("rl/seed_0/done.json", '{"num_steps": "x"}'),
        ("rl/seed_0/analysis/cka.json", "{}"),
        ("rl/seed_0/evaluation/samples/synthetic_get.own.t1.head.json", "null"),
        ("rl/seed_0/evaluation/scores.json", "null"),
        ("rl/seed_0/evaluation/scores.json", json.dumps({"rows": [SCORE | {"mean": "x"}]})),
        ("rl/seed_0/evaluation/scores.json", json.dumps({"rows": [SCORE | {"mean": math.nan}]})),
    ],
)
def test_a_file_of_another_shape_than_was_written_is_refused_with_its_name(
    study, tmp_path, one_figure, name, content
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    (copy / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}[:,] .*expected"):
        run_report(copy, CONFIG)


def test_a_number_of_drift_that_was_edited_to_nan_is_refused_with_its_place(
    study, tmp_path, one_figure
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    path = copy / "rl/seed_0/analysis/cka.json"
    value = json.loads(path.read_text())
    value["groups"][0]["value"] = math.nan
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"cka\.json, groups, 1, value: expected a .*, got nan"):
        run_report(copy, CONFIG)


def test_a_run_that_still_trains_has_the_curve_that_it_has(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    (copy / "rl/seed_0/done.json").unlink()
    path = copy / "rl/seed_0/metrics.jsonl"
    path.write_text("".join(lines_of(path)[:30]))
    run_report(copy, CONFIG)
    steps = {(r["arm"], r["seed"]): r["num_steps"] for r in read_summary(copy)["training"]}
    assert (steps["rl", 0], steps["rl", 1]) == (30, 100)


def test_samples_without_a_score_are_said(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    path = copy / "rl/seed_0/evaluation/grades/synthetic_get.own.t1.hash_answer.jsonl"
    lines = [json.loads(line) for line in lines_of(path)]
    for line in lines[:3]:
        line |= {"scores": {}, "error": "timeout: 5 s", "extracted": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_report(copy, CONFIG)
    said = "RL (GRPO), seed 0: 3 of 40 samples of Get (t1) have no score."
    assert said in read_summary(copy)["missing"] and said in page(copy)


def test_broken_files_and_settings_are_refused_by_name(study, tmp_path):
    with pytest.raises(ValueError, match=r"study\.json: not found"):
        run_report(tmp_path, CONFIG)
    (tmp_path / "study.json").write_text('{"name": "x"}')
    with pytest.raises(ValueError, match=r"study\.json, base: expected a text, got nothing"):
        run_report(tmp_path, CONFIG)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ValueError, match=r"study\.json: not valid JSON"):
        run_report(tmp_path, CONFIG)
    section = {**CONFIG.__dict__}
    assert parse(ReportConfig, section, "report") == CONFIG
    with pytest.raises(ConfigError, match=r"report\.tilte"):
        parse(ReportConfig, section | {"tilte": "x"}, "report")
    with pytest.raises(ValueError, match=r"report\.confidence"):
        run_report(study, ReportConfig(**(section | {"confidence": 95.0})))
