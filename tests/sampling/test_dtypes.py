"""A cache and weights in fewer bits: near the exact numbers, and as independent of what else runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import replies

from jaxreason.models.decoder import forward, init_cache
from jaxreason.sampling.cache_engine import RANGE, find_scales
from jaxreason.sampling.cache_engine import init_paged_cache as init_paged
from jaxreason.sampling.sampling_params import Request

INT8 = {"cache_dtype": "int8", "weight_dtype": "int8"}


def make_requests():
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(4, 61, n).tolist()) for n in (3, 17, 8, 30, 1, 9)]
    return [Request(str(i), prompt, i, 2) for i, prompt in enumerate(prompts)]


def run(engine, requests):
    found = replies.run(engine, requests)
    assert all(c.finish_reason in ("stop", "length") for c in found.values())
    return found


# largest and mean |difference|; bfloat16 has 8 bits, int8 7 of a range that is never quite used
@pytest.mark.parametrize(
    ("sizes", "most", "mean"),
    [
        ({"cache_dtype": "bfloat16"}, 0.2, 0.02),
        ({"cache_dtype": "int8"}, 0.6, 0.06),
        (INT8, 0.9, 0.1),
    ],
)
def test_logprobs_stay_near_the_trainers(
    make_engine, params, reference_logprobs, sizes, most, mean
):
    requests = make_requests()
    gaps = []
    for (name, _), reply in run(make_engine(**sizes), requests).items():
        prompt = requests[int(name)].tokens
        expected = reference_logprobs(params, prompt + reply.tokens)[len(prompt) :]
        gaps += np.abs(np.array(reply.logprobs) - expected).tolist()
    assert 1e-5 < np.mean(gaps) < mean
    assert np.max(gaps) < most


def test_a_reply_in_int8_does_not_depend_on_what_else_runs(make_engine):
    requests = make_requests()
    together = run(make_engine(**INT8), requests)
    apart = run(make_engine(**INT8), requests[::-1][:3])
    assert all(together[key] == reply for key, reply in apart.items())


def test_no_step_converts_a_pool_in_bfloat16(model, params, mesh):
    def write(params):
        cache = init_paged(model, params, 2, 3, 7, 8, "bfloat16")
        new = jnp.ones((2, 1, 2, 8), jnp.bfloat16)
        return cache, cache.write(1, jnp.zeros((2, 1), jnp.int32), new, new).pages

    cache, _ = jax.eval_shape(write, params)
    assert cache.pages.dtype == jnp.uint16
    text = jax.jit(lambda p: write(p)[1]).lower(params).compile().as_text()
    pool = ",".join(map(str, cache.pages.shape))
    assert f"u16[{pool}]" in text and f"f32[{pool}]" not in text


def test_scales_reach_beyond_every_key_and_value_of_the_probe(model, params, mesh):
    scales = np.asarray(find_scales(model, params))
    tokens = jax.random.randint(jax.random.key(0), (8, 128), 0, 61)
    positions = np.broadcast_to(np.arange(128), tokens.shape)
    cache = forward(model, params, tokens, positions, cache=init_cache(model, 8, 128)).cache
    for index, part in enumerate(cache):
        highest = np.abs(np.asarray(part)).max(axis=(1, 3))
        np.testing.assert_allclose(scales[:, index::2] * 127, RANGE * highest, rtol=1e-5)
