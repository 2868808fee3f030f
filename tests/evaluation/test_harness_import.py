"""Results of lm-eval among the scores of an evaluation, without lm-eval."""

import json

import pytest
from etils import epath
from tiny_evaluation import evaluate, make_folder, sums, sums_config, write_questions

from jaxreason.evaluation import harness_import
from jaxreason.evaluation.harness_import import run_import
from jaxreason.evaluation.harness_results import Document, HarnessTask
from jaxreason.evaluation.regrade import run_grade


def test_imported_tasks_stay_when_the_evaluation_is_graded_or_continued(tmp_path, monkeypatch):
    documents = [Document(f"d{n}", "?", "!", "x", {"acc": float(n < 3)}) for n in range(4)]
    task = HarnessTask("trivia", "none", {"acc": True}, (), documents, {})
    monkeypatch.setattr(harness_import, "read_harness_results", lambda folder: [task])
    questions = write_questions(tmp_path / "sums.jsonl", sums(4))
    model, config = make_folder(tmp_path), sums_config(questions, {"greedy": 1})
    folder = epath.Path(tmp_path / "run" / "evaluation")
    before = evaluate(config, model, tmp_path / "run")
    assert run_import(config, "results", "math", "greedy", folder) == []
    imported = json.loads((folder / "scores.json").read_text())
    run_grade(config, [folder])
    graded = json.loads((folder / "scores.json").read_text())
    assert evaluate(config, model, tmp_path / "run") == graded
    for value in (imported, graded):
        rows = {(r["benchmark"], r["variant"]): r["mean"] for r in value["rows"] if r["primary"]}
        own = next(r["mean"] for r in before["rows"] if r["primary"])
        assert rows == {
            ("sums", "robust"): own,
            ("trivia", "robust"): 0.75,
            ("trivia", "paper"): 0.75,
        }
        means = {g["variant"]: (g["benchmarks"], g["mean"]) for g in value["groups"]}
        assert means["robust"] == (["sums", "trivia"], pytest.approx((own + 0.75) / 2))
        assert means["paper"] == (["trivia"], pytest.approx(0.75))
