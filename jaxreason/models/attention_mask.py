"""The one rule of who sees whom, which every attention backend follows."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Int


class AttentionMask(NamedTuple):
    """The rule of attention: `mask` written out, and the parts it is made of (unused parts cost nothing)."""

    mask: Bool[Array, "B T S"]
    query_positions: Int[Array, "B T"]
    key_positions: Int[Array, "B S"]
    segments: Int[Array, "B T"] | None  # of the queries
    window: int | None


def attention_mask(
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"] | None,
    key_segments: Int[Array, "B S"] | None,
    window: int | None,
) -> AttentionMask:
    """A query sees a key of its own segment at its own or an earlier position, fewer than `window` back."""
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    mask = distance >= 0
    if window is not None:
        mask &= distance < window
    if query_segments is not None:
        mask &= query_segments[:, :, None] == key_segments[:, None, :]
    return AttentionMask(mask, query_positions, key_positions, query_segments, window)
