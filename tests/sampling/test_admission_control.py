"""Lengths are learnt from what ended and what goes on, and as many replies run as pages are likely to be enough for."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from jaxreason.sampling.admission_control import Forecast, Growth, Lengths

NOBODY = np.zeros(0, np.int64)
SCRIPT = Path(__file__).parents[2] / "scripts" / "admission.py"


def test_before_any_has_ended_half_are_expected_to_by_an_eighth_of_the_limit():
    share = Lengths().survival(NOBODY, 4800)
    np.testing.assert_allclose(share(np.array([0, 600, 4200])), [1, 1 / 2, 1 / 8], atol=1e-6)


def test_the_share_that_goes_on_is_that_of_the_replies_seen():
    lengths, seen = Lengths(), np.random.default_rng(0).integers(1, 1001, 1000)
    for length in seen:
        lengths.add(int(length), cut=False)
    at = np.arange(0, 960, 40)
    found = lengths.survival(NOBODY, 960)(at)
    np.testing.assert_allclose(found, [(seen > tokens).mean() for tokens in at], atol=0.002)


def test_replies_that_were_cut_or_go_on_count_as_longer_than_they_are():
    lengths = Lengths()
    for _ in range(100):
        lengths.add(100, cut=False)
        lengths.add(200, cut=True)
    assert lengths.survival(NOBODY, 960)(np.array(190)) == pytest.approx(0.5, abs=0.005)
    running = np.full(200, 300)
    share = lengths.survival(running, 960)
    assert share(np.array(290)) == pytest.approx(0.75, abs=0.005)
    assert share(np.array(900)) < 0.5  # nobody has come so far: some will end


def forecast(so_far, ends_at=520, page=10):
    """Of replies without a prompt, all known to end at one length."""
    lengths = Lengths()
    for _ in range(1000):
        lengths.add(ends_at, cut=False)
    held = -(-np.array(so_far) // page)
    growths = [Growth(t, 1000, 0, h, h) for t, h in zip(so_far, held.tolist(), strict=True)]
    return Forecast(lengths, growths, page)


def test_as_many_go_on_as_there_are_pages_for_at_the_peak():
    together = forecast([100] * 20)  # each takes 42 pages more before the first gives any back
    assert together.useful(20 * 44) == 20
    assert together.useful(10 * 43) in (9, 10)
    assert together.useful(0) >= 1
    apart = forecast(range(500, 0, -25))  # the next ends every 25 tokens, with 52 pages
    assert apart.useful(10 * 43) == 20


def test_no_more_begin_than_are_of_use():
    plan, begun = forecast([100] * 10), 0
    free = 10 * 43 + 5 * 53
    while plan.welcomes(Growth(0, 1000, 0, 1, 1), free - begun, 1):
        begun += 1
    assert 5 <= begun < 20  # those that are 100 tokens ahead end first


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("admission_simulation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_512_replies_as_measured_at_4b_need_at_most_250_dispatches(simulation):
    prompts, lengths, most = simulation.draw("lognormal", 512, 0)
    dispatches, _, _ = simulation.engine(prompts, lengths, most, 256, 474_000 // simulation.PAGE)
    assert dispatches <= 250


@pytest.mark.parametrize("name", ["two kinds", "alike"])
def test_dispatches_are_within_a_tenth_of_those_with_every_length_known(simulation, name):
    drawn, pages = simulation.draw(name, 192, 0), 100_000 // simulation.PAGE
    dispatches, _, waits = simulation.engine(*drawn, 64, pages)
    assert dispatches <= 1.1 * simulation.known(*drawn[:2], 64, pages)
    assert waits > 0  # it dares
