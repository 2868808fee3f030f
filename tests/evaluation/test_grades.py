"""Grades are made again from samples, and a changed grader never costs a sample."""

import dataclasses
import json

import pytest
from tiny_evaluation import (
    dataset,
    eval_config,
    evaluate,
    read_lines,
    sums,
    sums_config,
    write_questions,
)

from jaxreason.config import ConfigError
from jaxreason.evaluation.benchmark_spec import Benchmark, BenchmarkPrompt, Variant
from jaxreason.evaluation.eval_settings import BenchmarkRun, OwnBenchmark, find_benchmarks


def samples_of(workdir):
    return (workdir / "evaluation" / "samples" / "sums.own.t1.jsonl").read_bytes()


def grades_file(workdir):
    return workdir / "evaluation" / "grades" / "sums.own.t1.hash_answer.jsonl"


def mark(workdir):
    """Changes what the grades say, so that grades that were made again can be told."""
    path = grades_file(workdir)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    text = [json.dumps(line | {"extracted": "as it was"}) + "\n" for line in lines]
    path.write_text("".join(text))


def found(workdir):
    return {line["extracted"] for line in read_lines(workdir, "sums.t1")}


def test_a_changed_grader_grades_the_same_samples_again(
    copied, made, model_folder, questions, monkeypatch, caplog
):
    mark(copied)
    config = sums_config(questions, {"t1": 2})
    evaluate(config, model_folder, copied)
    assert found(copied) == {"as it was"}  # the grader is the same: its grades stay
    monkeypatch.setattr("jaxreason.evaluation.grades.grader_version", lambda task: "newer")
    evaluate(config, model_folder, copied)
    assert "made by another grader or of other samples; graded again" in caplog.text
    assert samples_of(copied) == samples_of(made)
    assert read_lines(copied, "sums.t1") == read_lines(made, "sums.t1")


def test_no_grades_are_told_of_as_made_again_where_there_were_none(
    copied, model_folder, questions, caplog
):
    grades_file(copied).write_text("")
    head = grades_file(copied).with_suffix(".head.json")
    head.write_text("{}")
    evaluate(sums_config(questions, {"t1": 2}), model_folder, copied)
    assert "graded again" not in caplog.text
    assert len(grades_file(copied).read_text().splitlines()) == 12


def test_a_changed_gold_answer_grades_the_same_samples_again(
    copied, made, model_folder, questions, tmp_path
):
    reply = read_lines(made, "sums.t1")[0]["extracted"]
    other = sums(6)
    other[0] = (other[0][0], reply or "none")
    config = sums_config(write_questions(tmp_path / "gold.jsonl", other), {"t1": 2})
    evaluate(config, model_folder, copied)
    assert samples_of(copied) == samples_of(made)
    assert {line["answer"] for line in read_lines(copied, "sums.t1")} > {reply or "none"}


def test_a_grade_of_a_sample_that_is_another_now_is_made_again(
    copied, made, model_folder, questions
):
    path = copied / "evaluation" / "samples" / "sums.own.t1.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[3]["completion"] = "it is #99"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    mark(copied)
    evaluate(sums_config(questions, {"t1": 2}), model_folder, copied)
    extracted = [line["extracted"] for line in read_lines(copied, "sums.t1")]
    assert extracted == ["as it was"] * 3 + ["99"] + ["as it was"] * 8


@pytest.mark.parametrize("damage", ["cut", "doubled", "no grade", "gone", "head"])
def test_damaged_grades_are_made_again(copied, made, model_folder, questions, damage):
    path = grades_file(copied)
    lines = path.read_text().splitlines(keepends=True)
    if damage == "gone":
        path.unlink()
    elif damage == "head":
        path.with_name(path.name.replace(".jsonl", ".head.json")).write_text("{")
    else:
        broken = {"cut": lines[:4] + [lines[4][:9]], "doubled": lines + lines[:1]}
        path.write_text("".join(broken.get(damage, [*lines[:2], '{"id": "q1"}\n'])))
    evaluate(sums_config(questions, {"t1": 2}), model_folder, copied)
    assert read_lines(copied, "sums.t1") == read_lines(made, "sums.t1")


def test_what_a_damaged_head_tells_of_the_isolation_is_nothing(copied, model_folder, questions):
    head = grades_file(copied).with_suffix(".head.json")
    head.write_text(json.dumps(json.loads(head.read_text()) | {"told": "nonsense"}))
    scores = evaluate(sums_config(questions, {"t1": 2}), model_folder, copied)
    assert {row["isolation"] for row in scores["rows"]} == {None}


@pytest.mark.parametrize("field", ["subset", "cluster", "answer"])
def test_a_grade_that_says_another_thing_of_its_question_is_made_again(
    copied, model_folder, questions, field
):
    before = grades_file(copied).read_bytes()
    first, *others = before.splitlines(keepends=True)
    changed = json.loads(first) | {field: "another"}
    grades_file(copied).write_bytes(b"".join([json.dumps(changed).encode() + b"\n", *others]))
    evaluate(sums_config(questions, {"t1": 2}), model_folder, copied)
    assert grades_file(copied).read_bytes() == before


def test_variants_that_ask_alike_share_samples_and_others_do_not(
    model_folder, questions, tmp_path, monkeypatch
):
    data = dataset(questions)
    strict = dataclasses.replace(data, prompt_template="{prompt} ")
    prompts = {
        "a": BenchmarkPrompt({"": data}, {}),
        "b": BenchmarkPrompt({"": strict}, {}, stop=("#",)),
    }
    shared = {"robust": Variant("a", "hash_answer"), "paper": Variant("a", "last_number")}
    apart = {"robust": Variant("a", "hash_answer"), "paper": Variant("b", "hash_answer")}
    benchmarks = {
        "shared": Benchmark("Shared", "math", {"a": prompts["a"]}, shared),
        "apart": Benchmark("Apart", "other", prompts, apart),
    }
    monkeypatch.setattr("jaxreason.evaluation.eval_settings.BENCHMARKS", benchmarks)
    run = BenchmarkRun(0, {"greedy": 1}, ("robust", "paper"))
    scores = evaluate(eval_config({}, dict.fromkeys(benchmarks, run)), model_folder, tmp_path)
    folder = tmp_path / "evaluation"
    assert sorted(p.name for p in (folder / "samples").glob("*.jsonl")) == [
        "apart.a.greedy.jsonl",
        "apart.b.greedy.jsonl",
        "shared.a.greedy.jsonl",
    ]
    assert sorted(p.name for p in (folder / "grades").glob("*.jsonl")) == [
        "apart.a.greedy.hash_answer.jsonl",
        "apart.b.greedy.hash_answer.jsonl",
        "shared.a.greedy.hash_answer.jsonl",
        "shared.a.greedy.last_number.jsonl",
    ]
    primary = {(r["benchmark"], r["variant"]): r for r in scores["rows"] if r["primary"]}
    assert {key: (r["prompt"], r["grader"]) for key, r in primary.items()} == {
        ("shared", "robust"): ("a", "hash_answer"),
        ("shared", "paper"): ("a", "last_number"),
        ("apart", "robust"): ("a", "hash_answer"),
        ("apart", "paper"): ("b", "hash_answer"),
    }
    assert {(g["variant"], g["group"]) for g in scores["groups"]} == {
        (variant, group) for variant in ("robust", "paper") for group in ("math", "other")
    }
    lines = read_lines(tmp_path, "apart.greedy", prompt="b")
    assert all("#" not in line["completion"] for line in lines)  # cut before the stop string


def test_a_plain_prompt_is_the_text_alone(model_folder, questions, tmp_path):
    own = {"sums": OwnBenchmark("Sums", "math", dataset(questions))}
    runs = {"sums": BenchmarkRun(0, {"greedy": 1})}
    scores = evaluate(eval_config(own, runs, prompt_format="plain"), model_folder, tmp_path)
    assert scores["asked"] == {"thinking": None, "prompt_format": "plain"}
    for line in read_lines(tmp_path, "sums.greedy"):
        assert len(line["prompt_tokens"]) == len(line["prompt"])  # a token a character


def test_one_decoding_may_be_another_for_a_benchmark(model_folder, questions, tmp_path):
    data = dataset(questions)
    own = {name: OwnBenchmark(name.title(), "math", data) for name in ("long", "short")}
    runs = {
        "long": BenchmarkRun(0, {"greedy": 1}),
        "short": BenchmarkRun(0, {"greedy": 1}, overrides={"max_tokens": 3, "stop": (";",)}),
    }
    scores = evaluate(eval_config(own, runs), model_folder, tmp_path)
    lengths = {
        name: max(line["num_tokens"] for line in read_lines(tmp_path, f"{name}.greedy"))
        for name in own
    }
    assert lengths == {"long": 12, "short": 3}
    assert {row["decoding"] for row in scores["rows"]} == {"greedy"}
    head = tmp_path / "evaluation" / "samples" / "short.own.greedy.head.json"
    assert json.loads(head.read_text())["decoding_settings"]["stop"] == [";"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tempertaure": 0.0}, r"sums\.overrides\.tempertaure: no such field .*'temperature'"),
        ({"top_p": 2.0}, r"sums\.overrides over eval\.decodings\.greedy.*top_p"),
    ],
)
def test_an_override_that_is_no_decoding_is_refused(questions, overrides, message):
    own = {"sums": OwnBenchmark("Sums", "math", dataset(questions))}
    run = BenchmarkRun(0, {"greedy": 1}, overrides=overrides)
    with pytest.raises(ConfigError, match=message):
        find_benchmarks(eval_config(own, {"sums": run}))
