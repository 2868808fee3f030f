"""The FLOPs of training by the model's own products, and their share of a device's peak (MFU).

Counted as is usual for MFU: products with weights and causal attention over each sequence, twice as much backward as
forward; what is computed again to save memory, and padding, do not count.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.models.device_peaks import DEVICE_KINDS, PEAK_FLOPS


def training_flops(architecture: Any, num_weights: int, lengths: Sequence[int]) -> float:
    """FLOPs of one forward and backward pass over sequences.

    Args:
      architecture: of the model.
      num_weights: `weight_products` of its parameters.
      lengths: tokens of each sequence; packed or not makes no difference.
    """
    counts = np.bincount(np.asarray(lengths, int))
    attention = sum(
        counts[n] * causal_attention(architecture, int(n)) for n in np.flatnonzero(counts)
    )
    return 3.0 * (2.0 * num_weights * float(np.sum(lengths)) + float(attention))


def peak_flops(mesh: Mesh) -> float | None:
    """Peak FLOP/s of all devices of a mesh; None where one is not in the table, a CPU say."""
    kinds = [DEVICE_KINDS.get(device.device_kind) for device in mesh.devices.flat]
    return None if None in kinds else sum(PEAK_FLOPS[kind] for kind in kinds)


def utilization(flops: float, seconds: float, peak: float | None) -> dict[str, float]:
    """`mfu`, the share of the devices' `peak` that so many FLOPs in so many seconds are; empty where there is none."""
    return {} if peak is None or seconds <= 0 else {"mfu": flops / (peak * seconds)}


def causal_attention(architecture: Any, length: int) -> float:
    """FLOPs of one forward pass of attention over one sequence of `length` tokens, each seeing itself and those before.

    Two products a layer, of 2·N·H operations for each visible pair; a window limits the pairs.
    """
    window = min(architecture.sliding_window or length, length)
    pairs = window * (window + 1) / 2 + (length - window) * window
    heads = architecture.num_attention_heads * architecture.head_dim
    return 4.0 * pairs * heads * architecture.num_hidden_layers


def cache_attention(architecture: Any, queries: int, length: int) -> float:
    """FLOPs of attention of so many queries in one forward pass, each over all `length` positions of a cache."""
    heads = architecture.num_attention_heads * architecture.head_dim
    return 4.0 * queries * length * heads * architecture.num_hidden_layers


def weight_products(params: Any, tied: bool) -> int:
    """Parameters that a token is multiplied with: all matrices, the embedding only where it is the head too."""
    total = sum(math.prod(x.shape) for x in jax.tree.leaves(params["layers"]) if len(x.shape) == 3)
    head = params["embed_tokens"]["embedding"] if tied else params["lm_head"]["kernel"]
    return total + math.prod(head.shape)
