"""Pages are taken as replies grow: all that has begun ends, and more run than if each had what it may need."""

import itertools

import numpy as np
import pytest

from jaxreason.sampling.admission_control import Claim, Lengths, is_safe
from jaxreason.sampling.block_manager import BlockManager
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sampling.scheduler import Scheduler

SIZE, LONGEST, LIMIT = 4, 64, 40


def can_end(free, running, waiting):
    """Whether some order lets all end."""
    for order in itertools.permutations(running):
        left = free
        for need, own in order:
            if need > left:
                break
            left += own
        else:
            return all(need <= left for need in waiting)
    return False


def test_a_state_is_safe_when_some_order_lets_all_end():
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(500):
        running = [Claim(*rng.integers(0, 8, 2).tolist()) for _ in range(rng.integers(0, 5))]
        waiting = rng.integers(0, 12, rng.integers(0, 3)).tolist()
        free = int(rng.integers(0, 8))
        verdicts.append(is_safe(free, running, waiting))
        assert verdicts[-1] == can_end(free, running, waiting), (free, running, waiting)
    assert 0.2 < np.mean(verdicts) < 0.8


def simulate(pages, num, slots, replies, lengths, parts=1, samples=1, seed=0):
    """Serves requests on the host alone; a reply ends after `replies(i)` tokens. Slots at work in each dispatch."""
    rng = np.random.default_rng(seed)
    requests = [
        Request(str(i), tuple(rng.integers(0, 99, rng.integers(1, 24)).tolist()), i, samples)
        for i in range(num)
    ]
    pools = [BlockManager(pages) for _ in range(parts)]
    run = Scheduler(
        requests,
        SamplingParams(1.0, 0, 1.0, LIMIT, ()),
        lambda _: None,
        num_slots=slots,
        num_blocks=4 * parts,
        block=24,
        page_size=SIZE,
        max_length=LONGEST,
        pools=pools,
        lengths=lengths,
    )
    working, ended = [], []
    while not run.exhausted or run.running().any() or any(run.prompts):
        run.load_rows()
        run.take_blocks()
        run.start_samples()
        until, positions = run.grow(3), run.positions()
        assert len(working) < 50 * num * samples, "nothing ends any more"
        working.append(int((until > positions).sum()))
        for slot in np.flatnonzero(until > positions):
            reply = run.slots[slot]
            wanted = min(replies(int(reply.request.id)), reply.limit)
            more = min(3, until[slot] - positions[slot], wanted - len(reply.tokens))
            reply.tokens += [0] * int(more)
            if len(reply.tokens) == wanted:
                run.end(int(slot), "stop")
        mine = [[reply.pages for _, reply in run._replies(part)] for part in range(parts)]
        for pool, held in zip(pools, mine, strict=True):
            assert {page for pages in held for page in pages} <= set(pool._holders)
        ended += run.take_finished()
    assert len(ended) == num * samples
    assert [pool.held for pool in pools] == [0] * parts
    return working


# the longest prompt and reply take 16 pages, and one more for the open page of a group
@pytest.mark.parametrize("pages", [18, 19, 25, 40])
@pytest.mark.parametrize(("parts", "samples"), [(1, 1), (1, 4), (2, 3)])
def test_everything_ends_however_few_pages_there_are_and_however_wrong_the_expectation(
    pages, parts, samples
):
    lengths = Lengths()
    for _ in range(500):
        lengths.add(1, cut=False)  # nothing is longer, it seems
    rng = np.random.default_rng(pages)
    wanted = rng.integers(1, 60, 20)
    simulate(pages, 20, 8 * parts, lambda i: wanted[i], lengths, parts, samples)


def test_more_replies_run_at_a_time_when_they_turn_out_short():
    short = np.random.default_rng(0).integers(3, 15, 300)
    long, learnt = Lengths(), Lengths()
    for _ in range(1000):
        long.add(LIMIT, cut=True)
    expected_long = simulate(80, 300, 16, lambda i: short[i], long)
    found_short = simulate(80, 300, 16, lambda i: short[i], learnt)
    assert len(found_short) < 0.8 * len(expected_long)
    assert np.mean(found_short) > 6
