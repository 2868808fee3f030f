"""What a layer keeps of its forward pass; the backward pass makes the rest again."""

from collections.abc import Callable

import jax

ATTENDED = "attended"  # what attention gives; with splash, the kernel's own remainders too
LAYER_INPUT = "layer_input"

_policies = jax.checkpoint_policies
_weight_dots = _policies.dots_with_no_batch_dims_saveable
_attended = _policies.save_only_these_names(ATTENDED)

# From what keeps most to what keeps least on the device.
REMAT: dict[str, Callable | None] = {
    "none": None,  # everything
    "dots": _policies.dots_saveable,  # all products, attention scores included
    "weight_dots_attention": _policies.save_from_both_policies(_weight_dots, _attended),
    "weight_dots": _weight_dots,  # products with weights
    "attention": _attended,  # what attention gives, and what enters the layer
    "full": _policies.nothing_saveable,  # what enters the layer
    "offload": _policies.save_and_offload_only_these_names(  # as `full`, in the host's memory
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[LAYER_INPUT],
        offload_src="device",
        offload_dst="pinned_host",
    ),
}

REMAKES_FEED_FORWARD = ("attention", "full", "offload")  # keep nothing of the inside of that layer
KEEPS_ATTENTION = ("none", "weight_dots_attention", "attention")  # its kernel runs forward once
