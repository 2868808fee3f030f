"""Tiny architectures, rows of tokens, and greedy decoding through the cache, shared by the tests of `models`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import forward, init_cache

SIZES = dict(
    vocab_size=61,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=256,
)


def make_architecture(**changes) -> Architecture:
    """A three-layer model with q/k norm, biases, a window and untied embeddings, so that every part is there."""
    fields = dict(
        model_type="qwen3",
        head_dim=10,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        rope_scaling=None,
        tie_word_embeddings=False,
        attention_bias=True,
        attention_output_bias=True,
        qk_norm=True,
        sliding_window=None,
        initializer_range=0.2,
        **SIZES,
    )
    return Architecture(**(fields | changes))


def make_model(architecture: Architecture, **changes) -> Model:
    fields = dict(dtype="float32", param_dtype="float32", remat="none", attention="plain", unroll=1)
    return Model(architecture=architecture, **(fields | changes))


def random_params(shapes, seed=0):
    """A tree of random arrays of these shapes, biases and scales (around 1) included."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        center = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(rng.normal(center, 0.3, x.shape).astype(x.dtype))

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_tokens(shape, vocab_size=SIZES["vocab_size"], seed=0):
    return np.random.default_rng(seed).integers(0, vocab_size, shape).astype(np.int32)


def counting(tokens):
    """Positions 0, 1, 2 ... of every row."""
    return np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)


run = functools.partial(jax.jit, static_argnums=0)(forward)


def greedy(model, params, prompts, num_tokens, length=None):
    """Continues ragged prompts greedily: one padded prefill, then a token at a time; a list of lists."""
    lengths = np.array([len(p) for p in prompts])
    tokens = np.zeros((len(prompts), lengths.max()), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    positions = np.where(counting(tokens) < lengths[:, None], counting(tokens), -1)
    cache = init_cache(model, len(prompts), length or int(lengths.max()) + num_tokens)
    out = run(model, params, tokens, positions, None, cache)
    last = jnp.take_along_axis(out.logits, jnp.asarray(lengths - 1)[:, None, None], axis=1)[:, 0]
    step = _step(model)
    token, cache, made = jnp.argmax(last, axis=-1).astype(jnp.int32), out.cache, []
    for offset in range(num_tokens):
        made.append(token)
        token, cache = step(params, token, lengths + offset, cache)
    return np.stack(made, axis=1).tolist()


@functools.cache
def _step(model):
    @functools.partial(jax.jit, donate_argnums=3)
    def step(params, token, position, cache):
        out = forward(model, params, token[:, None], position[:, None], None, cache)
        return jnp.argmax(out.logits[:, 0], axis=-1).astype(jnp.int32), out.cache

    return step
