"""A tiny network whose replies vary, and engines around it."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import monitoring

from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import forward, head, init_params
from jaxreason.models.logprobs import logprobs
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import EngineStats, SamplerConfig
from jaxreason.sharding import MeshConfig, make_mesh

SIZES = {
    "slots": 4,
    "max_length": 64,
    "decode_block": 5,
    "prefill_tokens": 16,
    "prefill_block": 4,
    "score_tokens": 128,
    "page_size": 8,
    "pages": 0,
    "top_logprobs": 0,
    "cache_dtype": "auto",
    "weight_dtype": "auto",
    "gather_weights": True,
}


# Grouped heads, and weights so large that replies are not one repeated token.
ARCHITECTURE = {
    "model_type": "qwen3",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "rope_scaling": None,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "attention_output_bias": False,
    "qk_norm": True,
    "sliding_window": None,
    "initializer_range": 0.3,
}


@pytest.fixture(scope="session")
def architecture():
    """Fields of the tiny network's Architecture."""
    return dict(ARCHITECTURE)


def spell(tokens):
    """One letter a token."""
    return "".join(chr(ord("a") + token % 26) for token in tokens)


@pytest.fixture(scope="session")
def model():
    return Model(Architecture(**ARCHITECTURE), "float32", "float32", "none", "plain", 1)


@pytest.fixture(scope="session")
def params(model):
    return init_params(model, jax.random.key(0))


@pytest.fixture(scope="session")
def one_device():
    return make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])


@pytest.fixture
def mesh(one_device):
    """One device, set for the test."""
    with jax.set_mesh(one_device):
        yield one_device


@pytest.fixture(scope="session")
def engines():
    """Engines made so far, by what they compile: compiling is most of these tests' time."""
    return {}


@pytest.fixture
def make_engine(model, params, mesh, engines):
    """Gives engines on one device, as new; sizes can be changed by name."""

    def make(
        params=params,
        model=model,
        stop_ids=(3,),
        decode=spell,
        fresh=False,
        close_think=(),
        open_think=None,
        **sizes,
    ):
        config = SamplerConfig(**(SIZES | sizes))
        key = (model, config, stop_ids, decode, think := (close_think, open_think))
        if fresh or key not in engines:
            engines[key] = Engine(model, params, config, mesh, stop_ids, 0, decode, *think)
        engines[key].set_params(params)
        engines[key].stats = EngineStats()
        return engines[key]

    return make


@pytest.fixture(scope="session")
def reference_logprobs(model):
    """The trainer's log-probabilities of a sequence, from one forward pass without a cache."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(model, params, tokens, temperature):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        final = forward(model, params, tokens, positions).final
        return logprobs(final, head(model, params), tokens, chunk=16, temperature=temperature)

    def of(params, sequence, temperature=1.0, model=model):
        padded = np.zeros((1, 64 if len(sequence) <= 64 else 128), np.int32)
        padded[0, : len(sequence)] = sequence
        return np.asarray(run(model, params, padded, temperature).logprobs)[0, : len(sequence)]

    return of


@pytest.fixture
def compile_counter():
    """A context manager whose `programs` counts what XLA has compiled within it."""

    @contextlib.contextmanager
    def counter():
        count = type("Count", (), {"programs": 0})()

        def listen(event, duration, **_):
            count.programs += event == "/jax/core/compile/backend_compile_duration"

        monitoring.register_event_duration_secs_listener(listen)
        try:
            yield count
        finally:
            monitoring.unregister_event_duration_listener(listen)

    return counter
