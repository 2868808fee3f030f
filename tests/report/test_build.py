"""The whole report of made-up studies: what it holds, what it says of what is missing."""

import concurrent.futures
import dataclasses
import html
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter

import pytest
from synthetic_study import CONFIG, write_study

from jaxreason.report import build, pages
from jaxreason.report.answer import answer_tables
from jaxreason.report.build import format_summary, read_summary, run_report
from jaxreason.report.contents import FIGURES, TABLES
from jaxreason.report.group_drift import drift_tables
from jaxreason.report.methods import methods
from jaxreason.report.report_tables import find
from jaxreason.report.training_runs import training_figure
from jaxreason.report.transfer_tables import gain_tables, sensitivity_tables
from jaxreason.report.wording import plain_number

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "report_files.md"
# What the made-up study holds nothing for: models of the paper, and four arms whose index is defined.
FOLLOWED = {"trajectories", "matched"}  # the figures of runs that were followed, as these were not


@pytest.fixture
def one_figure(monkeypatch):
    """For tests of the text: drawing all figures takes most of the time."""
    monkeypatch.setattr(build, "FIGURES", {"frontier": FIGURES["frontier"]})


def page(folder: pathlib.Path) -> str:
    return (folder / "report" / "report.html").read_text()


def test_it_writes_a_page_a_markdown_file_figures_and_a_summary(study):
    names = {path.name for path in (study / "report").iterdir()}
    assert names >= {"report.html", "report.md", "summary.json", "figures", "tables"}
    drawn = {path.stem for path in (study / "report" / "figures").iterdir()}
    assert drawn >= {
        "scores",
        "frontier",
        "kl_frontier",
        "benchmarks",
        "transfer",
        "kl",
        "pca_shift",
        "training",
    }
    for name in drawn:
        path = study / "report" / "figures" / name
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert path.with_suffix(".svg").read_text().startswith("<svg")


def test_the_page_needs_nothing_from_outside(study):
    text = page(study)
    assert "http" not in text and "@import" not in text and "<script src" not in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]+"', text)
    drawn = len(list((study / "report" / "figures").glob("*.png")))
    assert text.count("<figure id=") == drawn
    assert text.count('role="img"') == 2 * drawn


def test_text_of_the_recipe_is_escaped(study):
    assert "Synthetic &lt;numbers&gt; &amp; nothing else." in page(study)


def test_labels_that_are_html_or_no_unicode_are_written_and_read_as_text(
    study, tmp_path, one_figure
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    manifest = json.loads((copy / "study.json").read_text())
    manifest["arms"][0]["label"] = "<b>RL</b> | $_x & y"
    (copy / "study.json").write_text(json.dumps(manifest))
    run_report(copy, dataclasses.replace(CONFIG, question="What \ud800?"))
    for name in ("report.html", "report.md"):
        text = (copy / "report" / name).read_text()
        assert "<b>RL" not in text and "&lt;b&gt;RL&lt;/b&gt;" in text
    assert (
        "<b>RL</b> \\|" not in text
        and "&lt;b&gt;RL&lt;/b&gt; \\| $_x &amp; y" in text
        and "*What \ufffd?*" in text
    )
    assert read_summary(copy)["arms"][0]["label"] == manifest["arms"][0]["label"]
    assert read_summary(copy)["question"] == "What \ud800?"


def test_what_an_earlier_report_left_is_not_kept(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    for name in ("figures/old.png", "tables/old.csv", "samples/99.js"):
        (copy / "report" / name).write_text("x")
    assert (copy / "report/figures/scores.png").exists()
    run_report(copy, CONFIG)
    assert {p.name for p in (copy / "report/figures").iterdir()} == {"frontier.png", "frontier.svg"}
    assert not (copy / "report/tables/old.csv").exists()
    assert not (copy / "report/samples/99.js").exists()
    assert (copy / "report/samples/index.js").exists()


KILLED = """
import os, signal, sys
from etils import epath
from synthetic_study import CONFIG
from jaxreason.report import build
from jaxreason.report.contents import FIGURES
build.FIGURES = {"frontier": FIGURES["frontier"]}
write, name = build.atomic_write_bytes, sys.argv[2]
def killed(path, data):
    if path.name != name:
        return write(path, data)
    (path.parent / f"{name}.tmp-{os.getpid()}").write_bytes(data[:100])
    os.kill(os.getpid(), signal.SIGKILL)
build.atomic_write_bytes = killed
build.run_report(epath.Path(sys.argv[1]), CONFIG)
"""


def test_a_report_killed_as_it_writes_a_figure_and_made_again_is_the_undisturbed_one(
    study, tmp_path, one_figure
):
    folders = [tmp_path / name / "copy" for name in ("whole", "killed")]
    for folder in folders:
        shutil.copytree(study, folder, ignore=shutil.ignore_patterns("report"))
    run_report(folders[0], CONFIG)
    paths = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, folders[1], "frontier.svg"],
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in (folders[1] / "report/figures").iterdir()]
    assert len(left) == 2 and "frontier.png" in left and "frontier.svg" not in left
    run_report(folders[1], CONFIG)
    whole, again = (
        {p.relative_to(f): p.read_bytes() for p in (f / "report").rglob("*") if p.is_file()}
        for f in folders
    )
    assert again == whole and len(whole) > 20


def test_reports_of_one_study_at_once_wait_for_each_other_and_are_that_of_one_alone(
    study, tmp_path, caplog
):
    copy, config = tmp_path / "copy", dataclasses.replace(CONFIG, figures=False)
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))

    def contents():
        return {p: p.read_bytes() for p in (copy / "report").rglob("*") if p.is_file()}

    run_report(copy, config)
    alone = contents()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for made in [pool.submit(run_report, copy, config) for _ in range(2)]:
            made.result()
    assert contents() == alone and len(alone) > 20
    assert f"{copy}: another program makes its report; waiting" in caplog.text


def test_without_figures_the_numbers_are_the_same_and_nothing_is_drawn_or_pointed_to(
    study, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy)
    run_report(copy, dataclasses.replace(CONFIG, figures=False))
    names = ["summary.json", *(f"tables/{p.name}" for p in (study / "report/tables").iterdir())]
    assert len(names) > 20
    for name in names:
        assert (copy / "report" / name).read_bytes() == (study / "report" / name).read_bytes()
    assert sorted(p.name for p in (copy / "report/tables").iterdir()) == sorted(
        name.removeprefix("tables/") for name in names[1:]
    )
    assert not list((copy / "report/figures").iterdir())  # not those of the earlier report either
    text, markdown = page(copy), (copy / "report/report.md").read_text()
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL) + markdown
    assert not re.findall(r"<svg|<img|<figure id|figures/|!\[", shown)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r'id="([^"]+)"', text))
    assert cells_of_the_page(copy) == cells_of_the_page(study)
    headings = re.findall(r'<h2 id="part-\d+">([^<]*)', text)
    assert "Scores" in headings and "What was gained, and what it cost" not in headings
    assert "What was gained, and what it cost" in page(study)


@pytest.mark.slow
def test_a_page_that_would_be_too_large_has_plainer_figures_and_fewer_samples(
    study, tmp_path, one_figure, monkeypatch
):
    copy, pairs = tmp_path / "copy", []
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    run_report(copy, CONFIG)
    whole = page(copy)
    size = len(whole.encode()) + pages.SLACK
    samples = re.search(r'id="samples-data">(.*?)</script>', whole, re.DOTALL)[1]
    for most in (size - 60_000, size - len(samples) - 60_000):
        monkeypatch.setattr(pages, "LARGEST", most)
        run_report(copy, CONFIG)
        assert len(page(copy).encode()) <= most
        pairs.append(int(re.search(r"This page holds (\d+) pairs", page(copy))[1]))
    assert int(re.search(r"This page holds (\d+) pairs", whole)[1]) > pairs[0] > pairs[1]
    assert 'class="narrow"' in whole and 'class="narrow"' not in page(copy)


def test_scores_are_those_of_the_sample_files(study):
    lines = (
        (study / "rl/seed_1/evaluation/grades/synthetic_add.own.t1.hash_answer.jsonl")
        .read_text()
        .splitlines()
    )
    samples = [json.loads(line) for line in lines]
    halves = [
        [s["scores"]["correct"] for s in samples if s["subset"] == h] for h in ("odd", "even")
    ]
    expected = 100 * sum(sum(half) / len(half) for half in halves) / 2
    summary = read_summary(study)
    row = next(
        r
        for r in summary["scores"]
        if (r["decoding"], r["benchmark"], r["model"]) == ("t1", "synthetic_add", "rl")
    )
    assert row["seeds"][1]["mean"] == pytest.approx(expected)


def cells_of_the_page(folder: pathlib.Path) -> Counter:
    """Text and interval of every cell, and how often it is there."""
    found = re.findall(
        r"<td[^>]*>([^<]*)(?:<small>([^<]*)</small>)?</td>", page(folder).split("<h2>Provenance")[0]
    )
    return Counter((html.unescape(text), html.unescape(interval)) for text, interval in found)


def cells_of_tables(summary: dict) -> Counter:
    makers = (*TABLES.values(), answer_tables)
    tables = [table for make in makers for table in make(summary)]
    heads = sum(
        bool(table.spans) + 1 for table in tables
    )  # each line of a head begins with an empty cell
    cells = Counter(
        (c.text, c.interval) for table in tables for row in table.rows for c in row.cells
    )
    return cells + Counter({("", ""): heads})


def test_every_number_of_the_tables_is_in_the_summary(study):
    shown = cells_of_the_page(study)
    assert sum(any(map(str.isdigit, text)) for text, _ in shown.elements()) > 500
    assert shown == cells_of_tables(read_summary(study))


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("scores", "mean"),
        ("differences", "low"),
        ("arm_differences", "q"),
        ("transfer", "ti"),
        ("drift", "high"),
    ],
)
def test_a_number_that_the_summary_lacks_is_missed_in_the_tables(study, part, number):
    summary = read_summary(study)
    row = next(row for row in summary[part] if row[number] is not None)
    row[number] += 0.5
    assert cells_of_the_page(study) != cells_of_tables(summary)


def test_the_summary_says_what_it_was_made_from(study):
    summary = read_summary(study)
    assert summary["versions"]["numpy"]
    assert len(summary["inputs"]["study.json"]) == 64
    assert "base/evaluation/scores.json" in summary["inputs"]
    assert "sft_hi/seed_1/analysis/token_kl.json" in summary["inputs"]


def rows_of_document(head: str) -> str:
    """The first cells of a table of docs/report_files.md."""
    table = DOCUMENT.read_text().split(head)[1].split("\n\n")[0]
    return " ".join(re.findall(r"^\| (.*?) \|", table, re.M))


def test_the_document_names_just_the_keys_that_the_summary_has(study):
    said = re.findall(r"`(\w+)`", rows_of_document("| key of `summary.json` | meaning |"))
    assert sorted(said) == sorted(read_summary(study))


def test_the_document_names_every_kind_of_file_that_the_report_reads(study):
    run = re.compile(r"\w+/seed_\d+/|base/")
    kinds = {run.sub("", name).partition("/")[0] for name in read_summary(study)["inputs"]}
    assert {"study.json", "evaluation", "metrics.jsonl", "cross_sampling"} < kinds
    said = re.findall(r"[\w.]+", rows_of_document("| file | for |"))
    assert kinds - set(said) == set()


def test_the_page_of_forgetting_names_the_fields_of_points_and_fits(study):
    found = read_summary(study)["over_training"]["forgetting"]
    kept = {*found["points"][0], *found["fits"][0], *found["fits"][0]["linear"]}
    codes = re.findall(r"`([^`]+)`", DOCUMENT.with_name("forgetting.md").read_text())
    assert kept - {word for code in codes for word in code.split(".")} == set()


def test_a_second_report_of_the_same_files_is_the_same(study, tmp_path, one_figure):
    pages = []
    for name in ("one", "two"):
        copy = tmp_path / name
        shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
        run_report(copy, CONFIG)
        assert read_summary(copy) == read_summary(study)
        pages.append(page(copy))
    assert pages[0] == pages[1]


def test_claims_follow_the_verdicts(study):
    summary = read_summary(study)
    greedy = next(item["text"] for item in summary["found"] if item["topic"] == "Greedy decoding")
    labels = {arm["name"]: arm["label"] for arm in summary["arms"]}
    for row in summary["differences"]:
        if (row["decoding"], row["group"], row["benchmark"]) == ("greedy", "non_reasoning", None):
            sentence = greedy[greedy.index("Non-reasoning") :].split(".  ")[0]
            clause = next(c for c in re.split(r"; it ", sentence) if labels[row["arm"]] in c)
            words = {"up": "rose", "down": "fell", "unclear": "did not clearly change"}
            assert words[row["verdict"]] in clause
    assert "All runs here start from the same base" in " ".join(summary["limits"])


def test_nothing_is_said_about_the_base_when_the_study_does_not_say(study, tmp_path, one_figure):
    copy = tmp_path / "copy"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
    manifest = json.loads((copy / "study.json").read_text())
    del manifest["shared_base"]
    (copy / "study.json").write_text(json.dumps(manifest))
    run_report(copy, CONFIG)
    assert "same base" not in " ".join(read_summary(copy)["limits"])


def test_undefined_indices_give_their_reason(study):
    text = page(study)
    assert "undefined (1)" in text
    assert "(1) Undefined: math did not gain: its degree is below 0." in text


def test_the_index_is_shown_without_each_task_and_gain_and_drop_apart(study):
    summary = read_summary(study)
    table = sensitivity_tables(summary)[0]
    rows = {(row.section, row.label): row.cells for row in table.rows}
    labels, order = summary["labels"], ["other", "non_reasoning"]
    # A task of one group has no part in the index of the other.
    assert rows["RL (GRPO)", f"without {labels['synthetic_order']}"][1].text == ""
    whole = find(summary["transfer"], arm="rl", seed="all", mode="v2_pooled", group="other")
    assert rows["RL (GRPO)", "all tasks"][0].text == plain_number(whole["ti"])
    shown = [
        r for r in summary["sensitivity"] if (r["decoding"], r["mode"]) == ("greedy", "v2_pooled")
    ]
    for row in (row for row in shown if row["arm"] == "rl"):
        cells = rows["RL (GRPO)", f"without {labels[row['without']]}"]
        assert cells[order.index(row["group"])].text == plain_number(row["ti"])
    lost = [row.cells[0].text for row in table.rows if row.section == "SFT 2e-4"]
    assert all(text in ("", "undefined (1)") for text in lost) and "undefined (1)" in lost
    assert any("math did not gain" in note for note in table.notes)
    gains = {row.label: [cell.text for cell in row.cells] for row in gain_tables(summary)[0].rows}
    assert gains["SFT 5e-4"] == ["6.0", "0.0", "0.0", "22.0", "0.0", "30.0"]
    assert "Transferability index without each task" in page(study)


def test_drift_on_training_prompts_has_rows_and_a_word_of_its_own(study):
    summary = read_summary(study)
    assert not [
        part for s in methods(summary) for part in s.parts if "Training prompts" in str(part)
    ]
    row = find(summary["drift"], name="kl_forward", arm="rl", group="math")
    more = summary | {"drift": [*summary["drift"], row | {"group": "training", "mean": 0.123}]}
    (table,) = drift_tables(more)
    rows = [r for r in table.rows if r.label == "Training prompts"]
    assert len(rows) == 1 and any("0.12" in cell.text for cell in rows[0].cells)
    assert [part for s in methods(more) for part in s.parts if "Training prompts" in str(part)]


def test_existing_checkpoints_without_logs_have_a_report(tmp_path, one_figure):
    arms = {
        f"m{i}": ("given", f"model-{i}", (0.1 - 0.02 * i, -0.02 * i, -0.01), 0.5) for i in range(10)
    }
    write_study(tmp_path, num_items=20, seeds=(0,), arms=arms, trained=False)
    run_report(tmp_path, CONFIG)
    summary = read_summary(tmp_path)
    assert summary["training"] == [] and training_figure(summary, narrow=False) is None
    assert "10. model-9" in page(tmp_path)
    limits = " ".join(summary["limits"])
    assert "existing checkpoints" in limits and "One run an arm" in limits
    assert "has it; 10 models: chat format, thinking off)" in limits  # and not all their names


def test_the_markdown_has_the_tables_and_the_figures(study):
    text = (study / "report" / "report.md").read_text()
    assert "# What happens to everything else?" in text
    for name in (path.stem for path in (study / "report" / "figures").iterdir()):
        assert f"](figures/{name}.png)" in text
    lines = text.splitlines()
    tables = [i for i, line in enumerate(lines) if line.startswith("|:--|")]
    assert len(tables) > 10
    for start in tables:
        columns = lines[start].count("|")
        row = start - 1
        while lines[row].startswith("|"):
            assert lines[row].replace("\\|", "").count("|") == columns, lines[row]
            row -= 1
        row = start + 1
        while lines[row].startswith("|"):
            assert lines[row].replace("\\|", "").count("|") == columns, lines[row]
            row += 1
        assert row > start + 1


def test_the_terminal_table_has_a_line_a_model_and_decoding(study):
    text = format_summary(read_summary(study))
    for label in ("Base", "RL (GRPO)", "SFT 2e-4", "SFT 5e-4", "SFT 1e-3"):
        assert len(re.findall(rf"^{re.escape(label)} ", text, re.M)) == 2
    assert "undefined" in text and "KL math" in text
    assert max(map(len, text.splitlines())) <= 110
