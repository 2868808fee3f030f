"""The interval of one score: the same in scores.json, in summary.json and in the report's tables."""

import json
import types

import numpy as np
import pytest
from sample_lines import GRADER, key_of, write_samples
from tiny_evaluation import GREEDY, dataset, eval_config

from jaxreason.data.examples import Example
from jaxreason.evaluation.benchmark_spec import Benchmark, BenchmarkPrompt, Variant
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import TOLD, EvalJob
from jaxreason.evaluation.evaluator import grade_parts
from jaxreason.evaluation.grades import grade_head
from jaxreason.report import build
from jaxreason.report.build import ReportConfig, read_summary, run_report
from jaxreason.report.score_figures import score_figure as scores_figure
from jaxreason.report.score_tables import benchmark_tables, group_tables, significance_tables
from jaxreason.report.terminal import format_summary
from jaxreason.report.wording import group_label, signed
from jaxreason.results.grade_files import grade_head_path
from jaxreason.results.statistics import wilson
from jaxreason.tasks.verify import VerifierPool

# Benchmark -> group, scores by question (several where a question has several samples).
NONE_RIGHT = {
    "floor": ("math", [[0], [0], [0]]),
    "middle": ("math", [[1], [0], [1], [1]]),
    "ceiling": ("other", [[1], [1], [1]]),
    "repeated": ("other", [[0, 0], [0, 1], [1, 1]]),
    "shares": ("non_reasoning", [[0.5], [0.25], [1.0], [0.0]]),
}
SOME_RIGHT = NONE_RIGHT | {"floor": ("math", [[0], [1], [0]])}


def part(name, group, values):
    items = [
        EvalItem(
            f"q{i}",
            Example(f"q{i}", "hash_answer", ({"role": "user", "content": "?"},), "1", "s", {}),
            "",
            f"q{i}",
        )
        for i in range(len(values))
    ]
    variants = {"robust": Variant("own", GRADER)}
    made = Benchmark(
        name.capitalize(), group, {"own": BenchmarkPrompt({"": dataset("x")}, {})}, variants
    )
    each, key = len(values[0]), key_of(name, "greedy")
    head = key._asdict() | {"num_samples": each, "num_questions": len(values)}
    head[TOLD] = {"model": "m", "asked": {"thinking": None, "prompt_format": "chat"}}
    return EvalJob(key, made, items, {GRADER: ("robust",)}, each, GREEDY, "", [], head)


def evaluate(folder, benchmarks):
    """Writes sample files by hand, and scores.json as the program does."""
    config = eval_config({}, {}, resamples=300, maj_at=(1, 2, 3))
    parts = []
    for name, (group, values) in benchmarks.items():
        lines = [
            {"id": f"q{i}", "sample": s, "scores": {"accuracy": float(v)}}
            for i, found in enumerate(values)
            for s, v in enumerate(found)
        ]
        write_samples(folder, name, "greedy", lines)
        parts.append(part(name, group, values))
        head = grade_head_path(folder, parts[-1].key, GRADER)
        head.write_text(json.dumps(grade_head(parts[-1], GRADER)))
    pool = VerifierPool(1, 20.0)  # unused: every sample has its grade
    grade_parts(config, folder, parts, pool, lambda: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    evaluate(folder / "base" / "evaluation", NONE_RIGHT)
    evaluate(folder / "arm" / "seed_0" / "evaluation", SOME_RIGHT)
    evaluate(folder / "same" / "seed_0" / "evaluation", NONE_RIGHT)
    arms = [
        {"name": name, "method": "given", "label": name, "seeds": [0]} for name in ("arm", "same")
    ]
    groups = {name: group for name, (group, _) in NONE_RIGHT.items()}
    manifest = {"name": "s", "base": "b", "groups": groups, "arms": arms, "decodings": ["greedy"]}
    (folder / "study.json").write_text(json.dumps(manifest))
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(build, "FIGURES", {})
    run_report(folder, ReportConfig("t", "q", (), 0.95, 300, 0))
    monkeypatch.undo()
    return types.SimpleNamespace(folder=folder, summary=read_summary(folder))


def scores_json(study, model):
    folder = study.folder / (model if model == "base" else f"{model}/seed_0")
    return json.loads((folder / "evaluation" / "scores.json").read_text())


def row(study, model, benchmark, group):
    (found,) = [
        r
        for r in study.summary["scores"]
        if (r["model"], r["benchmark"], r["group"]) == (model, benchmark, group)
    ]
    return found


@pytest.mark.parametrize("model", ["base", "arm"])
def test_a_score_has_one_interval_in_scores_json_and_in_the_summary(study, model):
    value = scores_json(study, model)
    checked = 0
    for written in [r for r in value["rows"] if r["primary"]]:
        shown = row(study, model, written["benchmark"], written["group"])
        for name in ("mean", "low", "high"):
            assert shown[name] == pytest.approx(100 * written[name], abs=1e-9), written["benchmark"]
            checked += 1
    for written in value["groups"]:
        shown = row(study, model, None, written["group"])
        for name in ("mean", "low", "high"):
            assert shown[name] == pytest.approx(100 * written[name], abs=1e-9), written["group"]
            checked += 1
    assert checked == 3 * (5 + 3)


def test_the_tables_show_that_interval(study):
    cells = {line.label: line.cells[1] for line in benchmark_tables(study.summary)[0].rows}
    for written in [r for r in scores_json(study, "base")["rows"] if r["primary"]]:
        cell = cells[written["label"]]
        assert cell.text == f"{100 * written['mean']:.1f}"
        assert cell.interval == f"{100 * written['low']:.1f} to {100 * written['high']:.1f}"
    assert cells["Floor"].interval == "0.0 to 56.1"
    assert cells["Ceiling"].interval == "43.9 to 100.0"
    base = group_tables(study.summary)[0].rows[0]
    for written in scores_json(study, "base")["groups"]:
        cell = base.cells[2 * ["math", "other", "non_reasoning"].index(written["group"])]
        assert cell.interval == f"{100 * written['low']:.1f} to {100 * written['high']:.1f}"


def test_the_figure_draws_that_interval(study):
    axes = scores_figure(study.summary, narrow=False).axes[0]
    written = next(r for r in scores_json(study, "base")["groups"] if r["group"] == "math")
    drawn = [list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert any(np.allclose(ends, [100 * written["low"], 100 * written["high"]]) for ends in drawn)


def test_a_difference_from_a_base_at_the_floor_is_never_a_point(study):
    found = {(r["arm"], r["benchmark"]): r for r in study.summary["differences"] if r["benchmark"]}
    for benchmark in NONE_RIGHT:
        same = found["same", benchmark]
        assert same["mean"] == 0 and same["low"] < -5 and same["high"] > 5, benchmark
        assert same["verdict"] == "unclear"
    assert found["arm", "floor"]["mean"] == pytest.approx(100 / 3)
    assert found["arm", "floor"]["low"] < 0 < found["arm", "floor"]["high"]


def test_a_difference_has_one_interval_in_every_table_and_in_the_terminal(study):
    groups = ["math", "other", "non_reasoning"]
    by_group = {line.label: line.cells for line in group_tables(study.summary)[0].rows}
    by_task = {line.label: line.cells for line in benchmark_tables(study.summary)[0].rows}
    sure = {
        (line.section, line.label): line.cells
        for line in significance_tables(study.summary)[0].rows
    }
    terminal = format_summary(study.summary)
    checked = 0
    for found in study.summary["differences"]:
        ends = f"{signed(found['low'])} to {signed(found['high'])}"
        label = found["benchmark"]
        label = label.capitalize() if label else group_label(found["group"])
        assert sure[found["arm"], label][0].interval == ends
        if found["benchmark"]:
            cells = by_task[label]
            assert cells[2 + ["arm", "same"].index(found["arm"])].interval == ends
        elif found["group"] in groups:
            assert by_group[found["arm"]][2 * groups.index(found["group"]) + 1].interval == ends
            assert f"[{signed(found['low'])}, {signed(found['high'])}]" in terminal
        checked += 1
    assert checked == 2 * (5 + 3 + 1)


def test_a_change_is_marked_where_it_is_clear_and_its_false_discovery_rate_small(study):
    summary = json.loads(json.dumps(study.summary))
    chosen = [r for r in summary["differences"] if r["benchmark"] == "floor"]
    for row, (verdict, q) in zip(chosen, (("up", 0.05), ("up", 0.06)), strict=True):
        row |= {"verdict": verdict, "q": q}
    table = benchmark_tables(summary)[0]
    cells = next(line.cells for line in table.rows if line.label == "Floor")
    assert cells[2].text.endswith("†") and not cells[3].text.endswith("†")
    assert cells[2].tone == cells[3].tone == "up"
    (note,) = table.notes
    assert note.startswith("†") and "the 10 comparisons" in note
    assert {r["family"] for r in summary["differences"] if r["benchmark"]} == {10}


def test_the_intervals_of_repeated_samples_are_clustered_by_question(study):
    written = next(r for r in scores_json(study, "base")["rows"] if r["benchmark"] == "repeated")
    # Shares 0, 1/2, 1 of 3 questions: se^2 = (1/4 + 0 + 1/4) / 2 / 3, an effective n of 3.
    ends = [float(end) for end in wilson(0.5, 3, 0.95)]
    assert [written["low"], written["high"]] == pytest.approx(ends)


def test_a_recipe_that_asks_for_votes_of_k_samples_gets_them_where_a_question_has_as_many(study):
    rows = [r for r in scores_json(study, "base")["rows"] if r["metric"].startswith("maj@")]
    # Each sample found the answer "1", so any number of them votes for it.
    expected = [("repeated", "maj@1", 0.5), ("repeated", "maj@2", 0.5)]
    assert [(r["benchmark"], r["metric"], r["mean"]) for r in rows] == expected
    assert not any(row["primary"] for row in rows)
