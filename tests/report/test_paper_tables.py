"""The study's drift numbers as its scripts make them beside ours: rows and tables from the files of a study."""

import json

import pytest
from synthetic_study import ARMS, write_study

from jaxreason.report.paper_drift import paper_drift_rows, paper_drift_tables
from jaxreason.report.report_tables import find
from jaxreason.report.study_reader import Reader, read_study

TWO = {name: ARMS[name] for name in ("rl", "sft_hi")}
VALUES = {  # file -> (source, name) -> value
    "token_kl": {
        ("tuned", "paper_kl"): 0.5,
        ("tuned", "kl_reverse"): 0.75,
        ("base", "paper_kl"): 9.0,  # on other replies: not the study's
        ("tuned", "rank_shift"): 3.0,
    },
    "pca_shift": {("base", "shift.reply"): 2.0, ("tuned", "shift.reply"): 9.0},
    "paper_pca_shift": {("questions", "shift"): 8.0},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Both seeds of RL have all files; the second is one larger. The other arm has no shift of the scripts."""
    folder = write_study(tmp_path_factory.mktemp("study"), num_items=6, arms=TWO)
    for arm, seed in ((arm, seed) for arm in TWO for seed in (0, 1)):
        for metric, values in VALUES.items():
            if arm == "rl" or metric != "paper_pca_shift":
                _write(folder / arm / f"seed_{seed}" / "analysis" / f"{metric}.json", values, seed)
    return folder


def _write(path, values, seed) -> None:
    rows = [
        {"benchmark": benchmark, "group": group, "source": source, "name": name}
        | {"value": value + seed + (benchmark == "synthetic_chain")}
        for benchmark, group in (("synthetic_add", "math"), ("synthetic_chain", "math"))
        for (source, name), value in values.items()
    ]
    groups = [
        {"group": "math", "source": source, "name": name, "value": value + seed + 0.5}
        | {"low": value, "high": value + 2, "draws": [value, value + 2]}
        for (source, name), value in values.items()
    ]
    file = {"metric": path.stem, "rows": rows, "groups": groups, "details": {}}
    path.write_text(json.dumps(file))


@pytest.fixture(scope="module")
def rows(study):
    reader = Reader(study)
    return paper_drift_rows(reader, read_study(reader))


def test_rows_hold_both_ways_and_their_difference_as_means_over_seeds(rows):
    row = find(rows, arm="rl", number="pca_shift", benchmark="synthetic_chain")
    assert (row["scripts"], row["corrected"], row["difference"]) == (9.5, 3.5, 6.0)
    assert (row["group"], row["num_seeds"]) == ("math", 2)
    row = find(rows, arm="rl", number="kl", benchmark="synthetic_add")
    assert (row["scripts"], row["corrected"], row["difference"]) == (1.0, 1.25, -0.25)
    row = find(rows, arm="rl", number="kl", benchmark=None)
    assert (row["scripts"], row["corrected"]) == (1.5, 1.75)


def test_a_number_that_one_way_lacks_is_left_out(rows):
    found = {(row["arm"], row["number"]) for row in rows}
    assert found == {("rl", "pca_shift"), ("rl", "kl"), ("sft_hi", "kl")}


def test_a_table_has_three_columns_an_arm_and_a_line_a_task(study, rows):
    reader = Reader(study)
    read = read_study(reader)
    arms = [{"name": arm.name, "label": arm.label, "base": arm.base} for arm in read.arms]
    bases = [{"name": "base", "label": "Base"}]
    summary = {"paper_drift": rows, "arms": arms, "bases": bases, "groups": [{"name": "math"}]}
    shift, kl = paper_drift_tables(summary | {"labels": {}})
    assert shift.spans == (("RL (GRPO)", 3),)
    assert kl.spans == (("RL (GRPO)", 3), ("SFT 1e-3", 3))
    assert [row.label for row in kl.rows] == [
        "Mean of its tasks",
        "synthetic add",
        "synthetic chain",
    ]
    assert [cell.text for cell in kl.rows[1].cells[:3]] == ["1.0", "1.2", "−0.2"]
    assert paper_drift_tables(summary | {"paper_drift": [], "labels": {}}) == []
