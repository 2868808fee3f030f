"""What may be promised of a pool of pages: sequences take pages as they grow, and all that have begun can end.

Together they may need more than there is. Then some wait with what they have, and nothing is thrown away or made twice:
that is safe as long as they can take what each may still need one after the other, every one giving back what is its
own when it ends (Dijkstra's banker's algorithm, EWD 623). How many are
let in and go on goes by how long replies turn out to be (`forecast.py`).
"""

from collections.abc import Iterable
from typing import NamedTuple


class Claim(NamedTuple):
    """Of a sequence that has begun: pages that it may still need, and those that it gives back when it ends."""

    need: int
    own: int


def is_safe(free: int, running: Iterable[Claim], waiting: Iterable[int]) -> bool:
    """Whether all can end, those with a slot first, since the others wait for one.

    Args:
      free: pages.
      running: claims of sequences that have a slot.
      waiting: pages that each of the others may need, beyond those that it shares.
    """
    for claim in sorted(
        running
    ):  # an order that fails with the least need first fails in any other
        if claim.need > free:
            return False
        free += claim.own
    return max(waiting, default=0) <= free
