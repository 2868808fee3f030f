"""What a request can ask for on its own: decoding, a thinking budget, the likeliest tokens; and being cancelled."""

import dataclasses

import numpy as np
import pytest
import replies
from replies import GREEDY, RANDOM

from jaxreason.sampling.sampling_params import Request

CLOSE = (9, 11, 12)  # closes a think block, and what follows


def make_requests(num, **fields):
    return replies.make_requests(num, longest=29, samples=1, **fields)


def run(engine, requests, decoding=GREEDY, **options):
    return replies.run(engine, requests, decoding, **options)


def test_requests_with_their_own_decoding_run_beside_each_other(make_engine):
    engine = make_engine(stop_ids=())
    kinds = [
        GREEDY,
        dataclasses.replace(RANDOM, max_tokens=5),
        dataclasses.replace(RANDOM, stop=("b", "c")),
        dataclasses.replace(GREEDY, repetition_penalty=1.5, max_tokens=20),
    ]
    plain = make_requests(12)
    expected = {}
    for kind in range(4):
        expected |= run(engine, plain[kind::4], kinds[kind])
    mixed = [dataclasses.replace(r, decoding=kinds[i % 4]) for i, r in enumerate(plain)]
    assert run(engine, mixed) == expected


def test_a_repetition_penalty_counts_prompt_and_reply(make_engine, reference_logprobs, params):
    request = make_requests(1)[0]
    strong = dataclasses.replace(GREEDY, repetition_penalty=1e6, max_tokens=30)
    reply = run(make_engine(stop_ids=()), [request], strong)["r0", 0]
    assert len(set(reply.tokens) | set(request.tokens)) == 30 + len(set(request.tokens))
    whole = request.tokens + reply.tokens
    np.testing.assert_allclose(
        reply.logprobs, reference_logprobs(params, whole)[len(request.tokens) :], atol=1e-4
    )


def test_a_think_block_that_is_open_when_the_budget_is_spent_is_closed(make_engine):
    requests = make_requests(8)
    free = run(make_engine(stop_ids=()), requests, RANDOM)
    engine = make_engine(stop_ids=(), close_think=CLOSE)
    assert run(engine, requests, RANDOM) == free  # nothing is forced without a budget
    found = run(engine, requests, dataclasses.replace(RANDOM, think_budget=4))
    for key, reply in found.items():
        before = free[key].tokens[:4]
        assert reply.tokens[:4] == before
        assert reply.tokens[4:7] == (free[key].tokens[4:7] if 9 in before else CLOSE)
        assert len(reply.tokens) == 12


@pytest.mark.parametrize("samples", [1, 2])
def test_a_think_block_that_the_prompt_has_closed_is_left_alone(make_engine, samples):
    closed = [
        dataclasses.replace(request, tokens=(*request.tokens, *CLOSE), num_samples=samples)
        for request in make_requests(6)
    ]
    free = run(make_engine(stop_ids=()), closed, RANDOM)
    engine = make_engine(stop_ids=(), close_think=CLOSE)
    assert run(engine, closed, dataclasses.replace(RANDOM, think_budget=4)) == free


def test_a_think_block_that_the_model_has_closed_is_left_alone(make_engine):
    requests = make_requests(8)
    free = run(make_engine(stop_ids=()), requests, RANDOM)
    closer = free["r1", 0].tokens[2]
    engine = make_engine(stop_ids=(), close_think=(closer, 11, 12))
    found = run(engine, requests, dataclasses.replace(RANDOM, think_budget=4))
    assert found["r1", 0] == free["r1", 0]
    assert any(found[key] != free[key] for key in free)


OPEN = 13


def test_a_reply_that_opens_no_think_block_is_left_alone(make_engine):
    requests = [r for r in make_requests(30) if OPEN not in r.tokens]
    free = run(make_engine(stop_ids=()), requests, RANDOM)
    engine = make_engine(stop_ids=(), close_think=CLOSE, open_think=OPEN)
    found = run(engine, requests, dataclasses.replace(RANDOM, think_budget=4))
    opened = 0
    for key, reply in found.items():
        tokens, expected = free[key].tokens, free[key].tokens
        begin = tokens.index(OPEN) if OPEN in tokens else len(tokens)
        end = max(4, begin + 1)  # one that is opened after the budget is closed at once
        if CLOSE[0] not in tokens[begin:end] and end < 12:
            expected = tokens[:end] + CLOSE[: 12 - end]
            opened += 1
        assert reply.tokens[: len(expected)] == expected
        assert len(reply.tokens) == 12
    assert 0 < opened < len(found)


def test_a_think_block_that_the_prompt_has_opened_is_closed_after_the_budget(make_engine):
    opened = [dataclasses.replace(r, tokens=(*r.tokens, OPEN, 12)) for r in make_requests(6)]
    engine = make_engine(stop_ids=(), close_think=CLOSE, open_think=OPEN)
    found = run(engine, opened, dataclasses.replace(RANDOM, think_budget=4))
    free = run(make_engine(stop_ids=()), opened, RANDOM)
    for key, reply in found.items():
        before = free[key].tokens[:4]
        assert reply.tokens[:4] == before
        assert CLOSE[0] in before or reply.tokens[4:7] == CLOSE


def test_a_budget_without_a_closing_token_is_refused(make_engine):
    budget = dataclasses.replace(GREEDY, think_budget=3)
    with pytest.raises(ValueError, match=r"decoding\.think_budget=3: expected 0"):
        list(make_engine().generate(make_requests(1), budget))
    mixed = [*make_requests(2), Request("own", (5,), 0, 1, budget)]
    assert "think_budget" in run(make_engine(), mixed)["own", 0].finish_reason


def test_options_beyond_what_the_device_can_hold_mean_what_they_say(make_engine):
    requests = make_requests(4)
    free = run(make_engine(stop_ids=(), close_think=CLOSE), requests, RANDOM)
    vast = dataclasses.replace(RANDOM, top_k=2**40, think_budget=2**40, stop=("\ud800",))
    assert run(make_engine(stop_ids=(), close_think=CLOSE), requests, vast) == free


def test_the_likeliest_tokens_are_told_with_every_token(make_engine):
    requests = make_requests(6)
    replies = run(make_engine(top_logprobs=3), requests)
    assert {k: dataclasses.replace(r, top_logprobs=()) for k, r in replies.items()} == run(
        make_engine(), requests
    )
    for reply in replies.values():
        assert len(reply.top_logprobs) == len(reply.tokens)
        for token, logprob, top in zip(
            reply.tokens, reply.logprobs, reply.top_logprobs, strict=True
        ):
            assert top[0] == (token, pytest.approx(logprob, abs=1e-5))  # greedy
            assert top[0][1] >= top[1][1] >= top[2][1]
            assert len({t for t, _ in top}) == 3


def test_a_cancelled_request_gives_its_slots_and_pages_back(make_engine):
    engine = make_engine(stop_ids=(), slots=2)
    long = dataclasses.replace(RANDOM, max_tokens=60)
    requests = [
        Request("running", (5, 6), 0, 2, long),
        Request("prefilled", (7, 8, 9), 0, 3, long),
        Request("next", tuple(range(4, 40)), 0, 2),
        *make_requests(4),
    ]
    gone: set[str] = set()

    def seen(reply):
        if len(reply.tokens) > 8:
            gone.update(("running", "prefilled", "next"))

    found = run(engine, requests, RANDOM, on_tokens=seen, cancelled=gone.__contains__)
    reasons = {key: reply.finish_reason for key, reply in found.items()}
    assert {key for key, reason in reasons.items() if reason == "cancelled"} == {
        *(("running", i) for i in range(2)),
        *(("prefilled", i) for i in range(3)),
        *(("next", i) for i in range(2)),
    }
    assert all(len(found["running", i].tokens) > 8 for i in range(2))
    assert run(make_engine(stop_ids=()), make_requests(4), RANDOM).items() <= found.items()
    assert [pool.held for pool in engine._pools] == [0]


def test_a_source_may_have_nothing_right_now(make_engine):
    requests = make_requests(6)
    asked = []

    def source():
        for request in requests:
            yield from (None, None)
            asked.append(request.id)
            yield request
        yield None

    assert run(make_engine(), source()) == run(make_engine(), requests)
    assert asked == [r.id for r in requests]


@pytest.mark.parametrize("prompt", [(5,), tuple(range(4, 13))], ids=["one token", "a known page"])
def test_a_last_request_that_comes_late_and_needs_no_prefill_is_answered(make_engine, prompt):
    engine = make_engine()
    request = Request("late", prompt, 0, 2)
    expected = run(engine, [request])
    assert len(expected) == 2
    for pause in range(1, 4):
        assert run(engine, iter([None] * pause + [request])) == expected


def test_progress_is_told_as_partial_replies(make_engine):
    request, parts = make_requests(1)[0], []
    reply = run(make_engine(stop_ids=()), [request], RANDOM, on_tokens=parts.append)["r0", 0]
    assert [len(part.tokens) for part in parts] == [5, 10]
    for part in parts:
        assert (part.id, part.sample, part.finish_reason) == ("r0", 0, "")
        assert part.tokens == reply.tokens[: len(part.tokens)]
        assert part.logprobs == reply.logprobs[: len(part.tokens)]


def test_what_a_check_raises_ends_the_call_at_the_next_block_and_spoils_no_later_one(make_engine):
    engine, requests = make_engine(stop_ids=()), make_requests(6)
    asked = []

    def check():
        asked.append(engine.stats.decode_dispatches)
        if len(asked) == 3:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        list(engine.generate(requests, RANDOM, check=check))
    assert asked == [1, 2, 3]
    assert run(engine, requests, RANDOM) == run(make_engine(stop_ids=()), requests, RANDOM)
