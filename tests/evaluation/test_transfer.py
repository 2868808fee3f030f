"""`run_transfer` on the published table and on the files of a small study."""

import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest
from sample_lines import SCORED, write_samples

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.evaluation.index_rows import index_without, sensitivity_rows
from jaxreason.evaluation.transfer import (
    TransferConfig,
    format_table,
    run_study_transfer,
    run_transfer,
)
from jaxreason.evaluation.transfer_inputs import (
    Comparison,
    GroupScores,
    TableConfig,
    resample,
    table_comparisons,
)
from jaxreason.results.atomic_files import read_json
from jaxreason.results.clusters import SampleScores, cluster
from jaxreason.results.study_files import read_transfer, write_trajectory

PAPER = pathlib.Path(__file__).parents[2] / "jaxreason" / "results" / "paper"
GROUPS = {
    "math": ("aime24", "aime25", "math500", "olympiadbench"),
    "other": ("gpqa_diamond", "livecodebench", "acpbench", "headqa"),
    "non_reasoning": ("coqa", "mc_taco", "ifeval", "halueval"),
}
SIZES = {name: 500 for names in GROUPS.values() for name in names} | {"aime24": 30, "aime25": 30}
TABLE = TableConfig(
    scores=str(PAPER / "scores.csv"),
    model_column="model",
    groups=GROUPS,
    sizes={},
    pairs=str(PAPER / "transferability.csv"),
    label_column="model",
    tuned_column="scores_name",
    base_column="base",
    published_columns={"other": "published_other", "non_reasoning": "published_non"},
    published_mode="v2_pooled",
)
CONFIG = TransferConfig(
    modes=("v2_pooled",),
    scales={"math": 1.0, "other": 1.1344, "non_reasoning": 1.2753},
    confidence=0.9,
    resamples=2000,
    seed=0,
    match_tolerance=0.15,
    table=TABLE,
)


@pytest.fixture(scope="module")
def published():
    lines = (PAPER / "transferability.csv").read_text().splitlines()
    return {r["model"]: r for r in csv.DictReader(x for x in lines if not x.startswith("#"))}


def by_model(rows):
    return {(row["model"], row["group"]): row for row in rows}


def test_published_table_gives_the_recomputed_columns_and_marks_the_rest(tmp_path, published):
    rows = by_model(run_transfer(CONFIG, tmp_path))
    for model, expected in published.items():
        other, non = rows[model, "other"], rows[model, "non_reasoning"]
        assert other["ti"] == pytest.approx(float(expected["recomputed_other"]), abs=0.05), model
        assert non["ti"] == pytest.approx(float(expected["recomputed_non"]), abs=0.05), model
        met = other["meets_published"] and non["meets_published"]
        assert met == (expected["reproducible"] == "yes"), model
    assert len(rows) == 36


def test_transfer_json_holds_the_returned_rows_and_the_deviations(tmp_path):
    rows = run_transfer(CONFIG, tmp_path)
    written = read_json(tmp_path / "transfer.json")
    assert written["rows"] == json.loads(json.dumps(rows))
    assert written["scales"] == {"table": CONFIG.scales}


def test_deviations_pooled_over_the_table_stay_within_a_percent_of_the_fitted_ratios(tmp_path):
    run_transfer(dataclasses.replace(CONFIG, scales={}), tmp_path)
    scales = read_json(tmp_path / "transfer.json")["scales"]["table"]
    assert scales["other"] / scales["math"] == pytest.approx(1.1344, rel=0.01)
    assert scales["non_reasoning"] / scales["math"] == pytest.approx(1.2753, rel=0.01)


def test_binomial_intervals_show_the_blow_up_of_a_small_math_gain(tmp_path):
    config = dataclasses.replace(CONFIG, table=dataclasses.replace(TABLE, sizes=SIZES))
    rows = by_model(run_transfer(config, tmp_path))
    steady = rows["UniReason RL", "other"]
    assert steady["low"] < steady["ti"] < steady["high"] < steady["low"] + 40
    shaky = rows["UniReason no-think-SFT", "other"]
    assert (shaky["low"], shaky["high"]) == (None, None)
    assert shaky["undefined_share"] == pytest.approx(0.2775, abs=0.02)
    vague = rows["s1.1-7B", "other"]
    assert vague["ti"] is not None and vague["high"] is None and vague["undefined_share"] > 0.05
    text = format_table(list(rows.values()))
    assert "undefined in" in vague["note"] and "?: no end" in text
    assert f"{vague['ti']:.1f} [?, ?] (published" in text
    assert "no end" not in format_table([steady])
    assert shaky["di_math_low"] < shaky["di_math"] < shaky["di_math_high"]


PAPERS = dataclasses.replace(CONFIG, modes=("paper_scales",), scales={})
# What becomes of the index of think-SFT, no-think-SFT and RL without these benchmarks, as it was
# worked out apart from this code.
WITHOUT = [
    ("other", ("acpbench",), (-11.9, -59.2, 55.3)),
    ("non_reasoning", ("coqa", "halueval"), (-124.4, -255.5, 30.7)),
]


@pytest.mark.parametrize(("group", "names", "expected"), WITHOUT)
def test_index_without_single_benchmarks_meets_the_values_worked_out_by_hand(
    group, names, expected
):
    pairs = {c.model: c for c in table_comparisons(TABLE)}
    models = ("UniReason think-SFT", "UniReason no-think-SFT", "UniReason RL")
    found = [index_without(pairs[m], names, "paper_scales", group, {})["ti"] for m in models]
    assert found == pytest.approx(expected, abs=0.05)


def test_transfer_json_holds_the_index_without_each_benchmark(tmp_path):
    run_transfer(PAPERS, tmp_path)
    rows = read_transfer(tmp_path)["sensitivity"]
    # 18 pairs, two groups, each without one of its four benchmarks or of the four of math.
    assert len(rows) == 18 * 2 * 8
    found = {(r["model"], r["group"], r["without"]): r for r in rows}
    assert found["UniReason RL", "other", "acpbench"]["ti"] == pytest.approx(55.3, abs=0.05)
    assert (
        found["UniReason RL", "other", "aime24"]["ti"]
        != found["UniReason RL", "other", "headqa"]["ti"]
    )
    assert all((row["ti"] is None) == (row["undefined"] is not None) for row in rows)


def test_index_without_the_only_benchmark_of_a_group_says_why_it_is_undefined():
    scores = {"a": (10.0, 20.0), "b": (30.0, 35.0), "c": (50.0, 45.0)}
    groups = {
        "math": GroupScores(("a",), *(np.array([x]) for x in scores["a"]), None, None),
        "other": GroupScores(("b", "c"), *np.array([scores["b"], scores["c"]]).T, None, None),
    }
    made = Comparison("m", "m", "base", None, None, groups, {})
    rows = sensitivity_rows([made], ("v2_pooled", "v2_literal"), {"math": 1.0, "other": 1.0})
    found = {(r["mode"], r["without"]): r for r in rows}
    assert found["v2_pooled", "a"]["undefined"] == "math: no other benchmark is left"
    assert found["v2_pooled", "a"]["ti"] is None
    assert found["v2_pooled", "b"]["ti"] == pytest.approx(-100 * 5**0.5 / 10**0.5)
    assert "one benchmark has no spread" in found["v2_literal", "b"]["undefined"]


def test_rows_have_the_gain_and_drop_of_their_group_and_of_math(tmp_path):
    row = by_model(run_transfer(PAPERS, tmp_path))["UniReason RL", "non_reasoning"]
    # CoQA +18.2, MC-TACO +6.3, IFEval +0.8, HaluEval +5.0; math +42.7, +28.7, +27.4, +5.9.
    assert (row["gain"], row["drop"]) == (pytest.approx((18.2 + 6.3 + 0.8 + 5.0) / 4), 0)
    assert row["gain_math"] == pytest.approx((42.7 + 28.7 + 27.4 + 5.9) / 4)
    row = by_model(run_transfer(PAPERS, tmp_path))["UniReason no-think-SFT", "other"]
    # GPQA +6.1, LiveCodeBench -6.2, ACPBench +58.6, HeadQA -2.6.
    assert (row["gain"], row["drop"]) == (
        pytest.approx((6.1 + 58.6) / 4),
        pytest.approx((6.2 + 2.6) / 4),
    )


def test_relative_mode_says_that_a_base_of_zero_is_undefined(tmp_path):
    rows = by_model(run_transfer(dataclasses.replace(CONFIG, modes=("v1_relative",)), tmp_path))
    row = rows["SimpleRL-1.5B", "other"]
    assert row["ti"] is None and row["signed_log_ti"] is None
    assert row["undefined"] == "math: the base scores 0 on aime24, aime25"
    assert row["di"] is not None


def test_printed_table_shows_values_and_marks(tmp_path):
    text = format_table(run_transfer(CONFIG, tmp_path))
    assert text.index("TI other") < text.index("TI non_reasoning")
    line = next(line for line in text.splitlines() if line.startswith("General-Reasoner RL"))
    assert "125.5 (published 121.6 !)" in line and "0.3 (published 66.5 !)" in line
    assert "52.2 (published 52.2)" in text
    assert "?" not in text  # without sizes there are no intervals
    degree = by_model(run_transfer(CONFIG, tmp_path))["General-Reasoner RL", "other"]["di_math"]
    assert f"  {degree:.3f}  " in line
    assert "! the published value is not met (6 models)" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modes": ("v2_poled",)}, "did you mean 'v2_pooled'"),
        ({"scales": {"math": 1.0}}, "no value for other, non_reasoning"),
        ({"scales": {"math": 0.0}}, "transfer.scales.math"),
        ({"table": dataclasses.replace(TABLE, scores="nowhere.csv")}, "nowhere.csv not found"),
        (
            {"table": dataclasses.replace(TABLE, groups={"math": ("aime",)})},
            "no column 'aime'",
        ),
        ({"table": dataclasses.replace(TABLE, groups={"other": ("headqa",)})}, "a group 'math'"),
        ({"table": dataclasses.replace(TABLE, sizes={"aime24": 30})}, "sizes.aime25"),
    ],
)
def test_unusable_settings_are_refused_by_name(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        run_transfer(dataclasses.replace(CONFIG, **change), tmp_path)


def test_a_score_outside_0_to_100_is_refused_with_row_and_column(tmp_path):
    (tmp_path / "s.csv").write_text("model,a,b\nx,10,20\ny,10,120\n")
    table = dataclasses.replace(TABLE, scores=str(tmp_path / "s.csv"), groups={"math": ("a", "b")})
    with pytest.raises(ValueError, match=r"s\.csv, row 3, column b.*120"):
        run_transfer(dataclasses.replace(CONFIG, table=table), tmp_path)


@pytest.mark.parametrize(
    ("scores", "pairs", "said"),
    [
        (
            "x,10,20\n# twice\ny,10,12\nx,30,20",
            "p,x,y,1",
            r"s\.csv, row 6: 'x' is in row 3 already",
        ),
        ("x,10,20\n# more\n\ny,10,-", "p,x,y,1", r"s\.csv, row 6, column b: .* got '-'"),
        ("x,10,20\ny,10,12", "p,x,y,", r"p\.csv, row 2, column ti: expected a number, got ''"),
        ("x,10,20\ny,10,12", "p,x,y", r"p\.csv, row 2, column ti: expected a number, got None"),
        ("x,10,20\ny,10,12", "p,x,y,nan", r"p\.csv, row 2, column ti: expected a number"),
    ],
)
def test_a_table_that_says_nothing_or_two_things_is_refused_with_the_line(
    tmp_path, scores, pairs, said
):
    (tmp_path / "s.csv").write_text(f"# scores\nmodel,a,b\n{scores}\n")
    (tmp_path / "p.csv").write_text(f"pair,tuned,base,ti\n{pairs}\n")
    with pytest.raises(UserError, match=said):
        table_comparisons(own_table(tmp_path))


def own_table(folder):
    names = {"model_column": "model", "label_column": "pair", "tuned_column": "tuned"}
    names |= {"base_column": "base", "published_columns": {"other": "ti"}}
    files = {"scores": str(folder / "s.csv"), "pairs": str(folder / "p.csv")}
    return dataclasses.replace(TABLE, groups={"math": ("a",), "other": ("b",)}, **names, **files)


def test_a_table_that_a_spreadsheet_has_saved_is_read(tmp_path):
    (tmp_path / "s.csv").write_text("\ufeffmodel,a,b\r\nx,10,20\r\ny,20,25\r\n")
    (tmp_path / "p.csv").write_text("\ufeffpair,tuned,base,ti\r\np,y,x,50\r\n")
    (found,) = table_comparisons(own_table(tmp_path))
    assert (found.model, found.published) == ("p", {"other": 50.0})
    assert (found.groups["math"].tuned[0], found.groups["other"].tuned[0]) == (20.0, 25.0)


def write_evaluation(folder, scores):
    """scores: {benchmark: (group, [0/1 per item])}"""
    rows = []
    for name, (group, values) in scores.items():
        lines = [{"id": str(i), "scores": {"right": v}} for i, v in enumerate(values)]
        write_samples(folder, name, "greedy", lines)
        rows.append({"benchmark": name, "group": group, "decoding": "greedy", "metric": "right"})
    rows = [SCORED | row | {"primary": True, "weight": None} for row in rows]
    (folder / "scores.json").write_text(json.dumps({"rows": rows}))


def values(share):
    return [1.0] * round(100 * share) + [0.0] * (100 - round(100 * share))


def write_study(folder, math_of_seeds=(0.6, 0.7), groups=("math", "other")):
    arms = [{"name": "rl", "method": "rl", "label": "RL", "seeds": [0, 1]}]
    study = {"name": "s", "base": "b", "arms": arms, "decodings": ["greedy"], "groups": {}}
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(json.dumps(study))
    base = {
        "add": ("math", 0.4),
        "sub": ("math", 0.5),
        "sort": ("other", 0.5),
        "copy": ("other", 0.8),
    }
    base = {name: scores for name, scores in base.items() if scores[0] in groups}
    made = {name: (group, values(share)) for name, (group, share) in base.items()}
    write_evaluation(folder / "base" / "evaluation", made)
    for seed, share in enumerate(math_of_seeds):
        tuned = made | {"add": ("math", values(share)), "copy": ("other", values(0.71))}
        tuned = {name: tuned[name] for name in made}
        write_evaluation(folder / "rl" / f"seed_{seed}" / "evaluation", tuned)
    return folder


STUDY = dataclasses.replace(CONFIG, table=None, scales={"math": 1.0, "other": 1.0})


def test_study_gives_a_row_for_each_seed_and_one_for_all_seeds(tmp_path):
    rows = run_transfer(STUDY, write_study(tmp_path))
    assert [row["seed"] for row in rows] == [0, 1, "all"]
    # seed 0: math gains 20 and 0 with weights 60, 50; other gains 0 and -9 with weights 50, 20.
    expected = -100 * (20 / 70 * 3) / (60 / 110 * np.sqrt(20))
    assert rows[0]["ti"] == pytest.approx(expected)
    assert rows[2]["ti"] == pytest.approx(-100 * (20 / 70 * 3) / (60 / 110 * np.sqrt(25)))
    assert all(row["low"] < row["ti"] < row["high"] < 0 for row in rows)


def test_the_seeds_of_an_index_are_resampled_and_stretched_as_those_of_a_score_are():
    each = [values(share) * 100 for share in (0.4, 0.2, 0.6)]  # 10,000 questions: they vary little
    names = tuple(map(str, range(10_000)))
    scored = [SampleScores(np.array(x), np.ones(10_000), names, ("",) * 10_000) for x in each]
    points = np.array([40.0])
    group = GroupScores(("add",), points, points, None, (cluster(scored),))
    study = Comparison("rl", "rl", "base", "all", "greedy", {"math": group}, {})
    base, tuned = resample(study, 400, np.random.default_rng(0))["math"]
    assert base.std() < 1
    # Both seeds of a resample may be the same one, 20 points from the mean of 40.
    ends = 40 - 20 * np.sqrt(2), 40 + 20 * np.sqrt(2)
    assert (np.median(tuned[tuned < 30]), np.median(tuned[tuned > 50])) == pytest.approx(
        ends, abs=0.5
    )


def test_study_is_read_even_where_the_recipe_has_a_table(tmp_path):
    config = dataclasses.replace(STUDY, table=TABLE)
    assert run_study_transfer(config, write_study(tmp_path)) == run_transfer(STUDY, tmp_path)


def test_study_without_a_math_gain_is_undefined_and_keeps_its_degrees(tmp_path):
    rows = run_transfer(STUDY, write_study(tmp_path, math_of_seeds=(0.4, 0.3)))
    assert "math did not gain" in rows[0]["undefined"] and "-" in rows[1]["undefined"]
    assert rows[0]["ti"] is None and rows[0]["di"] < 0 and rows[0]["di_math"] == 0
    assert "undefined" in format_table(rows)


def test_a_group_of_which_the_base_has_no_score_has_no_deviation_and_the_file_is_json(tmp_path):
    folder = write_study(tmp_path)
    for path in folder.glob("base/evaluation/grades/[sc]o*.jsonl"):
        lines = [json.loads(line) | {"scores": {}, "error": "timeout: 5 s"} for line in path.open()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = run_transfer(dataclasses.replace(STUDY, scales={}), folder)
    assert {row["undefined"] for row in rows} == {"other: a benchmark has no score"}
    text = (folder / "transfer.json").read_text()
    assert "NaN" not in text and json.loads(text)["scales"]["greedy"]["other"] is None


def test_a_trajectory_with_a_group_without_deviation_is_json(tmp_path):
    write_trajectory(tmp_path, {"scales": {"greedy": {"math": 2.5, "other": float("nan")}}})
    text = (tmp_path / "trajectory.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"scales": {"greedy": {"math": 2.5, "other": None}}}


def test_study_of_math_alone_has_no_index_and_says_so(tmp_path, caplog):
    rows = run_transfer(STUDY, write_study(tmp_path, groups=("math",)))
    assert rows == [] and "the index is undefined" in caplog.text
    assert "the index is undefined" in format_table(rows)


def test_study_with_a_missing_evaluation_is_refused(tmp_path):
    folder = write_study(tmp_path)
    (folder / "rl" / "seed_1" / "evaluation" / "scores.json").unlink()
    with pytest.raises(ValueError, match=r"seed_1/evaluation/scores\.json: not found"):
        run_transfer(STUDY, folder)


def test_study_with_other_questions_is_refused(tmp_path):
    folder = write_study(tmp_path)
    lines = [{"id": str(i), "scores": {"right": 1.0}} for i in range(1, 101)]
    write_samples(folder / "rl" / "seed_0" / "evaluation", "sort", "greedy", lines)
    with pytest.raises(ValueError, match="not asked the same questions"):
        run_transfer(STUDY, folder)


def test_study_with_a_lost_or_doubled_sample_is_refused_with_file_and_line(tmp_path):
    folder = write_study(tmp_path)
    file = folder / "rl" / "seed_0" / "evaluation" / "grades" / "sort.own.greedy.hash_answer.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    with pytest.raises(
        UserError,
        match=r"seed_0/evaluation/grades/sort\.own\..*jsonl: has 99 samples",
    ):
        run_transfer(STUDY, folder)
    file.write_text("".join(lines[:-1] + lines[:1]))
    with pytest.raises(UserError, match=r"hash_answer\.jsonl, line 100: .*in line 1 already"):
        run_transfer(STUDY, folder)


def test_a_score_of_nothing_right_has_degrees_with_an_interval_and_not_a_point(tmp_path):
    """Base and tuned answer none of 100 questions of a group: it may be that nothing changed, and
    that is not known to the digit.
    """
    folder = write_study(tmp_path)
    for run in ("base", "rl/seed_0", "rl/seed_1"):
        for name in ("sort", "copy"):
            lines = [{"id": str(i), "scores": {"right": 0.0}} for i in range(100)]
            write_samples(folder / run / "evaluation", name, "greedy", lines)
    for row in run_transfer(STUDY, folder):
        assert row["di"] == 0 and row["di_low"] < -0.5 and row["di_high"] > 0.5
        assert row["low"] < 0 < row["high"]
