"""How many dispatches the engine's own scheduler needs, without a model, beside one that knows every length.

    python scripts/admission.py                      # four distributions of lengths, three sizes of memory
    python scripts/admission.py --case measured      # 512 requests as on an H200 (docs/performance.md)

Requests are served in the order given. A dispatch is `decode_block` tokens of every reply that has pages for them.
`known` is list scheduling with the same slots and pages: the next request begins as soon as the largest number of
pages that will be held at one time, every length being known, is no more than there are; `free` has pages for all.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from jaxreason.sampling.forecast import Lengths
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.page_pool import PagePool
from jaxreason.sampling.run import Run
from jaxreason.sampling.sequences import Request

PAGE, BLOCK, ROWS = 64, 32, 8


def lognormal(median, mean):
    sigma = np.sqrt(2 * np.log(mean / median))
    return lambda rng, n: rng.lognormal(np.log(median), sigma, n)


# name -> (draw of reply lengths, most tokens of a reply)
DISTRIBUTIONS = {
    "lognormal": (lognormal(1340, 1655), 6000),
    "two kinds": (lambda rng, n: np.where(rng.random(n) < 0.7, rng.normal(300, 60, n), rng.normal(5000, 500, n)), 6000),
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


def engine(prompts, lengths, most, slots, pages):
    """Dispatches of the engine's scheduler, and the mean number of slots at work."""
    requests = [Request(str(i), tuple(np.full(p, i).tolist()), i, 1) for i, p in enumerate(prompts)]
    run = Run(
        requests,
        Decoding(1.0, 0, 1.0, most, ()),
        lambda _: None,
        num_slots=slots,
        num_rows=ROWS,
        page_size=PAGE,
        max_length=int(prompts.max()) + most,
        pools=[PagePool(pages + 1)],
        lengths=Lengths(),
    )
    busy, waited = [], 0
    while not run.exhausted or run.running().any() or any(run.rows):
        while True:  # prefill is not what is looked at: as many prompts as there is room for
            run.load_rows()
            for index, row in enumerate(run.rows):
                if row is not None and row.missing:
                    run.advance(index, row.missing)
            if not run.start_samples():
                break
        until, positions = run.grow(BLOCK), run.positions()
        able = np.flatnonzero(until > positions)
        busy.append(len(able))
        waited += int(run.running().sum()) - len(able)
        assert len(able), "nothing can go on"
        for slot in able:
            reply = run.slots[slot]
            wanted = int(lengths[int(reply.request.id)])
            more = min(BLOCK, until[slot] - positions[slot], wanted - len(reply.tokens))
            reply.tokens += [0] * int(more)
            if len(reply.tokens) >= wanted:
                run.end(int(slot), "stop")
        run.take_finished()
    return len(busy), float(np.mean(busy)), waited


def pages_of(tokens):
    return -(-tokens // PAGE)


def fits(running, pages):
    """Whether the largest number of pages held at one time, by (prompt, so far, length) of each, is at most `pages`."""
    prompt, so_far, length = np.array(running).T
    left = -(-(length - so_far) // BLOCK) * BLOCK
    for t in np.unique(left):
        there = left >= t
        if pages_of(prompt[there] + np.minimum(so_far[there] + t, length[there])).sum() > pages:
            return False
    return True


def known(prompts, lengths, slots, pages):
    """Dispatches of list scheduling with every length known."""
    waiting, running, count = list(range(len(lengths)))[::-1], {}, 0
    while waiting or running:
        while waiting and len(running) < slots:
            i = waiting[-1]
            trial = [(prompts[j], s, lengths[j]) for j, s in running.items()] + [(prompts[i], 0, lengths[i])]
            if not fits(trial, pages):
                break
            running[waiting.pop()] = 0
        count += 1
        running = {i: s + BLOCK for i, s in running.items() if s + BLOCK < lengths[i]}
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tokens", type=int, nargs="+", default=[120_000, 240_000, 474_000])
    parser.add_argument("--only", nargs="+", default=list(DISTRIBUTIONS))
    arguments = parser.parse_args()
    print("lengths      tokens  engine  known  ratio  slots at work  waits")
    for name in arguments.only:
        for tokens in arguments.tokens:
            for seed in range(arguments.seeds):
                drawn = draw(name, arguments.requests, seed)
                ours, busy, waited = engine(*drawn, arguments.slots, tokens // PAGE)
                best = known(*drawn[:2], arguments.slots, tokens // PAGE)
                print(f"{name:<11} {tokens:>7,} {ours:>7} {best:>6} {ours / best:>6.2f} {busy:>9.1f} {waited:>9}", flush=True)


if __name__ == "__main__":
    main()
