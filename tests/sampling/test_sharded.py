"""The same replies on one device, on eight, and in two processes."""

import jax
import numpy as np
import pytest
from processes import run_processes

from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import init_params
from jaxreason.models.paged_cache_gpu import PagedCacheGPU
from jaxreason.sampling import cache_engine
from jaxreason.sampling.device_programs import make_device_programs
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh

ONE = {"data": 1, "fsdp": 1, "tensor": 1, "context": 1}
UNEVEN = "more tensor devices than kv heads"
LAYOUTS = {
    "heads and slots split": ONE | {"data": 2, "fsdp": 2, "tensor": 2},
    UNEVEN: ONE | {"fsdp": 2, "tensor": 4},
}


def sample(architecture, layout, num_devices, page_size=8, gathered=True):
    """Greedy and random replies with log-probabilities, and scores, under one layout; as JSON."""
    model = Model(Architecture(**architecture), "float32", "float32", "none", "plain", 1)
    mesh = make_mesh(MeshConfig(**layout), jax.devices()[:num_devices])
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(4, 61, rng.integers(1, 30)).tolist()) for _ in range(10)]
    replies = []
    with jax.set_mesh(mesh):
        config = SamplerConfig(8, 48, 4, 64, 8, 64, page_size, 0, 0, "auto", "auto", gathered)
        params = init_params(model, jax.random.key(0), mesh)
        engine = Engine(model, params, config, mesh, (3,), 0, spell)
        requests = [Request(str(i), p, i, 2) for i, p in enumerate(prompts)]
        for temperature in (0.0, 1.0):
            completions = engine.generate(
                requests, SamplingParams(temperature, 0, 1.0, 10, ("ab",))
            )
            replies += sorted(completions, key=lambda c: (c.id, c.sample))
        scores = engine.score([(p, (5, 6)) for p in prompts[:4] if len(p) <= 16])
    return {
        "tokens": [list(c.tokens) for c in replies],
        "reasons": [c.finish_reason for c in replies],
        "logprobs": [list(c.logprobs) for c in replies],
        "scores": [s.logprob for s in scores],
    }


def spell(tokens):
    return "".join(chr(ord("a") + token % 26) for token in tokens)


def assert_same(found, expected):
    assert found["tokens"] == expected["tokens"]
    assert found["reasons"] == expected["reasons"]
    flat = [np.concatenate(x["logprobs"]) for x in (found, expected)]
    np.testing.assert_allclose(*flat, atol=1e-4)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)


@pytest.fixture(scope="module")
def on_one_device(architecture):
    return sample(architecture, ONE, 1)


@pytest.mark.parametrize(
    ("layout", "gathered"),
    [("heads and slots split", True), ("heads and slots split", False), (UNEVEN, True)],
)
def test_eight_devices_give_the_replies_of_one(architecture, on_one_device, layout, gathered):
    assert_same(sample(architecture, LAYOUTS[layout], 8, gathered=gathered), on_one_device)


@pytest.mark.parametrize(
    "sizes",
    [
        {"data": 2, "tensor": 2},
        pytest.param({"tensor": 4}, marks=pytest.mark.slow),
        pytest.param({"context": 4}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_two_processes_give_the_replies_of_one(architecture, on_one_device, sizes):
    layout = ONE | sizes
    for found in run_processes(sample, 2, architecture, layout, 4, num_devices=2):
        assert_same(found, on_one_device)


@pytest.fixture
def cache_of_gpus(monkeypatch):
    """Programs are made with the cache of a GPU from here on; those that are there already have another."""
    monkeypatch.setitem(cache_engine.KINDS, "cpu", lambda: PagedCacheGPU)
    make_device_programs.cache_clear()
    yield
    make_device_programs.cache_clear()


@pytest.fixture
def expected_of_small_heads(architecture):
    """Replies with the plain cache, of heads that are the least that the kernel takes."""
    return sample(architecture | {"head_dim": 16}, ONE, 1, page_size=16)


@pytest.mark.slow
def test_the_kernel_for_gpus_gives_the_replies_of_the_reference(
    architecture, expected_of_small_heads, cache_of_gpus
):
    architecture, expected = architecture | {"head_dim": 16}, expected_of_small_heads
    assert_same(sample(architecture, ONE, 1, page_size=16), expected)
    layout = LAYOUTS["heads and slots split"]
    assert_same(sample(architecture, layout, 8, page_size=16), expected)
