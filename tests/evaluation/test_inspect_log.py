"""Inspect's own reader finds in an exported log what the evaluation's files say (needs the extra `inspect`)."""

import json
import math
import sys
import tempfile

import bucket
import pytest
from etils import epath
from full_disks import files_of_at_most
from program import call, refused
from sample_lines import key_of, write_samples

from jaxreason.results.grade_files import read_grades
from jaxreason.results.sample_files import read_samples, sample_head_path
from jaxreason.results.score_files import SCORES

MODEL = "runs/tiny/rl/seed_0/model"
DECODING = {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "max_tokens": 64, "stop": ["\n\n"]}
REPLIES = [
    {"id": "a", "sample": 0, "prompt": "1 + 1?", "completion": "It is 2.", "tokens": [5, 6, 7]},
    {"id": "a", "sample": 1, "prompt": "1 + 1?", "completion": "3", "extracted": "3"},
    {"id": "ü", "sample": 0, "prompt": "zwei?", "completion": "…", "finish_reason": "length"},
    {"id": "ü", "sample": 1, "completion": "", "finish_reason": "error: too long"},
]


def row(grader, variant, metric, mean, primary=True):
    names = {"benchmark": "sums", "prompt": "own", "grader": grader, "variant": variant}
    numbers = {"mean": mean, "low": mean and mean / 2, "high": mean, "n": 2, "graded": 3}
    about = {"group": "math", "decoding": "t1", "label": "Sums", "errors": 1, "num_samples": 2}
    return names | numbers | about | {"metric": metric, "primary": primary, "formula": "wilson"}


@pytest.fixture
def evaluated(tmp_path):
    """A run with one sample file, graded in both ways."""
    folder = tmp_path / "run" / "evaluation"
    scored = [1.0, 0.0, 0.0, None]
    for grader, names in (("math", ("loose", "correct")), ("math_paper", ("correct",))):
        lines = [
            reply
            | {"scores": {} if value is None else dict.fromkeys(names, value), "answer": "2"}
            | {"error": "sampling error: too long" if value is None else None}
            for reply, value in zip(REPLIES, scored, strict=True)
        ]
        write_samples(folder, "sums", "t1", lines, grader=grader)
    path = sample_head_path(folder, key_of("sums", "t1"))
    head = json.loads(path.read_text()) | {"decoding_settings": DECODING, "seed": 17}
    path.write_text(json.dumps(head))
    rows = [
        row("math", "robust", "loose", 0.5, primary=False),
        row("math", "robust", "correct", 0.25),
        row("math_paper", "paper", "correct", None),
    ]
    asked = {"thinking": False, "prompt_format": "chat"}
    (folder / SCORES).write_text(json.dumps({"model": MODEL, "asked": asked, "rows": rows}))
    return tmp_path / "run"


def exported(workdir, target):
    """The one log that the program writes, as Inspect reads it; its samples in the order of ours."""
    log = pytest.importorskip("inspect_ai.log")
    assert call("export", "--workdir", workdir, "--target", target) == 0
    (path,) = target.iterdir()
    found = log.read_eval_log(str(path))
    found.samples.sort(key=lambda sample: (sample.id, sample.epoch))  # it reads epoch by epoch
    return found


def test_inspect_reads_the_samples_as_they_are_in_the_files(evaluated, tmp_path):
    log = exported(evaluated, tmp_path / "logs")
    lines = read_samples(evaluated / "evaluation", key_of("sums", "t1"))
    assert [(s.id, s.epoch) for s in log.samples] == [(x["id"], x["sample"] + 1) for x in lines]
    for sample, line in zip(log.samples, lines, strict=True):
        assert (sample.input, sample.output.completion) == (line["prompt"], line["completion"])
        assert [m.text for m in sample.messages] == [line["prompt"], line["completion"]]
        assert sample.target == "2" and sample.metadata["finish_reason"] == line["finish_reason"]
        usage = sample.model_usage[MODEL]
        assert usage.input_tokens == 2 and usage.output_tokens == len(line["tokens"])
    reasons = [sample.output.stop_reason for sample in log.samples]
    assert reasons == ["stop", "stop", "max_tokens", "unknown"]
    assert [s.error and s.error.message for s in log.samples] == [None] * 3 + ["error: too long"]
    assert (log.results.total_samples, log.results.completed_samples) == (4, 3)
    assert log.stats.model_usage[MODEL].output_tokens == 6


def test_inspect_reads_every_graders_scores_and_the_metrics_of_scores_json(evaluated, tmp_path):
    log = exported(evaluated, tmp_path / "logs")
    for grader in ("math", "math_paper"):
        grades = read_grades(evaluated / "evaluation", key_of("sums", "t1"), grader)
        for sample, grade in zip(log.samples[:3], grades[:3], strict=True):
            assert sample.scores[grader].value == grade["scores"]
            assert sample.scores[grader].answer == grade["extracted"]
        failed = log.samples[3].scores[grader]
        assert math.isnan(failed.value) and failed.explanation == "sampling error: too long"
    # What Inspect shows first of a dictionary of scores is the primary one.
    assert list(log.samples[0].scores["math"].value) == ["correct", "loose"]
    found = [
        (score.scorer, score.name, {name: m.value for name, m in score.metrics.items()})
        for score in log.results.scores
    ]
    assert found == [
        ("math", "correct", {"mean": 0.25, "low": 0.125, "high": 0.25}),
        ("math_paper", "correct", {}),
        ("math", "loose", {"mean": 0.5, "low": 0.25, "high": 0.5}),
    ]
    assert [s.metadata["variants"] for s in log.results.scores] == [
        ["robust"],
        ["paper"],
        ["robust"],
    ]
    assert {(s.scored_samples, s.unscored_samples) for s in log.results.scores} == {(3, 1)}


def test_inspect_reads_the_model_the_decoding_and_how_it_was_asked(evaluated, tmp_path):
    log = exported(evaluated, tmp_path / "logs")
    assert (log.status, log.eval.task, log.eval.model) == ("success", "sums", MODEL)
    assert log.eval.task_args == {"benchmark": "sums", "prompt": "own", "decoding": "t1"}
    assert (log.eval.dataset.samples, log.eval.dataset.sample_ids) == (2, ["a", "ü"])
    assert log.eval.config.epochs == 2
    config = log.eval.model_generate_config
    assert (config.temperature, config.top_p, config.max_tokens) == (0.6, 0.95, 64)
    assert config.top_k is None and (config.stop_seqs, config.seed) == (["\n\n"], 17)
    assert log.eval.metadata["asked"] == {"thinking": False, "prompt_format": "chat"}


def test_inspect_lists_the_logs_of_a_study_by_model_and_task(evaluated, tmp_path, capsys):
    log = pytest.importorskip("inspect_ai.log")
    study = tmp_path / "study"
    for name in ("base", "rl/seed_0", "rl/seed_1"):
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        (study / name).symlink_to(evaluated)
    arm = {"name": "rl", "method": "rl", "label": "RL", "seeds": [0, 1]}
    whole = {"name": "s", "base": "b", "groups": {}, "arms": [arm], "decodings": ["t1"]}
    (study / "study.json").write_text(json.dumps(whole))
    for _ in range(2):  # the same evaluation gives the same names
        assert call("export", "--workdir", study, "--target", tmp_path / "logs") == 0
        found = log.list_eval_logs(str(tmp_path / "logs"))
        assert [info.task for info in found] == ["sums.own.t1"] * 3
    folders = {
        path.parent.relative_to(tmp_path / "logs").as_posix()
        for path in (tmp_path / "logs").rglob("*.eval")
    }
    assert folders == {"base", "rl/seed_0", "rl/seed_1"}


def test_an_evaluation_that_goes_on_is_named_and_left_out(evaluated, tmp_path, capsys):
    pytest.importorskip("inspect_ai")
    (evaluated / "evaluation" / SCORES).unlink()
    said = refused(capsys, "export", "--workdir", evaluated, "--target", tmp_path / "logs")
    assert "no evaluation has finished" in said and not (tmp_path / "logs").exists()


def test_a_folder_for_temporary_files_without_room_is_named(
    evaluated, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("inspect_ai")
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    with files_of_at_most(50):
        said = refused(capsys, "export", "--workdir", evaluated, "--target", tmp_path / "logs")
    assert f"jaxreason export: {made}/" in said
    assert not (tmp_path / "logs").exists() and list(made.iterdir()) == []
    assert call("export", "--workdir", evaluated, "--target", tmp_path / "logs") == 0


def test_without_the_library_the_verb_names_the_extra(evaluated, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    monkeypatch.delitem(sys.modules, "jaxreason.evaluation.inspect_log", raising=False)
    said = refused(capsys, "export", "--workdir", evaluated, "--target", tmp_path / "logs")
    assert "inspect_ai is not installed: pip install 'jaxreason[inspect]'" in said


def test_inspect_reads_choices_and_completions_that_were_given_as_text(evaluated, tmp_path):
    folder = evaluated / "evaluation"
    chosen = {"choices": [" yes", " no"], "choice_logprobs": [-1.5, -2.5]}
    half = "a character cut in two: \ud800"
    write_samples(
        folder,
        "sums",
        "t1",
        [
            {"id": "a", "completion": " yes", "finish_reason": "choice", "tokens": []} | chosen,
            {"id": "b", "completion": half, "finish_reason": "given", "num_tokens": None},
        ],
        grader="math",
    )
    rows = [row("math", "robust", "right", 1.0)]
    (folder / SCORES).write_text(json.dumps({"model": MODEL, "rows": rows}))
    first, second = exported(evaluated, tmp_path / "logs").samples
    assert (first.choices, first.metadata["choice_logprobs"]) == ([" yes", " no"], [-1.5, -2.5])
    assert second.model_usage == {} and second.output.usage is None
    assert second.output.completion.startswith("a character cut in two: ")


def test_an_evaluation_on_a_bucket_gives_the_same_log_on_a_bucket(evaluated, tmp_path, monkeypatch):
    exported(evaluated, tmp_path / "logs")
    (local,) = (tmp_path / "logs").iterdir()
    store = bucket.use(monkeypatch)
    for path in evaluated.rglob("*.json*"):
        store.objects[f"bucket/run/{path.relative_to(evaluated)}"] = path.read_bytes()
    from jaxreason.evaluation.inspect_log import write_logs

    folders = (epath.Path(f"gs://bucket/{name}") for name in ("run/evaluation", "logs"))
    assert len(write_logs(*folders)) == 1
    (name,) = store.names("*.eval")
    assert name.endswith(local.name.partition("_")[2])  # all but the time
    copied = tmp_path / "copied.eval"
    copied.write_bytes(store.objects[name])
    read = pytest.importorskip("inspect_ai.log").read_eval_log
    assert read(str(copied)).samples == read(str(local)).samples
