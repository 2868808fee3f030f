"""lm-eval's own program with `--model jaxreason`, and what it writes as scores of ours."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="needs the extra `harness`")
pytest.importorskip("torch", reason="makes the model")

from harness_models import make_folder, write_tasks

from jaxreason import cli
from jaxreason.errors import UserError
from jaxreason.evaluation.harness_plugin import NAME, TARGET
from jaxreason.evaluation.harness_results import read_harness_results, write_harness_task
from jaxreason.evaluation.transfer_inputs import study_comparisons
from jaxreason.results.grade_files import graded_samples, read_grades, read_sample_scores
from jaxreason.results.sample_files import read_samples, sample_keys
from jaxreason.results.score_files import EVALUATION, read_score_rows
from jaxreason.results.study_files import write_manifest

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.slow  # runs lm-eval's program


@pytest.fixture(scope="module")
def lm_eval(tmp_path_factory):
    """Runs `python -m lm_eval` where our .pth file is in a site folder, as in an installed environment."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "jaxreason" / "evaluation" / "jaxreason_lm_eval.pth", site)
    (site / "sitecustomize.py").write_text(f"import site; site.addsitedir({str(site)!r})\n")
    environment = os.environ | {"PYTHONPATH": f"{site}:{ROOT}", "XLA_FLAGS": ""}

    def run(*arguments):
        command = [sys.executable, "-m", "lm_eval", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def results(lm_eval, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = make_folder(folder / "model", "llama")
    ran = lm_eval(
        "--model",
        NAME,
        "--model_args",
        f"path={model},max_length=96,dtype=float32,slots=4",
        "--tasks",
        "tiny_choice,tiny_perplexity,tiny_reply",
        "--include_path",
        write_tasks(folder / "tasks"),
        "--apply_chat_template",
        "--output_path",
        folder / "out",
        "--log_samples",
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder / "out"


def test_the_entry_point_names_the_model():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["lm_eval.models"] == {NAME: TARGET}


def test_results_of_lm_evals_program_are_read_by_task_metric_and_document(results):
    tasks = {task.name: task for task in read_harness_results(results)}
    assert {name: len(task.documents) for name, task in tasks.items()} == {
        "tiny_choice": 8,
        "tiny_perplexity": 4,
        "tiny_reply": 9,
    }
    (file,) = results.glob("*/results_*.json")
    means = json.loads(file.read_text())["results"]["tiny_choice"]
    for metric in ("acc", "acc_norm"):
        values = [document.scores[metric] for document in tasks["tiny_choice"].documents]
        assert sum(values) / 8 == pytest.approx(means[f"{metric},none"])
    assert tasks["tiny_choice"].higher_is_better["acc"] is True
    assert set(tasks["tiny_perplexity"].left_out) == {"bits_per_byte", "word_perplexity"}
    assert tasks["tiny_choice"].documents[0].prompt.startswith("<|begin|><|turn|>system\nA passage")


def test_imported_tasks_are_sample_and_grade_files(results, tmp_path):
    choice, perplexity, reply = read_harness_results(results)
    for task in (choice, reply):
        key = write_harness_task(tmp_path, task, "greedy")
        samples, grades = read_samples(tmp_path, key), read_grades(tmp_path, key, "lm_eval")
        assert len(graded_samples(samples, grades, "here")) == len(task.documents)
        for metric in task.documents[0].scores:
            found = read_sample_scores(tmp_path, key, "lm_eval", metric, None)
            assert found.values.tolist() == [d.scores[metric] for d in task.documents]
            assert len(set(found.clusters)) == len(task.documents)
    assert [key.benchmark for key in sample_keys(tmp_path)] == ["tiny_choice", "tiny_reply"]
    with pytest.raises(UserError, match="tiny_perplexity: none of its metrics is a mean"):
        write_harness_task(tmp_path, perplexity, "greedy")


def imported(results, workdir, group):
    words = ["--lm-eval", str(results), "--group", group, "--workdir", str(workdir)]
    cli.main(["jaxreason", "grade", "--config", str(ROOT / "configs/eval_tiny.py"), *words])
    return workdir / EVALUATION


def test_the_program_puts_lm_evals_tasks_among_the_scores(results, tmp_path, capsys):
    folder = imported(results, tmp_path, "math")
    assert "tiny_perplexity" in capsys.readouterr().out
    folder = imported(results, tmp_path, "other")  # once more, in the place of the first
    value = json.loads((folder / "scores.json").read_text())
    for variant in ("robust", "paper"):
        rows = read_score_rows(folder, variant)
        primary = [(row["benchmark"], row["metric"]) for row in rows if row["primary"]]
        assert primary == [("tiny_choice", "acc"), ("tiny_reply", "exact_match")]
        assert {row["group"] for row in rows} == {"other"}
        (mean,) = (row for row in value["groups"] if row["variant"] == variant)
        assert mean["benchmarks"] == ["tiny_choice", "tiny_reply"]
        means = [row["mean"] for row in rows if row["primary"]]
        assert mean["mean"] == pytest.approx(sum(means) / 2)


def test_a_studys_index_takes_lm_evals_tasks_that_base_and_tuned_models_have(results, tmp_path):
    for name in ("base", "rl/seed_0"):
        imported(results, tmp_path / name, "other")
    arms = [{"name": "rl", "method": "rl", "label": "RL", "seeds": [0]}]
    manifest = {"name": "tiny", "base": "tiny", "groups": {}, "arms": arms}
    write_manifest(tmp_path, manifest | {"decodings": ["greedy"]})
    for variant in ("robust", "paper"):
        (comparison,) = study_comparisons(tmp_path, variant)
        assert comparison.groups["other"].names == ("tiny_choice", "tiny_reply")
        assert (comparison.groups["other"].base == comparison.groups["other"].tuned).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--group"),
        (["--group", "maths"], "expected one of math, other, non_reasoning"),
        (["--group", "math", "--decoding", "hot"], "--decoding=hot: expected one of greedy"),
    ],
)
def test_a_group_or_decoding_that_is_not_there_is_refused(
    results, tmp_path, capsys, flags, message
):
    words = ["--config", str(ROOT / "configs/eval_tiny.py"), "--workdir", str(tmp_path)]
    with pytest.raises(SystemExit):
        cli.main(["jaxreason", "grade", *words, "--lm-eval", str(results), *flags])
    assert message in capsys.readouterr().err


def damaged(results, tmp_path, change):
    folder = shutil.copytree(next(results.iterdir()), tmp_path / "model")
    (file,) = folder.glob("samples_tiny_choice_*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "has 7 documents, but the results are of 8"),
        (lambda lines: [*lines[:-1], lines[0]], "document 0 is there more than once"),
        (lambda lines: [line | {"acc": 1.0 - line["acc"]} for line in lines], "the mean of acc is"),
        (lambda lines: [*lines[:-1], {"doc_id": 7}], "line 8: not a sample of lm-eval"),
    ],
)
def test_samples_that_are_not_those_of_the_results_are_refused(results, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        read_harness_results(damaged(results, tmp_path, change))


def test_results_without_samples_are_refused(results, tmp_path):
    folder = shutil.copytree(next(results.iterdir()), tmp_path / "model")
    for file in folder.glob("samples_*"):
        file.unlink()
    with pytest.raises(UserError, match="run lm-eval with --log_samples"):
        read_harness_results(folder)
    with pytest.raises(UserError, match=r"no results_\*\.json"):
        read_harness_results(tmp_path / "nothing")


def test_arguments_of_the_model_that_are_not_known_are_refused_by_name():
    from jaxreason.evaluation.harness_loading import LoadedHarnessModel

    with pytest.raises(UserError, match="'max_lenght' is not known; did you mean 'max_length'"):
        LoadedHarnessModel(path="x", max_lenght=4)
    with pytest.raises(UserError, match="path=FOLDER is missing"):
        LoadedHarnessModel()
