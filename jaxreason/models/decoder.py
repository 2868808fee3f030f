"""One dense decoder for the families of `families.FAMILIES`: description, parameters, network, cache.

Outside this package parameters are a nested dict of arrays; layers are stacked along a first dim and scanned.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.attention import ATTENTION
from jaxreason.models.attention_mask import AttentionMask, attention_mask
from jaxreason.models.kv_cache import CACHE_AXES, KVCache
from jaxreason.models.layers import (
    Linear,
    RMSNorm,
    make_param,
    multiply_rows_by_outputs,
    split_outputs,
    swiglu,
    swiglu_by_blocks,
)
from jaxreason.models.paged_cache import PagedCache
from jaxreason.models.prefix_tree import PrefixTree
from jaxreason.models.quantization import kept_dtype
from jaxreason.models.remat import LAYER_INPUT, REMAT
from jaxreason.models.rope import rope_tables, rotate
from jaxreason.sharding import constrain, tree_shardings

AnyCache = KVCache | PagedCache | PrefixTree


class Output(NamedTuple):
    """The results of a forward pass; under jit, parts that nobody uses are not computed or kept."""

    logits: Float[Array, "B T V"]  # float32
    final: Float[Array, "B T D"]  # after the final norm: what the head is applied to
    # embeddings, then each block's output; the last one after the final norm
    hidden: Float[Array, "L+1 B T D"]
    cache: AnyCache | None


class Attention(nnx.Module):
    """Grouped-query self-attention with rotary positions."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        arch = model.architecture
        self.model = model
        queries = arch.num_attention_heads * arch.head_dim
        keys = arch.num_key_value_heads * arch.head_dim
        make = functools.partial(
            Linear,
            scale=arch.initializer_range,
            param_dtype=model.param_dtype,
            rngs=rngs,
            output_first=model.output_first,
            int8=model.int8,
        )
        self.sizes = queries, keys, keys
        of_keys = ("embed", "kv_heads"), arch.attention_bias
        if model.fused:
            self.qkv_proj = make((arch.hidden_size, sum(self.sizes)), *of_keys)
        else:
            of_queries = ("embed", "q_heads"), arch.attention_bias
            self.q_proj = make((arch.hidden_size, queries), *of_queries)
            self.k_proj = make((arch.hidden_size, keys), *of_keys)
            self.v_proj = make((arch.hidden_size, keys), *of_keys)
        self.o_proj = make(
            (queries, arch.hidden_size), ("q_heads", "embed"), arch.attention_output_bias
        )
        norm = functools.partial(
            RMSNorm, arch.head_dim, "head_dim", arch.rms_norm_eps, model.param_dtype, rngs
        )
        self.q_norm = norm() if arch.qk_norm else None
        self.k_norm = norm() if arch.qk_norm else None

    def __call__(self, x, rope, mask: AttentionMask, cache: AnyCache | None, index):
        q, k, v = self._project(x)
        q = self._heads(q, self.q_norm, "act_heads")
        k = self._heads(k, self.k_norm, "act_kv_heads")
        v = self._heads(v, None, "act_kv_heads")
        q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            cache = cache.write(index, mask.query_positions, k, v)
            out = cache.attend(q, index, mask)
        else:
            out = ATTENTION[self.model.attention](q, k, v, mask)
        return self.o_proj(out.reshape(*x.shape[:-1], -1)), cache

    def _project(self, x):
        if self.model.fused:
            return split_outputs(self.qkv_proj(x), self.sizes, self.model.fused)
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def _heads(self, flat, norm, heads_axis):
        heads = flat.reshape(*flat.shape[:-1], -1, self.model.architecture.head_dim)
        heads = constrain(heads, ("act_batch", "act_len", heads_axis, "act_head_dim"))
        return heads if norm is None else norm(heads)


class MLP(nnx.Module):
    """Gated feed-forward layer."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        arch = model.architecture
        self.remat, self.fused = model.remat, model.fused
        self.size = arch.intermediate_size
        make = functools.partial(
            Linear,
            bias=False,
            scale=arch.initializer_range,
            param_dtype=model.param_dtype,
            rngs=rngs,
            output_first=model.output_first,
            int8=model.int8,
        )
        if model.fused:
            self.gate_up_proj = make((arch.hidden_size, 2 * self.size), ("embed", "mlp"))
        else:
            self.gate_proj = make((arch.hidden_size, self.size), ("embed", "mlp"))
            self.up_proj = make((arch.hidden_size, self.size), ("embed", "mlp"))
        self.down_proj = make((self.size, arch.hidden_size), ("mlp", "embed"))

    def __call__(self, x):
        if not self.fused and not REMAT[self.remat].keeps_inside:
            kernels = (w.kernel[...] for w in (self.gate_proj, self.up_proj, self.down_proj))
            return swiglu_by_blocks(x, *kernels)
        inner = swiglu(*self._project(x))
        return self.down_proj(constrain(inner, ("act_batch", "act_len", "act_mlp")))

    def _project(self, x):
        if self.fused:
            return split_outputs(self.gate_up_proj(x), (self.size, self.size), self.fused)
        return self.gate_proj(x), self.up_proj(x)


class DecoderLayer(nnx.Module):
    """One pre-norm block."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        arch = model.architecture
        norm = functools.partial(
            RMSNorm, arch.hidden_size, "embed", arch.rms_norm_eps, model.param_dtype, rngs
        )
        self.input_layernorm = norm()
        self.self_attn = Attention(model, rngs)
        self.post_attention_layernorm = norm()
        self.mlp = MLP(model, rngs)

    def __call__(self, x, rope, mask: AttentionMask, cache: AnyCache | None, index):
        attended, cache = self.self_attn(self.input_layernorm(x), rope, mask, cache, index)
        x = constrain(x + attended, ("act_batch", "act_len", "act_embed"))
        x = x + self.mlp(self.post_attention_layernorm(x))
        return constrain(x, ("act_batch", "act_len", "act_embed")), cache


class Embedding(nnx.Module):
    """Token vectors, which are also the output head when embeddings are tied."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        arch = model.architecture
        shape, axes = (arch.vocab_size, arch.hidden_size), ("vocab", "embed")
        self.embedding = make_param(
            rngs, shape, axes, model.param_dtype, "normal", arch.initializer_range
        )


class Decoder(nnx.Module):
    """Embedding, stacked layers, final norm, and a head unless it is tied to the embedding."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        arch = model.architecture
        self.model = model
        self.embed_tokens = Embedding(model, rngs)
        self.layers = _make_layers(model, rngs.split(arch.num_hidden_layers))
        self.norm = RMSNorm(arch.hidden_size, "embed", arch.rms_norm_eps, model.param_dtype, rngs)
        sizes, axes = (arch.hidden_size, arch.vocab_size), ("embed", "vocab")
        make_head = functools.partial(
            Linear,
            bias=False,
            scale=arch.initializer_range,
            param_dtype=model.param_dtype,
            rngs=rngs,
            output_first=model.output_first,
            int8=False,
        )
        self.lm_head = None if arch.tie_word_embeddings else make_head(sizes, axes)

    def __call__(self, tokens, positions, segment_ids, cache, layers):
        embedded, step = self.begin(tokens, positions, segment_ids, cache)
        x, cache, hidden = self._run_layers(layers, embedded, step, cache)
        return embedded, self.norm(x), hidden, cache

    def begin(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None,
        cache: AnyCache | None,
    ) -> tuple[Float[Array, "B T D"], Callable]:
        """The first layer's input, and the step `((x, cache), (weights, index)) -> (x, cache)` through one layer."""
        arch = self.model.architecture
        x = self.embed_tokens.embedding[...][tokens].astype(self.model.dtype)
        # tokens leave the devices that have their features in one exchange, not by way of all of them
        x = constrain(x, ("act_rows_of_features", "act_len", "embed"))
        embedded = constrain(x, ("act_batch", "act_len", "act_embed"))
        rope = rope_tables(positions, arch.rope_theta, arch.head_dim, arch.rope_scaling)
        mask = _mask(positions, segment_ids, cache, arch.sliding_window)
        graph, _ = nnx.split(self.layers)

        def step(carry, layer):
            (x, cache), (weights, index) = carry, layer
            if self.model.param_dtype != self.model.dtype:
                # or the compiler takes the casts out of the loop and keeps all weights twice
                weights = jax.lax.optimization_barrier(weights)
            x = checkpoint_name(x, LAYER_INPUT)
            return nnx.merge(graph, weights)(x, rope, mask, cache, index)

        return embedded, step

    def _run_layers(self, layers, x, through, cache):
        def step(carry, layer):
            x, cache = through(carry, layer)
            return (x, cache), x

        num_layers = self.model.architecture.num_hidden_layers
        if self.model.remat != "none":
            # A loop over layers keeps the compiler from finding the first results when it makes them again. Where all
            # layers are one iteration there is no loop, and it would use the first ones and keep all of them.
            alone = self.model.unroll >= num_layers
            step = jax.checkpoint(step, policy=REMAT[self.model.remat].policy, prevent_cse=alone)
        if isinstance(layers, tuple):  # unstacked; Python traces one layer for all of them
            step, carry, hidden = jax.jit(step, inline=True), (x, cache), []
            for index, weights in enumerate(layers):
                carry, x = step(carry, (weights, index))
                hidden.append(x)
            return *carry, jnp.stack(hidden)
        given = (x, cache), (layers, jnp.arange(num_layers))
        carry, hidden = jax.lax.scan(step, *given, unroll=min(self.model.unroll, num_layers))
        return *carry, hidden


@nnx.vmap(in_axes=(None, 0), out_axes=0)
def _make_layers(model: Model, rngs: nnx.Rngs) -> DecoderLayer:
    return DecoderLayer(model, rngs)


def _mask(positions, segment_ids, cache: AnyCache | None, window: int | None) -> AttentionMask:
    if cache is None:
        return attention_mask(positions, positions, segment_ids, segment_ids, window)
    indices = jnp.broadcast_to(jnp.arange(cache.length), (positions.shape[0], cache.length))
    return attention_mask(positions, indices, None, None, window)


def network(model: Model, params: dict[str, Any]) -> Decoder:
    """The network with parameters; layers are passed to it apart, stacked or a tuple."""
    one = params["layers"][0] if isinstance(params["layers"], tuple) else params["layers"]
    return nnx.merge(_abstract(model)[0], params | {"layers": one})


@functools.lru_cache(maxsize=64)
def _abstract(model: Model) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: Decoder(model, nnx.Rngs(0))))


def abstract_params(model: Model) -> dict[str, Any]:
    """Shapes and dtypes of the parameters, a nested dict of ShapeDtypeStruct."""
    return nnx.to_pure_dict(_abstract(model)[1])


def param_axes(model: Model) -> dict[str, Any]:
    """Logical axis names of every parameter; those of a layer start with `layers`."""
    state = _abstract(model)[1]
    is_variable = lambda node: isinstance(node, nnx.Variable)  # noqa: E731
    axes = nnx.to_pure_dict(
        jax.tree.map(lambda p: p.get_metadata()["axes"], state, is_leaf=is_variable)
    )
    is_names = lambda node: isinstance(node, tuple)  # noqa: E731
    axes["layers"] = jax.tree.map(
        lambda names: ("layers", *names), axes["layers"], is_leaf=is_names
    )
    return axes


def param_shardings(model: Model, mesh: Mesh) -> dict[str, Any]:
    """The sharding of every parameter on `mesh`: a nested dict of NamedSharding."""
    return tree_shardings(mesh, param_axes(model), abstract_params(model))


def init_params(model: Model, key: jax.Array, mesh: Mesh | None = None) -> dict[str, Any]:
    """Random parameters (normal with `initializer_range`, scales 1, biases 0), made where they will live.

    The numbers depend on `key` only, not on the mesh.
    """

    def make(key):
        return nnx.to_pure_dict(nnx.state(Decoder(model, nnx.Rngs(key)), nnx.Param))

    if mesh is None:
        return jax.jit(make)(key)
    return jax.jit(make, out_shardings=param_shardings(model, mesh))(key)


def head(model: Model, params: dict[str, Any]) -> Float[Array, "D V"]:
    """The output embedding: the head's kernel, or the transposed token embedding when tied."""
    if model.architecture.tie_word_embeddings:
        return params["embed_tokens"]["embedding"].T
    kernel = params["lm_head"]["kernel"]
    return kernel.T if model.output_first else kernel


def forward(
    model: Model,
    params: dict[str, Any],
    tokens: Int[Array, "B T"],
    positions: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"] | None = None,
    cache: AnyCache | None = None,
) -> Output:
    """Runs the decoder; meant to be called under jit, where unused outputs cost nothing.

    Without a cache, a token sees those of its own segment at its own and earlier positions (0 = padding, which
    only sees padding). With a cache, the token of row b at position p is written to index p of row b, those at
    positions outside [0, S) are dropped, and a query at position p sees indices <= p: all of [0, p] must have
    been written. A sliding window narrows both. A `PrefixTree` in place of a cache has its own rule of who sees whom.
    `segment_ids` and `cache` exclude each other. `params["layers"]` is stacked, or a tuple of layers, as
    `sampler_weights` makes it.
    """
    if cache is not None and segment_ids is not None:
        raise UserError(
            "forward: a cache holds one sequence a row; pass either segment_ids or cache, not both."
        )
    embedded, final, hidden, cache = network(model, params)(
        tokens, positions, segment_ids, cache, params["layers"]
    )
    logits = output_logits(model, params, final)
    hidden = jnp.concatenate([embedded[None], hidden[:-1], final[None]])
    return Output(logits, final, hidden, cache)


def output_logits(
    model: Model, params: dict[str, Any], final: Float[Array, "B T D"]
) -> Float[Array, "B T V"]:
    """The head applied to final hidden states, accumulated and returned in float32."""
    kernel = head(model, params).astype(final.dtype)
    if model.output_first:
        logits = multiply_rows_by_outputs(final, kernel.T, jnp.float32)
    else:
        logits = jnp.einsum("BTD,DV->BTV", final, kernel, preferred_element_type=jnp.float32)
    return constrain(logits, ("act_batch", "act_len", "act_vocab"))


def init_cache(model: Model, batch: int, length: int) -> KVCache:
    """An empty cache of `length` positions for `batch` rows, in the activations' dtype.

    Raises:
      ValueError: `length` is more positions than the model was made for.
    """
    arch = model.architecture
    if length > arch.max_position_embeddings:
        raise UserError(
            f"a cache of {length} positions exceeds the model's max_position_embeddings={arch.max_position_embeddings}."
        )

    shape = (arch.num_hidden_layers, batch, arch.num_key_value_heads, length, arch.head_dim)
    empty = jnp.zeros(shape, kept_dtype(model.dtype))
    return KVCache(*(constrain(empty, CACHE_AXES) for _ in KVCache._fields))
