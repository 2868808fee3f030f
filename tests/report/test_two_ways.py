"""A study in which some benchmarks were measured in both ways: what the report shows, says and leaves out."""

import json
import re
import shutil

import numpy as np
import pytest
from synthetic_study import ARMS, BASE, PAPER, write_study

from jaxreason.report import build
from jaxreason.report.build import ReportConfig, format_summary, read_summary, run_report
from jaxreason.report.contents import CAPTIONS, FIGURES, captions
from jaxreason.report.methods import methods
from jaxreason.report.reply_tables import asked_tables
from jaxreason.report.report_tables import find
from jaxreason.report.score_rows import Resampling
from jaxreason.report.scoring_variants import unpaired, variant_tables
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.summary import summarise
from jaxreason.report.transfer_tables import (
    degree_tables,
    gain_tables,
    sensitivity_tables,
    transfer_tables,
)
from jaxreason.report.wording import plain_number, signed

HOW = Resampling(0.95, 100, 0)
TWO = {name: ARMS[name] for name in ("rl", "sft_hi")}
MODELS = {"base": "Base", "rl": "RL (GRPO)", "sft_hi": "SFT 1e-3"}


def summary_of(folder, variant="robust"):
    reader = Reader(folder)
    about = {"title": "t", "question": "q", "recipe_limits": []}
    return summarise(reader, read_study(reader), HOW, about, variant)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), num_items=40, arms=TWO)


@pytest.fixture(scope="module")
def robust(study):
    return summary_of(study)


@pytest.fixture(scope="module")
def paper(study):
    return summary_of(study, "paper")


@pytest.fixture
def copy(study, tmp_path):
    return shutil.copytree(study, tmp_path / "copy")


def grades(folder, model, benchmark, decoding, variant):
    """The scores of all seeds of a model, in the order of the questions."""
    prompt, grader = PAPER[benchmark][:2] if variant == "paper" else ("own", "hash_answer")
    name = f"evaluation/grades/{benchmark}.{prompt}.{decoding}.{grader}.jsonl"
    paths = sorted((folder / model).glob(f"**/{name}"))
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return np.array([line["scores"]["correct"] for line in lines])


def said(summary, topic="Two ways of measuring"):
    return next((item["text"] for item in summary["found"] if item["topic"] == topic), None)


def edit_scores(folder, edit):
    """Changes every scores.json of a study."""
    for path in folder.glob("**/scores.json"):
        path.write_text(json.dumps(edit(json.loads(path.read_text()))))


def test_the_two_scores_and_their_difference_are_those_of_the_grade_files(study, robust):
    assert len(robust["variant_gaps"]) == 3 * 2 * 3  # benchmarks, decodings, models
    for gap in robust["variant_gaps"]:
        where = {name: gap[name] for name in ("benchmark", "decoding", "model")}
        found = {}
        for variant in ("paper", "robust"):
            found[variant] = (
                100 * grades(study, gap["model"], *list(where.values())[:2], variant).mean()
            )
            row = find(robust["variants"], variant=variant, **where)
            assert row["mean"] == pytest.approx(found[variant])
        assert gap["mean"] == pytest.approx(found["paper"] - found["robust"]) and gap["paired"]


def test_a_score_has_the_interval_that_it_has_in_a_report_on_its_own_way(robust, paper):
    assert len(robust["variants"]) == 36
    for row in robust["variants"]:
        report = paper if row["variant"] == "paper" else robust
        where = {name: row[name] for name in ("benchmark", "decoding", "model")}
        own = find(report["scores"], **where)
        assert (row["mean"], row["low"], row["high"]) == (own["mean"], own["low"], own["high"])
    names = ("variants", "variant_gaps", "variant_verdicts")
    for name in names:
        assert {str(row) for row in robust[name]} == {str(row) for row in paper[name]}


def test_the_text_names_the_tasks_whose_two_scores_differ_the_largest_gap_first(study, robust):
    text = said(robust)
    assert text.startswith("3 tasks were measured both robustly and in the paper's way. On 2 of ")
    largest = {}
    for benchmark in PAPER:
        for model in MODELS:
            for decoding in ("greedy", "t1"):
                means = [
                    grades(study, model, benchmark, decoding, v).mean() for v in ("paper", "robust")
                ]
                largest.setdefault(benchmark, []).append((means[0] - means[1], model))
    largest = {name: min(gaps) for name, gaps in largest.items()}
    assert largest["synthetic_order"][0] == 0
    order = sorted(("synthetic_add", "synthetic_get"), key=lambda name: largest[name][0])
    named = [
        f"{name.removeprefix('synthetic_').capitalize()} ({signed(100 * largest[name][0])} for "
        f"{MODELS[largest[name][1]]}, "
        for name in order
    ]
    assert -1 < text.find(named[0]) < text.find(named[1])
    assert "Order" not in text


def test_the_text_counts_and_names_the_changes_that_have_another_verdict(robust, paper):
    verdicts = [
        {(r["benchmark"], r["decoding"], r["arm"]): r["verdict"] for r in report["differences"]}
        for report in (robust, paper)
    ]
    keys = [key for key in verdicts[1] if key[0] is not None]
    other = [key for key in keys if verdicts[0][key] != verdicts[1][key]]
    assert len(keys) == 12 and other
    text = said(robust)
    assert (
        f"Of the 12 changes from the base on them, {len(other)} have another verdict in the" in text
    )
    words = {"up": "up", "down": "down", "unclear": "not clear"}
    for benchmark, decoding, arm in other:
        label = benchmark.removeprefix("synthetic_").capitalize()
        where = {"greedy": "greedy decoding", "t1": "temperature 1"}[decoding]
        ways = [words[found[benchmark, decoding, arm]] for found in verdicts]
        assert (
            f"{label} for {MODELS[arm]}, {where} ({ways[0]} robustly, {ways[1]} in the paper's way)"
            in text
        )


def test_where_the_ways_agree_the_text_says_so_and_where_there_is_one_nothing(copy):
    def keep(names):
        return lambda value: (
            value
            | {
                "rows": [
                    r for r in value["rows"] if r["variant"] == "robust" or r["benchmark"] in names
                ]
            }
        )

    edit_scores(copy, keep({"synthetic_order"}))
    assert said(summary_of(copy)) == (
        "One task was measured both robustly and in the paper's way. On none of them do the two scores differ by more "
        "than their intervals allow. Every change from the base on them has the same verdict in both ways."
    )
    edit_scores(copy, keep(()))
    summary = summary_of(copy)
    assert said(summary) is None and summary["variants"] == [] and not variant_tables(summary)


def test_two_variants_that_ask_and_grade_alike_are_one_way_of_measuring(copy, robust):
    alike = {"prompt": "own", "grader": "hash_answer"}
    edit_scores(
        copy,
        lambda value: (
            value
            | {
                "rows": [
                    r | alike if r["benchmark"] == "synthetic_order" else r for r in value["rows"]
                ]
            }
        ),
    )
    names = {gap["benchmark"] for gap in summary_of(copy)["variant_gaps"]}
    assert names == {"synthetic_add", "synthetic_get"}
    assert {gap["benchmark"] for gap in robust["variant_gaps"]} == names | {"synthetic_order"}


def test_the_table_has_the_robust_score_the_papers_and_their_difference(robust):
    table = variant_tables(robust)[0]
    assert table.columns == ("robust", "paper's way", "difference")
    assert [(row.section, row.label) for row in table.rows] == [
        (task, model) for task in ("Add", "Order", "Get") for model in MODELS.values()
    ]
    where = {"benchmark": "synthetic_get", "decoding": "greedy", "model": "base"}
    scores = [find(robust["variants"], variant=name, **where) for name in ("robust", "paper")]
    gap = find(robust["variant_gaps"], **where)
    cells = table.rows[6].cells
    assert [cell.text for cell in cells] == [
        *(plain_number(s["mean"]) for s in scores),
        signed(gap["mean"]),
    ]
    assert cells[2].interval == f"{signed(gap['low'])} to {signed(gap['high'])}"
    assert (gap["verdict"], cells[2].tone) == ("down", "down") and gap["high"] < 0
    assert {row.cells[2].tone for row in table.rows[3:6]} == {""}  # the tasks on which they agree


def test_a_difference_over_the_same_questions_is_surer_than_one_over_questions_of_their_own(
    copy, robust
):
    for path in copy.glob("**/synthetic_get.first_line.*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [x | {"id": f"own-{x['id']}", "cluster": f"own-{x['id']}"} for x in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    where = {"benchmark": "synthetic_get", "decoding": "greedy", "model": "base"}
    gaps = summary_of(copy)["variant_gaps"]
    own, same = find(gaps, **where), find(robust["variant_gaps"], **where)
    assert (own["paired"], same["paired"]) == (False, True)
    assert own["mean"] == pytest.approx(same["mean"])
    assert own["high"] - own["low"] > same["high"] - same["low"]
    assert {gap["paired"] for gap in gaps if gap["benchmark"] != "synthetic_get"} == {True}


def test_independent_scores_differ_when_their_intervals_in_squares_say_so():
    first, second = (
        {"mean": 30.0, "low": 27.0, "high": 34.0},
        {"mean": 40.0, "low": 36.0, "high": 44.0},
    )
    found = unpaired(first, second)
    assert (found["mean"], found["low"]) == (-10, pytest.approx(-15))  # 3 and 4
    assert found["high"] == pytest.approx(-10 + 32**0.5) and found["verdict"] == "down"
    assert unpaired(second, first)["verdict"] == "up"
    near = {"mean": 33.0, "low": 29.0, "high": 37.0}
    assert unpaired(first, near)["verdict"] == "unclear"


def test_a_report_on_the_papers_way_has_its_scores_and_says_so(copy, paper, monkeypatch):
    row = find(paper["scores"], benchmark="synthetic_add", decoding="t1", model="rl")
    assert row["mean"] == pytest.approx(
        100 * grades(copy, "rl", "synthetic_add", "t1", "paper").mean()
    )
    assert {row["benchmark"] for row in paper["scores"]} == {*PAPER, None}
    left = "Chain, Count, Copy: not measured in the paper's way, which this report is about, so left out."
    assert left in paper["missing"]
    assert (
        "are those of the paper's way of asking and scoring, mistakes inc"
        in paper["found"][0]["text"]
    )
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})
    run_report(copy, ReportConfig("t", "q", (), 0.95, 100, 0, "paper"))
    page = (copy / "report/report.html").read_text()
    assert "<dt>Tasks</dt><dd>3 of 6 in 3 groups</dd>" in page
    assert "<dt>Measured</dt><dd>in the paper&#39;s way</dd>" in page
    assert "of this report are of tasks measured in the paper&#39;s way" in page
    assert "Tasks measured in the paper's way." in (copy / "report/report.md").read_text()
    assert "tasks measured in the paper's way" in format_summary(read_summary(copy))


def test_a_report_on_the_robust_way_says_so_and_leaves_nothing_out(robust):
    assert robust["missing"] == [] and {row["benchmark"] for row in robust["scores"]} == {
        *BASE,
        None,
    }
    assert "paper's way" not in robust["found"][0]["text"] + format_summary(robust)


@pytest.mark.parametrize("variant", ["robust", "paper"])
def test_the_index_and_the_drift_say_which_way_they_are_of(copy, variant):
    path = copy / "transfer.json"
    value = json.loads(path.read_text()) | {"config": {"variant": variant}}
    path.write_text(json.dumps(value))
    for path in copy.glob("**/analysis/token_kl.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"variant": variant}))
    summary = summary_of(copy, "paper")
    way = {"robust": "in the robust way", "paper": "in the paper's way"}[variant]
    tables = [*transfer_tables(summary), *degree_tables(summary), *gain_tables(summary)]
    (note,) = {note for table in tables for note in table.notes if note[0] != "("}
    assert note.startswith(f"Computed from scores of tasks measured {way}")
    assert ("unlike the other scores of this report" in note) == (variant == "robust")
    assert all(note in table.notes for table in sensitivity_tables(summary))
    texts = [part for s in methods(summary) if s.title == "KL divergence" for part in s.parts]
    assert f"as the token ids that were sampled when tasks were put {way}." in texts[0]
    said = captions(summary)
    of_drift = (
        "kl",
        "kl_frontier",
        "kl_positions",
        "pca_shift",
        "state_layers",
        "cka_maps",
        "pca_maps",
    )
    for figure in ("transfer", "transfer_map", *of_drift, "promoted", "shift_places", "rank_shift"):
        assert said[figure].text == f"{CAPTIONS[figure].text} Of tasks measured {way}."
    assert said["scores"] == CAPTIONS["scores"]
    assert ("TI of tasks measured in the robust way" in format_summary(summary)) == (
        variant == "robust"
    )


def test_captions_say_nothing_of_ways_where_all_is_robust(robust):
    assert captions(robust) == CAPTIONS


def test_how_each_model_and_task_was_asked_is_shown_and_said(robust, copy):
    models, tasks = asked_tables(robust)
    assert {row.label: [cell.text for cell in row.cells] for row in models.rows} == {
        "Base": ["plain", "as the template has it"],
        "RL (GRPO)": ["chat", "on"],
        "SFT 1e-3": ["chat", "off"],
    }
    shown = [(row.section, row.label, *(cell.text for cell in row.cells)) for row in tasks.rows]
    assert shown[:3] == [
        ("Add", "robust", "own", "hash_answer"),
        ("Add", "paper's way", "own", "string_answer"),
        ("Chain", "robust", "own", "hash_answer"),
    ]
    assert ("Get", "paper's way", "first_line", "hash_answer") in shown and len(shown) == 9
    limits = " ".join(robust["limits"])
    assert (
        "The models were not all asked alike (Base: plain format, thinking as the template has it; RL (GRPO): chat "
        "format, thinking on; SFT 1e-3: chat format, thinking off), so a part" in limits
    )
    edit_scores(copy, lambda value: value | {"asked": {"prompt_format": "chat", "thinking": None}})
    assert "asked alike" not in " ".join(summary_of(copy)["limits"])


def test_a_score_that_weighs_gold_answers_alike_is_that_in_the_report_too(copy):
    for path in copy.glob("**/grades/synthetic_count.own.greedy.hash_answer.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [x | {"answer": "yes" if n % 10 < 3 else "no"} for n, x in enumerate(lines)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    edit_scores(
        copy,
        lambda value: (
            value
            | {
                "rows": [
                    r | {"weight": "balanced"} if r["benchmark"] == "synthetic_count" else r
                    for r in value["rows"]
                ]
            }
        ),
    )
    right = grades(copy, "base", "synthetic_count", "greedy", "robust")
    each = [
        right[[n for n in range(40) if n % 2 == half and (n % 10 < 3) == yes]].mean()
        for half in (0, 1)
        for yes in (True, False)
    ]
    row = find(
        summary_of(copy)["scores"], benchmark="synthetic_count", decoding="greedy", model="base"
    )
    assert row["mean"] == pytest.approx(100 * np.mean(each))


def test_the_page_shows_both_scores_of_every_decoding_before_the_index(copy, monkeypatch):
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})
    run_report(copy, ReportConfig("t", "q", (), 0.95, 100, 0))
    page = (copy / "report/report.html").read_text()
    assert "<dt>Tasks</dt><dd>6 in 3 groups</dd>" in page
    before = page.split("<h2>Transferability index</h2>")[0]
    assert len(re.findall(r"The robust score beside the one that the paper&#39;s", before)) == 4
