"""What the report shows of shifted tokens is what the files say."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from synthetic_shifts import WORDS
from synthetic_study import write_study

from jaxreason.report.pages import template_environment
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, read_study
from jaxreason.report.token_shift_figures import (
    RANKS,
    promoted_figure,
    rank_shift_figure,
    shift_places_figure,
    shifted_view,
)
from jaxreason.report.token_shifts import (
    example_tables,
    shifted_rows,
    shifted_tables,
    token_label,
    token_tables,
)

HOW = Resampling(0.95, 100, 0)
GROUPS = [{"name": name} for name in ("math", "other", "non_reasoning")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), num_items=4)


@pytest.fixture(scope="module")
def summary(folder):
    return summarised(folder)


def summarised(folder):
    reader = Reader(folder)
    study = read_study(reader)
    arms = [{"name": arm.name, "label": arm.label, "base": arm.base} for arm in study.arms]
    bases = [{"name": base.name, "label": base.label} for base in study.bases]
    rest = {"arms": arms, "bases": bases, "groups": GROUPS, "labels": {}}
    return rest | {"shifted": shifted_rows(reader, study, HOW)}


def units_of(folder, arm):
    files = [
        json.loads(p.read_text()) for p in folder.glob(f"{arm}/*/analysis/shifted_tokens.json")
    ]
    return [u for f in files for u in f["details"]["units"] if u["source"] == "tuned"]


def test_counts_of_a_token_are_summed_over_benchmarks_and_seeds_of_the_tuned_replies(
    folder, summary
):
    arm = next(arm for arm in summary["shifted"]["arms"] if arm["arm"] == "rl")
    units = units_of(folder, "rl")
    assert arm["num_tokens"] == 20_000 * len(units)
    assert arm["num_shifted"] == sum(unit["num_shifted"] for unit in units)
    wait = next(token for token in arm["tokens"] if token["text"] == " Wait")
    assert wait["shifted"] == sum(unit["tokens"][0]["shifted"] for unit in units)
    assert wait["chosen"] == 2 * wait["shifted"] and wait["replaces"]["text"] == " The"
    assert wait["base_probability"]["mean"] == pytest.approx(0.1)
    low, high = (wait["base_probability"][end] for end in ("low", "high"))
    n = np.array([unit["tokens"][0]["shifted"] for unit in units])
    error = 0.02 * np.sqrt((n**2).sum()) / n.sum()
    assert (low, high) == pytest.approx((0.1 - 1.96 * error, 0.1 + 1.96 * error), rel=1e-3)
    shifts = [token["shifted"] for token in arm["tokens"]]
    assert shifts == sorted(shifts, reverse=True)


def test_replies_to_training_prompts_and_units_that_could_not_be_measured_do_not_count(
    folder, summary, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for path in copy.glob("*/*/analysis/shifted_tokens.json"):
        found = json.loads(path.read_text())
        unit = next(u for u in found["details"]["units"] if u["source"] == "tuned")
        counts = {"num_texts": 1, "num_cut": 0, "num_dropped": 0}
        why = {"benchmark": "synthetic_add", "source": "tuned", "undefined": "not finite"}
        broken = counts | why
        found["details"]["units"] += [unit | {"benchmark": "training_prompts"}, broken]
        path.write_text(json.dumps(found))
    assert summarised(copy)["shifted"] == summary["shifted"]


def test_the_table_has_percent_of_each_group_and_arm_with_intervals(summary):
    (table,) = shifted_tables(summary)
    assert table.columns == ("RL (GRPO)", "SFT 2e-4", "SFT 5e-4", "SFT 1e-3")
    row = next(r for r in table.rows if r.section == "Shifted tokens (% of tokens)")
    wanted = next(
        r
        for r in summary["shifted"]["rows"]
        if (r["name"], r["arm"], r["group"]) == ("shifted", "rl", "math")
    )
    assert (row.label, row.cells[0].text) == ("Math", f"{100 * wanted['mean']:.2f}")
    assert row.cells[0].interval == f"{100 * wanted['low']:.2f} to {100 * wanted['high']:.2f}"
    assert (
        max(r["high"] for r in summary["shifted"]["rows"] if r["name"] == "promoted_in_top5") <= 1
    )


def test_every_arms_example_is_its_reply_to_the_same_question(summary):
    (table,) = example_tables(summary)
    assert "question synthetic_add-0" in table.caption
    assert [row.label for row in table.rows] == ["RL (GRPO)", "SFT 2e-4", "SFT 5e-4", "SFT 1e-3"]
    example = next(e for e in summary["shifted"]["examples"] if e["arm"] == "sft_hi")
    cells = [cell.text for cell in table.rows[3].cells]
    assert cells[:2] == ["812", str(example["num_shifted"])]
    assert cells[2].startswith("“ Wait” ×9, “Hmm” ×8")


def test_a_token_is_written_so_that_its_ends_and_line_ends_are_seen():
    assert token_label({"text": " so", "token": 1}) == "“ so”"
    assert token_label({"text": "\n\n", "token": 1}) == "“↵↵”"
    assert token_label({"text": "  ", "token": 1}) == "“␣␣”"
    assert token_label({"text": None, "token": 17}) == "#17"
    assert token_label({"text": "", "token": 2}) == "#2"


def test_the_tokens_tables_say_how_many_positions_they_are_of(summary):
    tables = token_tables(summary)
    assert len(tables) == 4 and all(len(table.rows) == len(WORDS) for table in tables)
    first = tables[0].rows[0]
    assert first.label == "“ Wait”" and first.cells[0].text == "logical"
    assert first.cells[2].text == "50" and first.cells[-1].interval == ""
    assert "of 240,000 reply tokens are shifted" in tables[0].notes[0]


def test_intervals_of_a_token_end_where_no_probability_and_no_rank_is(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    unsure = {"tuned_probability": {"mean": 0.98, "error": 0.1}}
    unsure |= {"base_rank": {"mean": 1.2, "error": 2.0}}
    unsure |= {"base_probability": {"mean": 0.0, "error": 0.0}}
    for path in copy.glob("*/*/analysis/shifted_tokens.json"):
        found = json.loads(path.read_text())
        for unit in found["details"]["units"]:
            unit["tokens"] = [token | unsure for token in unit.get("tokens", ())]
        path.write_text(json.dumps(found))
    arms = summarised(copy)["shifted"]["arms"]
    tokens = [token for arm in arms for token in arm["tokens"]]
    ends = {
        name: {(token[name]["low"], token[name]["high"]) for token in tokens} for name in unsure
    }
    assert {high for _, high in ends["tuned_probability"]} == {1.0}
    assert {low for low, _ in ends["base_rank"]} == {1.0}
    assert ends["base_probability"] == {(None, None)}


def test_an_arm_all_of_whose_tokens_are_shifted_has_100_percent_without_an_exponent(summary):
    arm = summary["shifted"]["arms"][0]
    arm = arm | {"num_shifted": arm["num_tokens"]}
    (axes,) = promoted_figure(summary | {"shifted": {"arms": [arm]}}, False).axes
    assert axes.get_title().endswith("\n100\u2009% of tokens shifted")


@pytest.mark.parametrize("narrow", [False, True])
def test_the_figures_show_the_rows(summary, narrow):
    arm = summary["shifted"]["arms"][0]
    axes = promoted_figure(summary, narrow).axes[0]
    assert axes.get_yticklabels()[0].get_text() == token_label(arm["tokens"][0])
    marks = [line for line in axes.lines if line.get_marker() not in ("None", None)]
    expected = [1e4 * token["shifted"] / arm["num_tokens"] for token in arm["tokens"][:12]]
    assert [line.get_xdata()[0] for line in marks] == pytest.approx(expected)
    line = shift_places_figure(summary, narrow).axes[0].lines[0]
    tenth = next(
        r
        for r in summary["shifted"]["rows"]
        if (r["name"], r["arm"], r["group"]) == ("shifted.tenth_1", arm["arm"], "math")
    )
    assert (line.get_xdata()[0], line.get_ydata()[0]) == pytest.approx((5, 100 * tenth["mean"]))
    drawn = rank_shift_figure(summary, narrow).axes[0].lines
    heights = np.concatenate([line.get_ydata() for line in drawn])
    shifts = [abs(base - tuned) for _, base, tuned in arm["points"]]
    assert sorted(heights) == sorted(min(shift, RANKS) for shift in shifts)
    few = [arm | {"points": [[1, 1, 3], [2, 9, 2]]} for arm in summary["shifted"]["arms"]]
    near = rank_shift_figure(summary | {"shifted": summary["shifted"] | {"arms": few}}, narrow)
    assert near.axes[0].get_ylim() == (0, 7)  # an axis to 50 would show two dots on its edge


def test_the_view_has_the_whole_text_and_both_choices_of_every_mark(summary):
    views = shifted_view(summary)
    assert [view["title"] for view in views][:2] == ["RL (GRPO), synthetic add", "SFT 2e-4, synthetic add"]  # fmt: skip
    assert (
        len(views) == 8 and "3 of 812 tokens shifted; the first 26 are shown" in views[0]["about"]
    )
    parts = views[0]["parts"]
    text = "The sum of 3 and 4 is 7 . Wait , let me check : 3 + 4 = 7 . So the answer is 7"
    assert "".join(part["text"] for part in parts) == text
    marks = [part for part in parts if "level" in part]
    assert [mark["level"] for mark in marks] == [3, 0, 1, 2]
    assert [mark["shifted"] for mark in marks] == [True, False, True, True]
    assert marks[0]["base"] == {"text": " Therefore", "base": "41", "tuned": "8"}
    assert "⟦ Wait⟧ , let me⟦ check⟧" in views[0]["plain"]
    assert all(line.startswith("    ") for line in views[0]["plain"].splitlines())


def test_the_view_as_a_page_says_by_more_than_colour_what_is_shifted_and_escapes_replies(summary):
    views = shifted_view(summary)
    views[0]["parts"][0]["text"] = "<script>x</script> The"
    page = template_environment().get_template("shifted_view.html.jinja").render(data=views)
    assert "<script>" not in page and html.escape("<script>x") in page
    buttons = re.findall(
        r'<button type="button" class="shift (\w+)" aria-describedby="([\w-]+)">', page
    )
    assert len(buttons) == 4 * len(views) and len({name for _, name in buttons}) == len(buttons)
    assert [name for name, _ in buttons[:4]] == ["three", "near", "one", "two"]
    for _, name in buttons:
        assert page.count(f'role="tooltip" id="{name}"') == 1
    said = re.search(r'id="choice-1-2">(.*?)</span>', page, re.S)[1]
    assert "Base would write “ Therefore”: 41 % there, 8 % in the tuned model." in said
    assert "Tuned would write “ Wait”: 80 % there, 6 % in the base." in said
    assert "rank 4 in the base, 1 tuned" in said
    for level in ("near", "two", "three"):  # a line under it of its own kind
        assert re.search(rf"\.shift\.{level} {{[^}}]*text-decoration", page)


def test_a_study_without_the_metric_shows_nothing_of_it(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("shifted_tokens.json"))
    found = summarised(copy)
    assert found["shifted"] is None
    assert shifted_tables(found) == token_tables(found) == example_tables(found) == []
    assert shifted_view(found) == []
    assert (
        promoted_figure(found, False)
        is shift_places_figure(found, False)
        is rank_shift_figure(found, False)
        is None
    )


def test_tokens_without_texts_are_shown_by_their_ids(folder, tmp_path):
    """As of a base that has no tokenizer: nothing to colour, and all else as it is."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for path in copy.glob("*/*/analysis/shifted_tokens.json"):
        found = json.loads(path.read_text())
        for unit in found["details"]["units"]:
            unit |= {"classes": None, "view": None}
            for token in [*unit["tokens"], *unit["example"]["tokens"]]:
                token |= {"text": None} | ({"class": None} if "class" in token else {})
            for token in unit["tokens"]:
                token["replaces"]["text"] = None
        path.write_text(json.dumps(found))
    found = summarised(copy)
    assert token_tables(found)[0].rows[0].label == "#0"
    assert token_tables(found)[0].rows[0].cells[6].text == "#99"
    assert shifted_view(found) == []
    assert promoted_figure(found, False).axes[0].get_yticklabels()[0].get_text() == "#0"
