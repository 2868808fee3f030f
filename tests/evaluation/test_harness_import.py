"""Results of lm-eval among the scores of an evaluation, without lm-eval."""

import json
from dataclasses import replace

import pytest
from etils import epath
from tiny_evaluation import evaluate, make_folder, sums, sums_config, write_questions

from jaxreason.evaluation import harness_import
from jaxreason.evaluation.harness_import import run_import
from jaxreason.evaluation.harness_results import Document, HarnessTask
from jaxreason.evaluation.regrade import run_grade
from jaxreason.results.sample_files import SampleKey, read_samples
from jaxreason.results.statistics import wilson


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A model and an evaluation of it; lm-eval has one task, in which three of four documents are right."""
    documents = [Document(f"d{n}", "?", "!", "x", {"acc": float(n < 3)}) for n in range(4)]
    task = HarnessTask("trivia", "none", {"acc": True}, (), documents, {})
    monkeypatch.setattr(harness_import, "read_harness_results", lambda folder: [task])
    questions = write_questions(tmp_path / "sums.jsonl", sums(4))
    return make_folder(tmp_path), sums_config(questions, {"greedy": 1})


def test_imported_tasks_stay_when_the_evaluation_is_graded_or_continued(tmp_path, setting):
    model, config = setting
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


def ends(value):
    """Benchmark -> the ends of its robust interval, and those of the group's mean."""
    rows = [r for r in value["rows"] if r["primary"] and r["variant"] == "robust"]
    groups = [{"benchmark": "group"} | g for g in value["groups"] if g["variant"] == "robust"]
    return {row["benchmark"]: (row["low"], row["high"]) for row in [*rows, *groups]}


def test_all_intervals_of_scores_are_of_the_one_confidence_that_they_name(tmp_path, setting):
    model, config = setting
    folder, other = epath.Path(tmp_path / "run" / "evaluation"), replace(config, confidence=0.5)
    own = ends(evaluate(config, model, tmp_path / "run"))["sums"]
    run_import(other, "results", "math", "greedy", folder)
    imported = json.loads((folder / "scores.json").read_text())
    assert imported["confidence"] == 0.95 and ends(imported)["sums"] == own
    assert ends(imported)["trivia"] == tuple(wilson(0.75, 4, 0.95))
    run_grade(other, [folder])
    graded = json.loads((folder / "scores.json").read_text())
    assert graded["confidence"] == 0.5 and ends(graded)["sums"] != own
    assert ends(graded)["trivia"] == tuple(wilson(0.75, 4, 0.5))
    alone = epath.Path(tmp_path / "alone")
    for how in (config, other):  # There is nothing but lm-eval's, which the second call makes anew.
        run_import(how, "results", "math", "greedy", alone)
    value = json.loads((alone / "scores.json").read_text())
    assert value["confidence"] == 0.5 and ends(value)["trivia"] == ends(graded)["trivia"]


def as_object(prompt, choices):
    return {f"gen_args_{n}": {"arg_0": prompt, "arg_1": c} for n, c in enumerate(choices)}


def as_lists(prompt, choices):
    """As older versions of lm-eval wrote it."""
    return [[prompt, choice] for choice in choices]


def write_results(folder, prompts, scores, arguments=as_object):
    """The files of lm-eval's program, of one task with two choices, with as many documents as there are prompts."""
    folder.mkdir()
    lines = [
        {"doc_id": number, "target": "0", "resps": [["-1"], ["-2"]], "filter": "none"}
        | {"metrics": ["acc"], "acc": score}
        | {"arguments": arguments(prompt, cs)}
        for number, ((prompt, *cs), score) in enumerate(zip(prompts, scores, strict=True))
    ]
    run = {
        "results": {"trivia": {"acc,none": sum(scores) / len(scores)}},
        "configs": {"trivia": {}},
    }
    run |= {"higher_is_better": {"trivia": {"acc": True}}}
    (folder / "results_2026-01-01.json").write_text(json.dumps(run))
    path = folder / "samples_trivia_2026-01-01.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("arguments", [as_object, as_lists])
def test_documents_with_the_same_requests_are_one_cluster_of_their_scores(tmp_path, arguments):
    prompts = [
        ("a?", "x", "y"),
        ("b?", "x", "y"),
        ("a?", "x", "y"),
        ("a?", "x", "z"),
        ("b?", "x", "y"),
    ]
    scores = [1.0, 0.0, 1.0, 1.0, 0.0]
    results = write_results(tmp_path / "results", prompts, scores, arguments)
    config = sums_config(write_questions(tmp_path / "sums.jsonl", sums(4)), {"greedy": 1})
    folder = epath.Path(tmp_path / "evaluation")
    assert run_import(config, results, "other", "greedy", folder) == []
    key = SampleKey("trivia", "lm_eval", "greedy")
    samples = read_samples(folder, key)
    assert [x["cluster"] for x in samples] == ["0", "1", "0", "3", "1"]
    assert [x["prompt"] for x in samples] == ["a?", "b?", "a?", "a?", "b?"]
    row = json.loads((folder / "scores.json").read_text())["rows"][0]
    # Of three questions, with 2, 2 and 1 copies: the ratio's variance C/(C-1) sum (sum - m size)^2 / 5^2.
    variance = 3 / 2 * ((2 - 0.6 * 2) ** 2 + (0 - 0.6 * 2) ** 2 + (1 - 0.6) ** 2) / 25
    low, high = wilson(0.6, 0.24 / variance, 0.95)
    assert (row["mean"], row["n"], row["graded"]) == (0.6, 3, 5)
    assert (row["low"], row["high"]) == (pytest.approx(float(low)), pytest.approx(float(high)))
