import dataclasses

import numpy as np
import pytest
import scipy.stats

from jaxreason.report.score_rows import (
    Resampling,
    arm_difference_rows,
    difference_rows,
    levels,
    score_rows,
    verdict,
)
from jaxreason.report.study_reader import Arm, BaseModel, Evaluation, Study
from jaxreason.results.groups import REST
from jaxreason.results.statistics import Interval

HOW = Resampling(0.95, 500, 0)
STUDY = Study(
    name="s",
    base="b",
    shared_base=True,
    groups={"sums": "math", "order": "other", "copy": "non_reasoning", "join": "non_reasoning"},
    labels={},
    bases=(BaseModel("base", "b", "Base"),),
    arms=(Arm("rl", "rl", "RL", (0, 1)), Arm("sft", "sft", "SFT", (0, 1))),
    decodings=("greedy",),
)


def sample(name, score):
    return {"id": name, "subset": "", "cluster": name, "scores": {"correct": score}, "error": None}


def evaluation(shares, benchmarks=tuple(STUDY.groups)):
    """100 questions a benchmark, the first `share` of them right."""
    samples, rows = {}, []
    for name, share in zip(STUDY.groups, shares, strict=True):
        if name in benchmarks:
            samples[name, "greedy"] = [sample(f"q{i}", float(i < share)) for i in range(100)]
            row = {"benchmark": name, "decoding": "greedy", "metric": "correct", "primary": True}
            rows.append(row)
    return Evaluation(rows, samples, rows, {}, {})


EVALUATIONS = {
    "base": evaluation((50, 40, 0, 80)),
    ("rl", 0): evaluation((60, 40, 0, 80)),
    ("rl", 1): evaluation((70, 50, 0, 70)),
    ("sft", 0): evaluation((70, 10, 0, 40)),
    ("sft", 1): evaluation((80, 20, 0, 20)),
}


def found():
    return levels(STUDY, EVALUATIONS, "greedy", HOW)[0]


def pick(rows, **wanted):
    (row,) = [r for r in rows if all(r[key] == value for key, value in wanted.items())]
    return row


def test_groups_are_means_of_benchmarks_and_the_rest_the_mean_of_other_groups():
    rows = score_rows(STUDY, found(), HOW)
    assert pick(rows, group="math", benchmark=None, model="rl")["mean"] == pytest.approx(65)
    assert pick(rows, group="non_reasoning", benchmark=None, model="base")["mean"] == pytest.approx(
        40
    )
    rest = pick(rows, group=REST, benchmark=None, model="sft")
    assert rest["mean"] == pytest.approx((15 + (0 + 30) / 2) / 2)
    assert rest["num_items"] == 300


def test_questions_that_belong_together_are_one_item_and_each_is_a_question():
    """Three questions of which two have the same words, each asked twice."""
    lines = [sample(name, 1.0) for name in "aabbcc"]
    lines = [line | {"cluster": "a" if line["id"] == "b" else line["id"]} for line in lines]
    found = evaluation((1, 1, 1, 1))
    evaluations = {"base": found._replace(samples=found.samples | {("sums", "greedy"): lines})}
    rows = score_rows(STUDY, levels(STUDY, evaluations, "greedy", HOW)[0], HOW)
    row = pick(rows, benchmark="sums", model="base")
    assert (row["num_items"], row["num_questions"], row["num_samples"]) == (2, 3, 2)


def test_differences_hold_every_seeds_own_and_a_verdict():
    rows = difference_rows(STUDY, found(), HOW)
    math = pick(rows, group="math", benchmark=None, arm="rl")
    assert math["mean"] == pytest.approx(15)
    assert [seed["mean"] for seed in math["seeds"]] == pytest.approx([10, 20])
    assert math["low"] > 0 and math["verdict"] == "up"
    assert pick(rows, group="other", benchmark=None, arm="sft")["verdict"] == "down"
    # One seed of RL stayed as it was, so the direction is not clear.
    assert pick(rows, group="other", benchmark=None, arm="rl")["verdict"] == "unclear"


def test_an_interval_of_a_share_of_zero_is_wilsons():
    row = pick(score_rows(STUDY, found(), HOW), benchmark="copy", model="base")
    assert (row["low"], row["high"]) == (pytest.approx(0, abs=1e-9), pytest.approx(3.699, abs=0.01))


def test_arms_are_compared_with_each_other():
    rows = arm_difference_rows(STUDY, found(), HOW)
    assert {(r["arm"], r["against"]) for r in rows} == {("rl", "sft")}
    row = pick(rows, group="other", benchmark=None)
    assert row["mean"] == pytest.approx(30) and row["low"] > 0


def test_a_run_that_lacks_a_benchmark_is_left_out_and_named():
    evaluations = dict(EVALUATIONS)
    evaluations["rl", 1] = evaluation((70, 50, 0, 70), benchmarks=("sums", "order", "copy"))
    part, missing = levels(STUDY, evaluations, "greedy", HOW)
    assert missing == ["RL, seed 1: no greedy samples of join, so left out there."]
    row = pick(difference_rows(STUDY, part, HOW), group="math", benchmark=None, arm="rl")
    assert [seed["seed"] for seed in row["seeds"]] == [0]


def interval(mean, low, high):
    return Interval(mean, low, high, 10, "")


def test_a_verdict_needs_the_interval_the_p_value_and_every_seed():
    assert verdict(interval(1, 0.5, 2), np.array([1.0, 1.0]), 0.01, 0.05) == "up"
    assert verdict(interval(-1, -2, -0.5), np.array([-1.0]), 0.05, 0.05) == "down"
    assert verdict(interval(1, 0.5, 2), np.array([2.5, -0.5]), 0.01, 0.05) == "unclear"
    assert verdict(interval(1, -0.5, 2), np.array([1.0, 1.0]), 0.01, 0.05) == "unclear"
    assert verdict(interval(1, 0.5, 2), np.array([1.0, 1.0]), 0.06, 0.05) == "unclear"


def test_differences_have_mcnemars_p_value_and_benjamini_hochbergs_q_in_their_family():
    one = dataclasses.replace(
        STUDY, arms=(Arm("rl", "rl", "RL", (0,)), Arm("sft", "sft", "SFT", (0,)))
    )
    rows = difference_rows(one, levels(one, EVALUATIONS, "greedy", HOW)[0], HOW)
    # Of 100 questions the first 50 were right, then the first 60: 10 gained, none lost.
    assert pick(rows, benchmark="sums", arm="rl")["p"] == pytest.approx(2 / 2**10)
    assert pick(rows, benchmark="order", arm="sft")["p"] == pytest.approx(2 / 2**30)
    assert pick(rows, benchmark="copy", arm="sft")["p"] == 1
    for benchmarks, size in ((True, 8), (False, 8)):
        members = [r for r in rows if (r["benchmark"] is not None) == benchmarks]
        expected = scipy.stats.false_discovery_control([r["p"] for r in members])
        assert [r["q"] for r in members] == pytest.approx(list(expected))
        assert {r["family"] for r in members} == {size} == {len(members)}


def test_the_smallest_difference_is_in_points_and_shrinks_with_the_mean_of_more_tasks():
    one = dataclasses.replace(
        STUDY, arms=(Arm("rl", "rl", "RL", (0,)), Arm("sft", "sft", "SFT", (0,)))
    )
    rows = difference_rows(one, levels(one, EVALUATIONS, "greedy", HOW)[0], HOW)
    z = scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)
    error = 100 * scipy.stats.sem([1] * 10 + [0] * 90)
    assert pick(rows, benchmark="sums", arm="rl")["detectable"] == pytest.approx(z * error)
    alike = pick(rows, benchmark="copy", arm="rl")["detectable"]
    both = pick(rows, group="non_reasoning", benchmark=None, arm="rl")["detectable"]
    assert both == pytest.approx(alike / 2**0.5)


def test_arms_against_each_other_have_a_verdict_that_needs_their_p_value():
    rows = arm_difference_rows(STUDY, found(), HOW)
    assert all(0 < r["p"] <= r["q"] <= 1 and r["family"] == len(rows) for r in rows)
    for row in rows:
        clear = (row["low"] > 0 or row["high"] < 0) and row["p"] <= 0.05
        assert (row["verdict"] != "unclear") == clear
    assert {r["verdict"] for r in rows} >= {"up"}
