"""Prompts are prefilled as one flat run of tokens: little padding, shared beginnings, and nobody is kept waiting."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from replies import GREEDY, RANDOM, make_requests, run

from jaxreason.sampling import device_programs
from jaxreason.sampling.admission_control import Lengths
from jaxreason.sampling.block_manager import BlockManager
from jaxreason.sampling.engine_config import EngineSizes
from jaxreason.sampling.sampling_params import Request
from jaxreason.sampling.scheduler import Scheduler


def random_prompt(rng, length):
    return tuple(rng.integers(4, 61, length).tolist())


def test_prompts_like_those_of_chats_cost_little_padding(make_engine):
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3.2, 0.8, 60), 1, 60).astype(int)
    requests = [Request(str(i), random_prompt(rng, n), i, 1) for i, n in enumerate(lengths)]
    engine = make_engine()
    run(engine, requests, dataclasses.replace(RANDOM, max_tokens=4))
    stats = engine.stats
    assert stats.prefilled_tokens == sum(lengths - 1)
    assert stats.padded_tokens == 16 * stats.prefill_dispatches
    assert stats.padded_tokens <= 1.15 * stats.prefilled_tokens


def test_the_sizes_of_blocks_and_dispatches_do_not_change_replies(make_engine):
    requests = make_requests(10)
    expected = run(make_engine(), requests)
    found = run(make_engine(prefill_tokens=15, prefill_block=5), requests)
    assert found.keys() == expected.keys()
    for key, reply in found.items():
        assert reply.tokens == expected[key].tokens
        np.testing.assert_allclose(reply.logprobs, expected[key].logprobs, atol=1e-4)


@pytest.fixture
def runs_of_8_tokens(monkeypatch):
    device_programs.make_device_programs.cache_clear()
    monkeypatch.setattr(device_programs, "CPU_TOKENS", 8)
    yield
    device_programs.make_device_programs.cache_clear()


@pytest.mark.parametrize("tokens", [48, 44])  # 12 blocks, and 11, whose last run has one
def test_blocks_may_be_read_in_several_runs(make_engine, runs_of_8_tokens, monkeypatch, tokens):
    header = tuple(range(4, 12))  # a page, which a later run finds as an earlier one left it
    requests = [*make_requests(10), *(Request(f"h{i}", (*header, 30 + i), i, 2) for i in range(4))]
    found = run(engine := make_engine(prefill_tokens=tokens), requests)
    assert engine.stats.padded_tokens == tokens * engine.stats.prefill_dispatches
    monkeypatch.setattr(device_programs, "CPU_TOKENS", tokens)
    device_programs.make_device_programs.cache_clear()
    expected = run(make_engine(prefill_tokens=tokens), requests)
    assert found.keys() == expected.keys()
    for key, reply in found.items():
        assert reply.tokens == expected[key].tokens
        np.testing.assert_allclose(reply.logprobs, expected[key].logprobs, atol=1e-4)


@pytest.mark.parametrize(("used", "expected"), [(0, 0), (1, 1), (2, 1), (3, 2), (8, 4)])
def test_on_cpu_only_runs_in_use_are_computed(
    model, params, mesh, runs_of_8_tokens, monkeypatch, used, expected
):
    computed, write = [], device_programs._write_blocks

    def counted(*args):
        jax.debug.callback(lambda: computed.append(1))
        return write(*args)

    monkeypatch.setattr(device_programs, "_write_blocks", counted)
    sizes = EngineSizes(slots=4, length=32, steps=2, page_size=8, pages=40)
    programs = device_programs.make_device_programs(model, mesh, sizes, ())
    count = np.where(np.arange(8) < used, 4, 0).astype(np.int32)
    tables = np.arange(1, 33, dtype=np.int32).reshape(8, 4)
    state = programs.prefill(
        params, programs.make_state(params), tables, np.full((8, 4), 5, np.int32), count * 0, count
    )
    jax.effects_barrier()
    written = np.any(np.asarray(state.cache.pages) != 0, axis=(0, 2, 3, 4))
    assert np.flatnonzero(written).tolist() == list(range(1, 1 + 4 * used, 4))
    assert len(computed) == expected  # of 8 blocks of 4 tokens, two at a time


def test_prompts_that_begin_alike_share_pages_within_a_dispatch(make_engine):
    header = tuple(range(4, 12))  # a page
    requests = [Request(str(i), (*header, 30 + i, 31), i, 2) for i in range(4)]
    together = run(engine := make_engine(), requests)
    assert engine.stats.prefilled_tokens == 8 + 4
    assert engine.stats.shared_tokens == 3 * 8
    assert engine.stats.prefill_dispatches == 2  # 3 + 1 blocks of 4, then 2
    alone = {}
    for request in requests:
        alone |= run(make_engine(), [request])
    assert together == alone  # bit for bit
    assert [pool.held for pool in engine._pools] == [0]


def test_running_replies_get_tokens_however_many_prompts_come(make_engine):
    engine, rng = make_engine(stop_ids=()), np.random.default_rng(0)
    most = engine._config.prefills_between
    assert most == 1
    shown, dispatches = [], []

    def endless():
        yield Request("long", (5, 6), 0, 1, dataclasses.replace(GREEDY, max_tokens=40))
        for i in itertools.count():
            yield Request(str(i), random_prompt(rng, 56), i, 1)

    def watch(reply):
        if reply.id == "long":
            shown.append(len(reply.tokens))
            dispatches.append(engine.stats.prefill_dispatches)

    stream = engine.generate(endless(), dataclasses.replace(RANDOM, max_tokens=2), on_tokens=watch)
    assert any(done.id == "long" for done in stream)
    assert min(np.diff(shown)) >= 1
    assert len(shown) > 15 and max(np.diff(dispatches)) == most


def test_prompts_are_prefilled_however_long_replies_run(make_engine):
    engine, rng = make_engine(stop_ids=()), np.random.default_rng(0)
    long = dataclasses.replace(GREEDY, max_tokens=60)
    requests = [Request("long", (5, 6), 0, 3, long), Request("new", random_prompt(rng, 54), 0, 1)]
    begun, written = [], []

    def watch(reply):
        if reply.id == "new":
            begun.append(engine.stats.decode_dispatches)
        elif reply.sample == 0 and not begun:
            written.append(len(reply.tokens))

    run(engine, requests, long, on_tokens=watch)
    # 1 + 53 tokens in dispatches of 16: one before each block of decoding, the last of which it takes part in
    assert begun[0] == 4
    assert written == [1, 2, 3, 8]  # blocks of 5 steps have one until all is prefilled
    assert engine.stats.prefill_dispatches == 4


def test_a_dispatch_that_is_not_full_waits_once_for_more_where_pages_are_short():
    requests = [Request(str(i), tuple(range(4 + i, 13 + i)), i, 1) for i in range(6)]
    decoding = dataclasses.replace(GREEDY, max_tokens=8)  # two pages in all
    sizes = {"num_slots": 4, "num_blocks": 8, "block": 4, "page_size": 8, "max_length": 64}
    pool = BlockManager(6)
    state = Scheduler(requests, decoding, lambda _: None, **sizes, pools=[pool], lengths=Lengths())
    state.load_rows()
    assert state.wants_prefill()  # nothing runs that more could come from
    assert [(b.row.request.id, b.start, b.count) for b in state.take_blocks()] == [
        *(("0", 0, 4), ("0", 4, 4), ("1", 0, 4), ("1", 4, 4)),
    ]
    assert state.start_samples() == [0, 1]
    state.load_rows()
    assert not state.wants_prefill()  # no page for another prompt
    state.end(0, "stop")
    state.load_rows()
    assert [state.wants_prefill() for _ in range(4)] == [False, True, False, True]


def test_tokens_that_are_not_whole_blocks_are_refused_by_name(make_engine):
    expected = r"sampler\.prefill_tokens=30: expected a multiple of 4, prefill_block=4 tokens for"
    with pytest.raises(ValueError, match=expected):
        make_engine(prefill_tokens=30)
