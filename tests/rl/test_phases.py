"""Shares of a step's time."""

import itertools

import pytest

from jaxreason.rl import step_metrics
from jaxreason.rl.step_metrics import Phases


def test_shares_sum_to_one_and_the_rest_is_other(monkeypatch):
    clock = itertools.count(0, 2)  # 2 seconds between two looks at it
    monkeypatch.setattr(step_metrics.time, "perf_counter", lambda: float(next(clock)))
    step = Phases("generate", "update", "validate")
    for name in ("generate", "update", "update"):
        with step.during(name):
            pass
    step.add("update", 1.0)
    found = step.measures()
    assert (found["generate_seconds"], found["update_seconds"], step["update"]) == (2.0, 5.0, 5.0)
    assert found["step_seconds"] == 14.0
    assert found["generate_share_of_seconds"] == pytest.approx(2 / 14)
    assert found["validate_share_of_seconds"] == 0.0
    assert found["other_share_of_seconds"] == pytest.approx(7 / 14)
    shares = [value for name, value in found.items() if name.endswith("_share_of_seconds")]
    assert sum(shares) == pytest.approx(1.0)


def test_shares_sum_to_one_where_what_was_measured_elsewhere_is_more_than_all():
    step = Phases("weights")
    step.add("weights", 1e6)
    found = step.measures()
    assert found["weights_share_of_seconds"] + found["other_share_of_seconds"] == 1.0


def test_a_phase_that_raises_is_counted():
    step = Phases("generate")
    with pytest.raises(KeyError), step.during("generate"):
        raise KeyError
    assert step["generate"] > 0
