"""Counts the dispatches of the engine's scheduler, without a model, beside those of one that knows every length.

    python scripts/admission.py                  # nothing is known of lengths at first
    python scripts/admission.py --seen 512       # that many replies of the kind have ended before
    python scripts/admission.py --requests 1536

All requests wait at the start and are served in the given order. A dispatch makes 32 tokens of every reply that has
pages for them. Prefill costs nothing here: a prompt takes its pages and is ready. `known` is list scheduling with the
same slots, pages and order, if every length is known: the next request begins as soon as the largest number of pages
that will be held at the same time fits; no reply that has begun ever waits. This is not an optimum: fewer dispatches
than `known` are possible.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from jaxreason.sampling.admission_control import Lengths
from jaxreason.sampling.block_manager import BlockManager
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sampling.scheduler import Scheduler

PAGE, BLOCK = 64, 32
BLOCKS, PREFILL_BLOCK = 64, 16  # Of a prefill dispatch.


def lognormal(median, mean):
    sigma = np.sqrt(2 * np.log(mean / median))
    return lambda rng, n: rng.lognormal(np.log(median), sigma, n)


def two_kinds(rng, n):
    return np.where(rng.random(n) < 0.7, rng.normal(300, 60, n), rng.normal(5000, 500, n))


# Name -> (draw of reply lengths, most tokens of a reply).
DISTRIBUTIONS = {
    "lognormal": (lognormal(1340, 1655), 6000),
    "two kinds": (two_kinds, 6000),
    "uniform": (lambda rng, n: rng.uniform(1, 6000, n), 6000),
    "geometric": (lambda rng, n: rng.geometric(1 / 1200, n), 6000),
    "heavy tail": (lambda rng, n: 200 * (1 + rng.pareto(1.3, n)), 16000),
    "alike": (lambda rng, n: rng.normal(2000, 50, n), 6000),
}


def draw(name, number, seed):
    make, most = DISTRIBUTIONS[name]
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.round(make(rng, number)), 1, most).astype(int)
    prompts = np.clip(np.round(rng.lognormal(np.log(140), 0.5, number)), 8, 1000).astype(int)
    return prompts, lengths, most


def engine(prompts, lengths, most, slots, pages, seen=()):
    """Returns the dispatches of the engine's scheduler, the mean number of busy slots, and how
    often a reply had to wait.

    Args:
      prompts: tokens of each prompt.
      lengths: lengths of the replies.
      most: the most tokens of a reply.
      slots: slots of the engine.
      pages: pages of `PAGE` positions each.
      seen: lengths of earlier replies.
    """
    past = Lengths()
    for length in seen:
        past.add(int(length), cut=length == most)
    requests = [Request(str(i), tuple(np.full(p, i).tolist()), i, 1) for i, p in enumerate(prompts)]
    run = Scheduler(
        requests,
        SamplingParams(1.0, 0, 1.0, most, ()),
        lambda _: None,
        num_slots=slots,
        num_blocks=BLOCKS,
        block=PREFILL_BLOCK,
        page_size=PAGE,
        max_length=int(prompts.max()) + most,
        pools=[BlockManager(pages + 1)],
        lengths=past,
    )
    busy, waited = [], 0
    while not run.exhausted or run.running().any() or any(run.prompts):
        fill(run)
        until, positions = run.grow(BLOCK), run.positions()
        able = np.flatnonzero(until > positions)
        busy.append(len(able))
        waited += int(run.running().sum()) - len(able)
        for slot in able:
            reply = run.slots[slot]
            wanted = int(lengths[int(reply.request.id)])
            more = min(BLOCK, until[slot] - positions[slot], wanted - len(reply.tokens))
            reply.tokens += [0] * int(more)
            if len(reply.tokens) >= wanted:
                run.end(int(slot), "length" if wanted == most else "stop")
        run.take_finished()
    return len(busy), float(np.mean(busy)), waited


def fill(run):
    """Begins all replies that may begin."""
    started = True
    while started:
        run.load_rows()
        while any(row.missing for row in run.prompts):
            run.take_blocks()
        started = run.start_samples()


def pages_of(tokens):
    return -(-tokens // PAGE)


def fits(prompt, so_far, length, pages):
    """Whether at most `pages` pages are held at the same time if no other reply begins."""
    left = -(-(length - so_far) // BLOCK) * BLOCK
    times = np.unique(left)[:, None]
    held = pages_of(prompt + np.minimum(so_far + times, length)) * (left >= times)
    return held.sum(1).max() <= pages


def known(prompts, lengths, slots, pages):
    """Returns the dispatches of list scheduling if every length is known."""
    begun, count = 0, 0
    ids = so_far = np.zeros(0, int)
    while begun < len(lengths) or len(ids):
        while begun < len(lengths) and len(ids) < slots:
            more, then = np.append(ids, begun), np.append(so_far, 0)
            if not fits(prompts[more], then, lengths[more], pages):
                break
            ids, so_far, begun = more, then, begun + 1
        count, so_far = count + 1, so_far + BLOCK
        ids, so_far = ids[so_far < lengths[ids]], so_far[so_far < lengths[ids]]
    return count


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--seen", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, nargs="+", default=[120_000, 240_000, 474_000])
    parser.add_argument("--only", nargs="+", default=list(DISTRIBUTIONS))
    arguments = parser.parse_args()
    print("lengths      tokens  engine  known  ratio  slots at work    waits")
    for name in arguments.only:
        drawn = draw(name, arguments.requests, arguments.seed)
        seen = draw(name, arguments.seen, arguments.seed + 1)[1]
        for tokens in arguments.tokens:
            pages = tokens // PAGE
            ours, busy, waits = engine(*drawn, arguments.slots, pages, seen)
            best = known(*drawn[:2], arguments.slots, pages)
            line = f"{name:<11} {tokens:>7,} {ours:>7} {best:>6} {ours / best:>6.2f}"
            print(f"{line} {busy:>14.1f} {waits:>8}", flush=True)


if __name__ == "__main__":
    main()
