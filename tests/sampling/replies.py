"""Requests with random prompts, and the replies to some by their key."""

import dataclasses

import numpy as np

from jaxreason.sampling.sampling_params import Request, SamplingParams

GREEDY = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=12, stop=())
RANDOM = dataclasses.replace(GREEDY, temperature=1.0)


def make_requests(num, seed=0, longest=40, samples=3, vocab=61, **fields):
    """Prompts of 1 to `longest` tokens with 1 to `samples` samples each."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(4, vocab, rng.integers(1, longest + 1)).tolist() for _ in range(num)]
    return [
        Request(f"r{i}", tuple(p), 100 + i, int(rng.integers(1, samples + 1)), **fields)
        for i, p in enumerate(prompts)
    ]


def run(engine, requests, decoding=RANDOM, **options):
    """Completions by (id, sample); every key once."""
    completions = list(engine.generate(requests, decoding, **options))
    found = {(c.id, c.sample): c for c in completions}
    assert len(found) == len(completions)
    return found
