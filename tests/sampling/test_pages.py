"""The engine's pages: shared by equal prompts, waited for when they are short, and all given back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from replies import GREEDY, RANDOM, make_requests, run

from jaxreason.sampling.sampling_params import Request


def spell(tokens):
    return "".join(chr(ord("a") + token % 26) for token in tokens)


def held(engine):
    return [pool.held for pool in engine._pools]


def test_prompts_that_begin_alike_are_prefilled_once(make_engine):
    header = tuple(range(4, 23))  # two pages of 8 and a piece
    first = Request("a", (*header, 30, 31), 1, 2)
    second = Request("b", (*header, 40, 41, 42), 2, 2)
    engine = make_engine()
    apart = run(engine, [first])
    assert (engine.stats.prefilled_tokens, engine.stats.shared_tokens) == (20, 0)
    apart |= run(engine, [second])
    assert (engine.stats.prefilled_tokens, engine.stats.shared_tokens) == (20 + 5, 16)
    fresh = make_engine()
    assert run(fresh, [second]) | run(fresh, [first]) == apart  # bit for bit


def test_new_weights_share_nothing_with_the_old(make_engine, params):
    engine = make_engine()
    request = Request("a", tuple(range(4, 30)), 1, 1)
    run(engine, [request])
    engine.set_params(params)
    run(engine, [request])
    assert engine.stats.shared_tokens == 0


def test_with_few_pages_sequences_wait_and_replies_stay_the_same(make_engine):
    requests = make_requests(20)
    expected = run(make_engine(), requests)
    engine = make_engine(pages=12)  # one sequence of the longest needs 7
    assert run(engine, requests) == expected
    assert held(engine) == [0]


def test_a_request_that_no_pool_of_this_size_can_hold_fails_alone(make_engine):
    good, large = make_requests(3, longest=8), Request("large", (5,) * 50, 0, 2)
    completions = run(make_engine(pages=8), [good[0], large, *good[1:]])
    reason = completions["large", 1].finish_reason
    assert reason == "error: it needs 9 pages of 8 tokens and sampler.pages leaves it 7"
    expected = run(make_engine(), good)
    assert {key: completions[key] for key in expected} == expected


def test_no_page_is_lost_whatever_happens_to_a_sequence(make_engine, params):
    poisoned = jax.tree.map(lambda x: x, params)
    embedding = params["embed_tokens"]["embedding"].at[7].set(jnp.nan)
    poisoned["embed_tokens"] = {"embedding": embedding}
    engine = make_engine(params=poisoned)
    stop = dataclasses.replace(RANDOM, stop=("b",))
    for seed in range(3):
        run(engine, make_requests(20, seed), stop)
        assert held(engine) == [0]
        abandoned = engine.generate(make_requests(20, seed), stop)
        next(abandoned)
        assert held(engine) != [0]
    list(engine.generate([], RANDOM))
    assert held(engine) == [0]
    assert [pool.available for pool in engine._pools] == [engine._sizes.pages - 1]
    assert np.isfinite(engine._state.cache.pages).all()


def test_a_block_that_goes_on_beyond_a_stop_string_to_no_numbers_leaves_none_behind(
    make_engine, params
):
    engine, request = make_engine(stop_ids=()), Request("a", (5, 6, 8), 1, 1)
    first, second, third = run(engine, [request], GREEDY)["a", 0].tokens[:3]
    assert third not in (*request.tokens, first, second)
    poisoned = jax.tree.map(lambda x: x, params)
    embedding = params["embed_tokens"]["embedding"].at[third].set(jnp.nan)
    poisoned["embed_tokens"] = {"embedding": embedding}
    engine.set_params(poisoned)
    stop = dataclasses.replace(GREEDY, stop=(spell([second]),))
    reply = run(engine, [request], stop)["a", 0]
    assert (reply.tokens, reply.finish_reason) == ((first, second), "stop")
    list(engine.generate([], GREEDY))
    assert np.isfinite(engine._state.cache.pages).all()


def test_a_cancelled_prompt_that_was_read_to_no_numbers_leaves_none_behind(make_engine, params):
    poisoned = jax.tree.map(lambda x: x, params)
    embedding = params["embed_tokens"]["embedding"].at[7].set(jnp.nan)
    poisoned["embed_tokens"] = {"embedding": embedding}
    engine = make_engine(slots=2, params=poisoned, stop_ids=())
    common, long = tuple(range(10, 27)), dataclasses.replace(GREEDY, max_tokens=40)
    requests = [Request("a", (*common, 5), 1, 1), Request("b", (*common, 28), 1, 1)]
    waits = Request("waits", (*common, 7, *range(30, 40)), 1, 1)
    found = run(engine, [*requests, waits], long, cancelled=lambda name: name == "waits")
    assert found["waits", 0].finish_reason == "cancelled"
    assert {len(found[name, 0].tokens) for name in "ab"} == {40}
    list(engine.generate([], GREEDY))
    assert np.isfinite(engine._state.cache.pages).all()
    assert held(engine) == [0]
    engine.stats.shared_tokens = 0
    run(engine, [Request("again", (*common, 8), 1, 1)], GREEDY)
    assert engine.stats.shared_tokens == 16  # which the cancelled one only read


def test_ten_thousand_short_requests_leak_nothing(make_engine):
    engine = make_engine(slots=128, prefill_tokens=256, max_length=16, decode_block=2)
    rng = np.random.default_rng(0)
    prompts = rng.integers(4, 61, (10_000, 9)).tolist()
    requests = [
        Request(str(i), tuple(p[: rng.integers(1, 10)]), i, 1) for i, p in enumerate(prompts)
    ]
    short = dataclasses.replace(RANDOM, max_tokens=2)
    assert sum(len(c.tokens) > 0 for c in engine.generate(requests, short)) == 10_000
    assert held(engine) == [0]
    assert [pool.available for pool in engine._pools] == [engine._sizes.pages - 1]


def test_a_reply_that_waits_for_a_page_goes_on_as_if_it_had_not(make_engine):
    requests = make_requests(24, seed=3, longest=12)
    engine = make_engine(pages=12, stop_ids=())
    run(engine, requests, dataclasses.replace(RANDOM, max_tokens=1))  # so short, it seems, are all
    long = dataclasses.replace(RANDOM, max_tokens=40)
    found = run(engine, requests, long)
    assert engine.stats.waiting_slots > 0
    assert found == run(make_engine(stop_ids=()), requests, long)
    assert held(engine) == [0]
