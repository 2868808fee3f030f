"""Hidden states of a model on texts: pooled, or token by token."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
from jaxtyping import Array, Float

from jaxreason.analysis.hidden_states import pool as pool_states
from jaxreason.analysis.hidden_states import pooling_masks
from jaxreason.analysis.texts import TextBatch
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.lockstep import walk

Pool = Literal["reply", "all", "last", "none"]
POOLS = ("reply", "all", "last", "none")


def extract(
    params: dict[str, Any],
    batch: TextBatch,
    pool: Pool = "reply",
    *,
    model: Model,
    layers: Sequence[int] | None = None,
) -> Float[Array, "B Z D"] | Float[Array, "B Z T D"]:
    """Hugging Face's `hidden_states` of every text: the embeddings, then each block's output, the last after the norm.

    Meant to be called under jit (`model`, `pool` and `layers` are static), on parameters and rows that lie on a mesh as
    well. Layers are reduced one after the other: only with `pool="none"` do several layers' states exist at once.

    Args:
      params: of the model, as `open_model` gives them.
      batch: rows of texts; what `segment_ids` has as 0 is padding.
      pool: mean over `reply` tokens, mean over `all` tokens but padding, the `last` token, or `none`.
      model: static description.
      layers: which of 0 (embeddings) to L; None for all.

    Returns:
      float32 [B, Z, D], Z layers; of `none` [B, Z, T, D] in the dtype of the activations. A text without a token that
      is pooled gets zeros.

    Raises:
      UserError: no such pool or layer.
    """
    depth = model.architecture.num_hidden_layers
    layers = range(depth + 1) if layers is None else layers
    if pool not in POOLS:
        raise UserError(f"pool={pool!r}: expected one of {', '.join(POOLS)}.")
    if any(not 0 <= layer <= depth for layer in layers):
        raise UserError(f"layers={tuple(layers)}: expected numbers from 0 to {depth}.")
    given = [model], [params], batch.tokens, batch.segment_ids
    if pool == "none":
        return walk(*given, lambda x: (), keep=tuple(layers)).kept[0].swapaxes(0, 1)
    mask = pooling_masks(batch.segment_ids, batch.reply_mask)[pool]
    pooled = walk(*given, lambda x: pool_states(x[None], mask)[:, 0]).reduced
    return pooled.swapaxes(0, 1)[:, jax.numpy.array(tuple(layers), int)]
