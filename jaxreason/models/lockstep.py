"""Runs models of the same depth side by side, one layer at a time, and reduces each layer's states before the next.

A comparison of hidden states therefore never holds those of all layers at once: [L+1, B, T, D] takes 7 GB for a text of
16k tokens at 14B, for each model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import network


class Walked(NamedTuple):
    """The result of a walk through the layers.

    Attributes:
      finals: the states of each model after the final norm, [B, T, D].
      reduced: the results of `reduce`, stacked: embeddings, then each block's output, the last one after the final
          norm.
      kept: the states of each model at the layers that were asked for, [K, B, T, D].
    """

    finals: tuple[Float[Array, "B T D"], ...]
    reduced: Any
    kept: tuple[Float[Array, "K B T D"], ...]


def walk(
    models: Sequence[Model],
    params: Sequence[dict[str, Any]],
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
    reduce: Callable[..., Any],
    keep: Sequence[int] = (),
) -> Walked:
    """Runs models of the same depth over the same rows; meant to be called under jit.

    Args:
      models: static descriptions.
      params: of each, layers stacked.
      tokens: one text a row, from position 0 on.
      segment_ids: 1; 0 = padding.
      reduce: of the states of all models at one layer, [B, T, D] each: a tree of arrays.
      keep: layers, 0 (embeddings) to L, whose states are wanted whole.

    Raises:
      AssertionError: the models are not of one depth.
    """
    depths = {model.architecture.num_hidden_layers for model in models}
    assert len(depths) == 1, f"models of {depths} layers cannot be walked through side by side"
    (depth,) = depths
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    networks = [network(*pair) for pair in zip(models, params, strict=True)]
    begun = [one.begin(tokens, positions, segment_ids, None) for one in networks]
    # [K, B, T, D] with each layer once; what is at no place of it is dropped
    once = tuple(dict.fromkeys(keep))
    places = jnp.full(depth + 1, len(once)).at[jnp.array(once, int)].set(jnp.arange(len(once)))

    def put(kept, index, states):
        if not keep:
            return kept
        return tuple(
            k.at[places[index]].set(x, mode="drop") for k, x in zip(kept, states, strict=True)
        )

    def step(carry, layer):
        states, kept = carry
        weights, index = layer
        states = tuple(
            through((x, None), (own, index))[0]
            for (_, through), x, own in zip(begun, states, weights, strict=True)
        )
        # the last block's output is put in place again below, after the norm
        return (states, put(kept, index + 1, states)), reduce(*states)

    first = tuple(embedded for embedded, _ in begun)
    kept = tuple(jnp.zeros((len(once), *x.shape), x.dtype) for x in first)
    layers = tuple(own["layers"] for own in params), jnp.arange(depth)
    (states, kept), reduced = jax.lax.scan(step, (first, put(kept, 0, first)), layers)
    finals = tuple(one.norm(x) for one, x in zip(networks, states, strict=True))
    whole = jax.tree.map(
        lambda a, b, c: jnp.concatenate([a[None], b[:-1], c[None]]),
        *(reduce(*first), reduced, reduce(*finals)),
    )
    kept = put(kept, depth, finals)
    if len(once) < len(keep):
        kept = tuple(x[jnp.array([once.index(layer) for layer in keep])] for x in kept)
    return Walked(finals, whole, kept)
