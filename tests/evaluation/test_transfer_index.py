"""The index against the published table, hand numbers and values recomputed elsewhere."""

import csv
import math
import pathlib

import numpy as np
import pytest

from jaxreason.evaluation.transfer_index import (
    DEGREES,
    gain_and_drop,
    pooled_scale,
    scale_of,
    signed_log,
    transfer_index,
    why_undefined,
)

PAPER = pathlib.Path(__file__).parents[2] / "jaxreason" / "results" / "paper"
GROUPS = {
    "math": ("aime24", "aime25", "math500", "olympiadbench"),
    "other": ("gpqa_diamond", "livecodebench", "acpbench", "headqa"),
    "non_reasoning": ("coqa", "mc_taco", "ifeval", "halueval"),
}
RATIOS = {"math": 1.0, "other": 1.1344, "non_reasoning": 1.2753}
# Computed apart from this code when the published tables were studied: (other, non-reasoning).
V1 = {"R1-Distill-Qwen-7B": (33.4, -3.1), "s1.1-7B": (-25.3, -166.4), "DAPO-Qwen-32B": (15.8, -8.3)}
V1 |= {"UniReason think-SFT": (85.7, -41.2), "UniReason no-think-SFT": (741.5, -250.3)}
LITERAL = {"UniReason think-SFT": (42.9, -148.5), "UniReason RL": (71.0, 84.1)}


def rows(name):
    lines = (PAPER / name).read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.fixture(scope="module")
def pairs():
    scores = {row["model"]: row for row in rows("scores.csv")}
    return {
        row["model"]: {
            group: tuple(
                np.array([float(scores[row[side]][name]) for name in names])
                for side in ("base", "scores_name")
            )
            for group, names in GROUPS.items()
        }
        for row in rows("transferability.csv")
    }


def index(pair, mode, group, scales=RATIOS):
    degree = {
        name: DEGREES[mode](*pair[name], scale_of(mode, name, scales)) for name in (group, "math")
    }
    return float(transfer_index(degree[group], degree["math"]))


@pytest.mark.parametrize(("mode", "expected"), [("v1_relative", V1), ("v2_literal", LITERAL)])
def test_index_meets_the_values_worked_out_by_hand(pairs, mode, expected):
    for model, values in expected.items():
        found = [index(pairs[model], mode, group) for group in ("other", "non_reasoning")]
        assert found == pytest.approx(values, abs=0.06), model


def test_deviation_pooled_over_the_18_published_pairs(pairs):
    gains = {g: [pair[g][1] - pair[g][0] for pair in pairs.values()] for g in GROUPS}
    found = {group: pooled_scale(values) for group, values in gains.items()}
    assert found == pytest.approx({"math": 16.12, "other": 18.43, "non_reasoning": 20.46}, abs=0.01)


def test_pooled_deviation_leaves_out_a_benchmark_without_a_score():
    assert pooled_scale([np.array([1.0, math.nan]), np.array([3.0])]) == 1.0
    assert math.isnan(pooled_scale([np.array([math.nan])]))


def test_only_the_ratios_of_the_pooled_deviations_matter(pairs):
    scaled = {group: 7 * value for group, value in RATIOS.items()}
    pair = pairs["UniReason RL"]
    assert index(pair, "v2_pooled", "other", scaled) == pytest.approx(
        index(pair, "v2_pooled", "other")
    )


# Of base scores 20 and 60, tuned scores 56 and 44, and a deviation of 4. Relative gains: 36/20 and -16/60. Weights of
# v2: 80 and 40 of 120. Gains +36 and -16 over 4 have the roots 3 and -2; their own population deviation is 26.
BY_HAND = {
    "v1_relative": (36 / 20 - 16 / 60) / 2,
    "v2_literal": (2 / 3 * 6 - 1 / 3 * 4) / 26**0.5,
    "v2_pooled": 2 / 3 * 3 - 1 / 3 * 2,
    "paper_scales": 2 / 3 * 3 - 1 / 3 * 2,
}


@pytest.mark.parametrize("mode", DEGREES)
def test_a_degree_is_the_hand_number(mode):
    assert set(BY_HAND) == set(DEGREES)
    base, tuned = np.array([20.0, 60.0]), np.array([56.0, 44.0])
    assert DEGREES[mode](base, tuned, 4.0) == pytest.approx(BY_HAND[mode])


def test_literal_degree_by_hand():
    base, tuned = np.array([50.0, 50.0]), np.array([58.0, 52.0])
    # gains 8 and 2 have the population deviation 3.
    assert DEGREES["v2_literal"](base, tuned, 1.0) == pytest.approx((8**0.5 + 2**0.5) / 3**0.5 / 2)


def test_degrees_of_many_resamples_at_once_equal_those_one_by_one():
    rng = np.random.default_rng(0)
    base, tuned = rng.uniform(1, 90, (5, 3)), rng.uniform(1, 90, (5, 3))
    for degree in DEGREES.values():
        single = [float(degree(b, t, 2.0)) for b, t in zip(base, tuned, strict=True)]
        assert degree(base, tuned, 2.0) == pytest.approx(single)


@pytest.mark.parametrize(
    ("mode", "base", "tuned", "scale", "reason"),
    [
        ("v1_relative", [0.0, 5.0], [1.0, 6.0], 1.0, "scores 0 on a"),
        ("v2_literal", [1.0], [4.0], 1.0, "one benchmark"),
        ("v2_literal", [10.0, 20.0], [13.0, 23.0], 1.0, "do not vary"),
        ("v2_pooled", [10.0, 20.0], [10.0, 20.0], 0.0, "do not vary"),
        ("v2_pooled", [100.0, 100.0], [90.0, 80.0], 1.0, "100 everywhere"),
        ("v2_pooled", [math.nan, 1.0], [2.0, 3.0], 1.0, "no score"),
        ("v2_pooled", [10.0, 20.0], [10.0, 20.0], 1.0, ""),
        ("paper_scales", [10.0, 20.0], [10.0, 20.0], math.nan, "the paper has no such group"),
    ],
)
def test_undefined_degrees_say_why(mode, base, tuned, scale, reason):
    base, tuned = np.array(base), np.array(tuned)
    found = why_undefined(mode, "other", ("a", "b")[: len(base)], base, tuned, scale)
    assert reason in found and bool(found) == bool(reason)


@pytest.mark.parametrize("degree_math", [0.0, -1.0, 1e-12, math.nan])
def test_index_is_undefined_where_math_did_not_gain(degree_math):
    assert math.isnan(transfer_index(1.0, degree_math))


def test_signed_log_keeps_the_sign():
    assert signed_log(np.array([-math.e + 1, 0.0, math.e - 1])) == pytest.approx([-1, 0, 1])


# The rows of section "transferability" that the paper's tables reproduce: (other, non-reasoning) as published.
REPRODUCED = {
    "R1-Distill-Qwen-7B": (60.4, -4.2),
    "OpenThinker2-7B": (52.0, -76.2),
    "s1.1-7B": (-65.5, -213.3),
    "Mistral-24B-Reasoning": (22.6, -89.5),
    "OpenThinker2-32B": (39.1, -53.5),
    "s1.1-32B": (33.8, -62.2),
    "LIMO-32B": (40.5, -27.3),
    "SimpleRL-1.5B": (85.6, 9.5),
    "SimpleRL-7B": (15.4, 34.4),
    "SimpleRL-14B": (95.9, 101.5),
    "UniReason think-SFT": (52.2, -104.1),
    "UniReason no-think-SFT": (165.4, -278.9),
    "UniReason RL": (82.3, 52.2),
}


def test_the_papers_scales_give_the_thirteen_published_rows_that_its_tables_reproduce(pairs):
    for model, published in REPRODUCED.items():
        found = [index(pairs[model], "paper_scales", g) for g in ("other", "non_reasoning")]
        tolerance = 0.55 if model == "SimpleRL-1.5B" else 0.15
        assert found == pytest.approx(published, abs=tolerance), model


def test_the_papers_scales_are_those_of_its_groups_whatever_was_pooled(pairs):
    pair = pairs["UniReason RL"]
    other = index(pair, "paper_scales", "other", dict.fromkeys(RATIOS, 7.0))
    assert other == pytest.approx(index(pair, "v2_pooled", "other", RATIOS))
    assert math.isnan(scale_of("paper_scales", "safety", {"safety": 2.0}))
    assert scale_of("v2_pooled", "safety", {"safety": 2.0}) == 2.0


def test_gain_and_drop_split_the_changes_by_sign():
    base, tuned = np.array([10.0, 20.0, 30.0, 40.0]), np.array([16.0, 20.0, 28.0, 38.0])
    gain, drop = gain_and_drop(base, tuned)
    assert (gain, drop) == (1.5, 1.0)
    assert gain - drop == pytest.approx((tuned - base).mean())
    # Changes of less than a point are split as others are.
    assert gain_and_drop(np.array([1.0, 2.0]), np.array([1.5, 1.75])) == (0.25, 0.125)
    lost = gain_and_drop(np.array([math.nan, 1.0]), np.array([2.0, 3.0]))
    assert all(map(math.isnan, lost))
