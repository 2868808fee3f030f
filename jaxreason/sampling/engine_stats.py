"""What an engine counts of its work."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class Stats:
    """What an engine has dispatched since it was made."""

    prefill_dispatches: int = 0
    prefilled_tokens: int = 0
    padded_tokens: int = 0  # what those dispatches have room for: `prefilled_tokens` and padding
    shared_tokens: int = 0  # of prompts, found in pages that others had filled
    decode_dispatches: int = 0
    decode_steps: int = 0  # over all dispatches, until the last slot of each stopped
    decoded_tokens: int = 0
    waiting_slots: int = 0  # slots without a page for their next token, summed over the dispatches
    # from a block's arrival to the next dispatch, while devices wait for the host
    host_seconds: float = 0.0


class Moved(NamedTuple):
    """What it took to copy the newest weights for the sampler; nothing where it uses the trainer's own."""

    weights_bytes: int  # on a device
    weights_seconds: float
