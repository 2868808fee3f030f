"""Rows of scores.json against the tasks' own definitions and hand numbers."""

import pathlib
import re

import pytest

from jaxreason.data.examples import Example
from jaxreason.data.rows import DatasetConfig
from jaxreason.evaluation.aggregation import group_rows, reply_facts, summarize_grades
from jaxreason.evaluation.benchmark_spec import Benchmark, BenchmarkPrompt, Variant
from jaxreason.evaluation.benchmarks import BENCHMARKS, EvalItem
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.grading import EvalReply, grade_line, sample_line
from jaxreason.results.sample_files import SampleKey
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tasks.registry import TASKS, summarize
from jaxreason.tasks.workers import Verdict, grade_reply


def item(name, answer="", metadata=None, subset="", cluster=None):
    messages = ({"role": "user", "content": name},)
    example = Example(name, "t", messages, answer, "test", metadata or {})
    return EvalItem(name, example, subset, cluster or name)


def line(task, one, text, sample=0, error=None):
    verdict = Verdict({}, None, error) if error else grade_reply(TASKS[task], one.example, text)
    assert verdict.error == error
    made = sample_line("b", EvalReply(one, sample, (1,), (2, 3), str(text), "stop", {}))
    return made | grade_line(made, one, verdict)


KEY = SampleKey("b", "own", "greedy")
GREEDY = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=12, stop=())


def summary(benchmark, items, lines, pass_at=(), maj_at=()):
    task = benchmark.variants["robust"].task
    rows, primary = summarize_grades(
        KEY, "robust", task, benchmark, items, lines, 0.95, 300, pass_at, maj_at
    )
    part = EvalJob(KEY, benchmark, items, {task: ("robust",)}, 1, GREEDY, "", [], {})
    (replies,) = reply_facts([(part, task, lines)])
    return {row["metric"]: row for row in rows}, replies, primary


def own(task, subsets=("",)):
    data = DatasetConfig("file", "x", "", {}, "{prompt}", task, (), 0, 0, {})
    prompt = BenchmarkPrompt({name: data for name in subsets}, {})
    return Benchmark("B", "math", {"own": prompt}, {"robust": Variant("own", task)})


def test_instruction_level_accuracy_is_over_instructions_as_the_task_says():
    no_comma, lower = "punctuation:no_comma", "change_case:english_lowercase"
    items = [
        item("q0", metadata={"instruction_id_list": [no_comma], "kwargs": [{}]}),
        item("q1", metadata={"instruction_id_list": [no_comma, lower], "kwargs": [{}, {}]}),
        item("q2", metadata={"instruction_id_list": [no_comma], "kwargs": [{}]}),
    ]
    texts = ["no commas here", "One, Two, and more English words", "none"]
    lines = [line("ifeval", one, text) for one, text in zip(items, texts, strict=True)]
    rows, _, _ = summary(BENCHMARKS["ifeval"], items, lines)
    expected = summarize(TASKS["ifeval"], [i.example for i in items], [x["scores"] for x in lines])
    for metric in ("instruction_strict", "instruction_loose", "prompt_strict", "prompt_loose"):
        assert rows[metric]["mean"] == pytest.approx(expected[metric]), metric
    assert rows["instruction_strict"]["mean"] == pytest.approx(2 / 4)
    assert rows["instruction_strict"]["weight"] == "instructions"
    assert rows["instruction_strict"]["primary"] and not rows["prompt_strict"]["primary"]


def test_pairs_of_a_question_are_one_cluster_and_whole_set_metrics_are_the_tasks():
    items, lines = [], []
    for number in range(12):
        metadata = {"sentence": "s", "question": f"q{number // 3}"}
        gold = "yes" if number % 3 == 0 else "no"
        one = item(f"i{number}", gold, metadata, cluster=f"q{number // 3}")
        items.append(one)
        lines.append(line("mc_taco", one, (-2.0, -1.0) if number % 2 else (-1.0, -2.0)))
    rows, _, _ = summary(BENCHMARKS["mc_taco"], items, lines)
    expected = summarize(TASKS["mc_taco"], [i.example for i in items], [x["scores"] for x in lines])
    for metric, value in expected.items():
        assert rows[metric]["mean"] == pytest.approx(value), metric
    assert (
        rows["balanced_accuracy"]["primary"] and rows["balanced_accuracy"]["weight"] == "balanced"
    )
    assert rows["balanced_accuracy"]["low"] < rows["balanced_accuracy"]["mean"]
    assert (rows["accuracy"]["n"], rows["accuracy"]["graded"]) == (4, 12)
    assert rows["accuracy"]["formula"] == "wilson, effective n"
    assert rows["question_f1"]["low"] is None and rows["question_f1"]["formula"] == "whole set"


def test_subsets_count_alike_whatever_their_size():
    items = [item(str(n), "1", subset="a") for n in range(6)] + [item("z", "1", subset="b")]
    texts = ["#1"] * 3 + ["#0"] * 3 + ["#1"]
    lines = [line("hash_answer", one, text) for one, text in zip(items, texts, strict=True)]
    rows, _, _ = summary(own("hash_answer", ("a", "b")), items, lines)
    assert rows["accuracy"]["mean"] == pytest.approx((1 / 2 + 1) / 2)


def test_pass_at_k_by_hand_and_failed_samples_left_out():
    items = [item("a", "1"), item("b", "1"), item("c", "1")]
    texts = [["#1", "#0", "#0"], ["#0", "#0", "#0"], ["#1", "#1", None]]
    lines = [
        line("hash_answer", one, text, sample, None if text else "timeout: 5 s")
        for one, group in zip(items, texts, strict=True)
        for sample, text in enumerate(group)
    ]
    rows, replies, _ = summary(own("hash_answer"), items, lines, pass_at=(1, 2, 3, 4))
    # pass@2: 1 - C(2,2)/C(3,2), 0, and of the two graded samples of c one; pass@3: c is left out.
    assert rows["pass@2"]["mean"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert (rows["pass@3"]["mean"], rows["pass@3"]["n"]) == (pytest.approx(1 / 2), 2)
    assert "pass@4" not in rows
    assert rows["accuracy"]["mean"] == pytest.approx(3 / 8)
    assert rows["accuracy"]["errors"] == 1 and replies["errors"] == {"hash_answer": {"timeout": 1}}


def test_maj_at_k_is_the_score_of_the_most_frequent_extracted_answer():
    items = [item("a", "1"), item("b", "1")]
    texts = [["#1", "#1", "#0"], ["#1", "#0", "#0"]]
    lines = [
        line("hash_answer", one, text, sample)
        for one, group in zip(items, texts, strict=True)
        for sample, text in enumerate(group)
    ]
    rows, _, _ = summary(own("hash_answer"), items, lines, maj_at=(1, 3))
    assert rows["maj@1"]["mean"] == pytest.approx(1 / 2) == rows["accuracy"]["mean"]
    assert rows["maj@3"]["mean"] == pytest.approx(1 / 2)
    assert not rows["maj@3"]["primary"] and rows["maj@3"]["n"] == 2
    lines[5] = line("hash_answer", items[1], "#1", 2)
    assert summary(own("hash_answer"), items, lines, maj_at=(3,))[0]["maj@3"]["mean"] == 1


def test_a_benchmark_that_could_not_be_graded_has_no_mean():
    one = item("a", "1")
    rows, _, primary = summary(
        own("hash_answer"), [one], [line("hash_answer", one, "", 0, "crash: x")]
    )
    assert rows["accuracy"]["mean"] is None and rows["accuracy"]["primary"]
    (row,) = group_rows([("robust", "math", KEY, primary)], 0.95, 100)
    assert row["mean"] is None


def test_group_means_are_over_benchmarks_of_a_decoding():
    parts = []
    for name, texts in (("x", ["#1"] * 8), ("y", ["#1", "#0"])):
        items = [item(f"{name}{n}", "1") for n in range(len(texts))]
        lines = [line("hash_answer", one, text) for one, text in zip(items, texts, strict=True)]
        key = KEY._replace(benchmark=name)
        parts.append(("robust", "math", key, summary(own("hash_answer"), items, lines)[2]))
    parts.append(("robust", "other", KEY._replace(benchmark="z"), parts[1][3]))
    parts.append(("paper", "math", KEY, parts[1][3]))
    rows = group_rows(parts, 0.95, 100)
    assert [(r["group"], r["benchmarks"], r["mean"]) for r in rows if r["variant"] == "robust"] == [
        ("math", ["x", "y"], pytest.approx(0.75)),
        ("other", ["z"], pytest.approx(0.5)),
    ]
    assert [r["benchmarks"] for r in rows if r["variant"] == "paper"] == [["b"]]


def test_the_document_names_every_field_of_rows_groups_and_replies():
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "evaluation_files.md"
    text = page.read_text()
    of_scores = text[text.index("## `scores.json`") : text.index("## `transfer.json`")]
    said = set(re.findall(r"`(\w+)`", of_scores))
    one = item("a", "1")
    rows, replies, primary = summary(own("hash_answer"), [one], [line("hash_answer", one, "#1")])
    (group,) = group_rows([("robust", "math", KEY, primary)], 0.95, 100)
    fields = {*rows["accuracy"], *replies, *group}
    assert {"formula", "mean_tokens", "benchmarks"} < fields and fields - said == set()


def test_group_means_stand_in_the_order_of_groups_that_everything_else_has():
    one = item("a", "1")
    primary = summary(own("hash_answer"), [one], [line("hash_answer", one, "#1")])[2]
    groups = ("other", "own", "non_reasoning", "math")
    parts = [("robust", group, KEY, primary) for group in groups]
    found = [row["group"] for row in group_rows(parts, 0.95, 100)]
    assert found == ["math", "other", "non_reasoning", "own"]
