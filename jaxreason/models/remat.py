"""Rematerialization: which results of its forward pass a layer keeps; the backward pass computes the rest again."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

# What attention gives; with splash and triton, the kernel's own remainders too.
ATTENDED = "attended"
LAYER_INPUT = "layer_input"

_policies = jax.checkpoint_policies
_weight_dots = _policies.dots_with_no_batch_dims_saveable
_attended = _policies.save_only_these_names(ATTENDED)


@dataclass(frozen=True)
class Remat:
    """A policy of jax.checkpoint, and the results of a layer that it keeps on the device."""

    policy: Callable | None  # of jax.checkpoint; None: no checkpoint
    keeps_inside: bool  # what products with weights give
    keeps_attention: bool  # what attention gives: its kernel runs forward once
    keeps_input: bool = True


# From what keeps most to what keeps least on the device.
REMAT = {
    "none": Remat(None, True, True),  # everything
    "dots": Remat(_policies.dots_saveable, True, False),  # all products, attention scores included
    "weight_dots_attention": Remat(
        _policies.save_from_both_policies(_weight_dots, _attended), True, True
    ),
    "weight_dots": Remat(_weight_dots, True, False),
    "attention": Remat(_attended, False, True),
    "full": Remat(_policies.nothing_saveable, False, False),
    "offload": Remat(  # as `full`, in the host's memory
        _policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=[LAYER_INPUT],
            offload_src="device",
            offload_dst="pinned_host",
        ),
        keeps_inside=False,
        keeps_attention=False,
        keeps_input=False,
    ),
}
