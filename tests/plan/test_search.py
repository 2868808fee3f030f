"""The search for the fastest way to train that fits: what is ranked, what is compiled, and what is said."""

import dataclasses
import json

import jax
import pytest
from plan_runs import HAS_CUDA, peak_of_step, run_plan

from configs import qwen3
from jaxreason.config import parse
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan import search, slices
from jaxreason.plan.program_costs import measure_program
from jaxreason.plan.programs import micro_batches, sft_programs
from jaxreason.plan.recipe_plan import planned_model
from jaxreason.plan.search import Way, copied_bytes, search_recipe, search_stage
from jaxreason.plan.search_table import candidate_settings, format_search, to_json
from jaxreason.plan.slices import GIB, find_slice
from jaxreason.recipes import load_recipe
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training.sft_config import SFTConfig

CARD = find_slice("h100")
POLICIES = ("none", "attention", "full")


@pytest.fixture(autouse=True)
def few_policies(monkeypatch):
    """Each is traced."""
    monkeypatch.setattr(search, "NOT_TIMED", [x for x in search.REMAT if x not in POLICIES])


@pytest.fixture(scope="module")
def tiny():
    return load_recipe("configs/study_tiny.py")


@pytest.fixture(scope="module")
def step(tiny):
    """The SFT step of the tiny study as the search takes it, on one CPU device."""
    model = planned_model(parse(ModelConfig, tiny.model, "model"), None)
    section = parse(SFTConfig, tiny.sft, "sft")
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])

    def make(section, model, mesh):
        return sft_programs(section, model, mesh, micro_batches(section, 0))

    return section, model, mesh, make


def with_memory(monkeypatch, gib):
    """A card that has only so much for programs."""
    kind = dataclasses.replace(CARD.kind, hbm=gib * GIB)
    monkeypatch.setitem(slices.GENERATIONS, "h100", kind)


def test_ways_are_ranked_by_time_and_the_first_that_fits_is_taken(tiny, monkeypatch):
    monkeypatch.setattr(search, "MOST_ROWS", 2)
    sft, rl = search_recipe(tiny, CARD)
    for found in (sft, rl):
        speeds = [c.tokens_per_second for c in found.candidates]
        assert speeds == sorted(speeds, reverse=True)
        first = next(i for i, c in enumerate(found.candidates) if c.fits)
        assert found.best == found.candidates[first]
        assert {c.fits for c in found.candidates[first + 1 :]} == {None}
        kinds = {(c.way.remat, c.way.unroll) for c in found.candidates}
        assert kinds == {(r, u) for r in POLICIES for u in (1, 3)}
    # A model of 0.45M parameters leaves an H100 empty: nothing is recomputed or scanned.
    assert (sft.best.way.remat, sft.best.way.unroll) == ("none", 3)
    text = format_search([sft, rl], CARD)
    assert candidate_settings(sft) in text and "--config.rl.micro_batch_rows=" in text
    assert json.loads(json.dumps(to_json([sft, rl], CARD)))["stages"][0]["best"]["fits"]


def test_a_smaller_memory_is_met_by_fewer_rows_or_by_computing_again(step, monkeypatch):
    ways = []
    for gib in (10.0, 0.045, 0.001):
        with_memory(monkeypatch, gib)
        section, model, mesh, make = step
        found = search_stage("sft", section, model, mesh, CARD, make, can_compile=False)
        ways.append(found.best and found.best.way)
        assert found.best is None or found.best.total <= 0.9 * gib * GIB
    assert ways[0].rows > ways[1].rows and ways[-1] is None
    assert search.REMAT[ways[0].remat].keeps_inside
    assert "no way fits 0.00 GiB" in format_search([found], CARD)


@pytest.mark.slow
def test_what_is_said_to_fit_was_compiled_where_that_can_be(step, monkeypatch):
    section, model, mesh, make = step
    monkeypatch.setattr(search, "MOST_ROWS", 1)
    found = search_stage("sft", section, model, mesh, CARD, make, can_compile=True)
    assert found.best == found.candidates[0] and found.best.compiled
    way = found.best.way
    changed = dataclasses.replace(model, remat=way.remat, unroll=way.unroll)
    program = make(dataclasses.replace(section, micro_batch_rows=way.rows), changed, mesh)[0]
    compiled = measure_program(program, changed, mesh, True, section.logprob_chunk)
    assert found.best.total == compiled.total
    # Half of that is not enough for it, so slower ones are compiled until one fits.
    with_memory(monkeypatch, compiled.total / GIB / 2)
    less = search_stage("sft", section, model, mesh, CARD, make, can_compile=True)
    assert less.candidates[0].fits is False
    assert less.best is None or (less.best.compiled and less.best.total <= compiled.total / 2)


def test_layers_are_copied_only_where_they_are_scanned_and_kept(step):
    section, model, mesh, make = step
    (program,) = make(section, model, mesh)
    scanned, unrolled = (dataclasses.replace(model, unroll=n) for n in (1, 3))
    again = dataclasses.replace(scanned, remat="full")
    gradients = copied_bytes(program, unrolled, mesh)
    assert gradients < copied_bytes(program, again, mesh) < copied_bytes(program, scanned, mesh)


@pytest.mark.parametrize(("rows", "unroll"), [(3, 2), (16, 1)])
def test_the_recipes_own_way_is_ranked_too_and_none_twice(step, monkeypatch, rows, unroll):
    section, model, mesh, make = step
    monkeypatch.setattr(search, "NOT_TIMED", [x for x in search.REMAT if x != "full"])
    section = dataclasses.replace(section, micro_batch_rows=rows)
    model = dataclasses.replace(model, remat="full", unroll=unroll)
    found = search_stage("sft", section, model, mesh, CARD, make, False)
    ways = [candidate.way for candidate in found.candidates]
    assert found.now == Way("full", unroll, rows) and found.now in ways
    assert len(set(ways)) == len(ways)
    assert "times as fast as the recipe's" in format_search([found], CARD)


def test_layers_stay_scanned_for_tpus(step):
    section, model, mesh, _ = step
    ways = search._ways(model, mesh, section, find_slice("v5e-1"))
    assert {way.unroll for way in ways} == {1}
    assert Way("full", 1, 16) in ways


def test_the_recipes_of_one_card_take_what_the_search_found_and_leave_some_memory():
    for (stage, size, card), (remat, rows, gib) in qwen3.ON_ONE_CARD.items():
        config = load_recipe(f"configs/{stage}_qwen3.py:{size},{card}")
        assert (config.model.remat, config.model.unroll) == (remat, qwen3.SIZES[size][3])
        assert config[stage].micro_batch_rows == rows
        assert gib * GIB <= 0.92 * find_slice(card).kind.hbm
    assert load_recipe("configs/rl_qwen3.py:1.7b,h100-8").model.remat == "full"


@pytest.mark.slow
@pytest.mark.skipif(not HAS_CUDA, reason="needs jaxreason[cuda]")
@pytest.mark.parametrize(
    ("stage", "size", "card"), [("sft", "1.7b", "h100-1"), ("rl", "1.7b", "h100-1")]
)
def test_the_recipes_of_one_card_take_the_memory_that_their_table_says(stage, size, card):
    told, _ = run_plan("--slice", card, config=f"configs/{stage}_qwen3.py:{size},{card}")
    table = qwen3.ON_ONE_CARD[stage, size, card][2]
    assert peak_of_step(told) == pytest.approx(table, rel=0.02)
