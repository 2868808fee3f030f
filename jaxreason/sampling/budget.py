"""What may be promised of a pool of pages: sequences take pages as they grow, and all that have begun can end.

Together they may need more than there is. Then some wait with what they have, and nothing is thrown away or made twice:
that is safe as long as they can take what each may still need one after the other, every one giving back what is its
own when it ends (Dijkstra's banker's algorithm, EWD 623). How many are let in goes by how long replies turn out to be.
"""

import bisect
import itertools
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

KEPT = 1024  # lengths that are remembered


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


class Lengths:
    """How long replies were, and what that says of those that go on.

    Args:
      least: how many must have ended before it says anything: the first to end are the short ones.
    """

    def __init__(self, least: int):
        self._least = least
        self._ended: deque[int] = deque(maxlen=max(KEPT, least))
        self._sorted: list[int] = []
        self._sums: list[int] = []  # of the lengths up to each in `_sorted`

    def add(self, length: int) -> None:
        """A reply has ended with so many tokens."""
        self._ended.append(length)
        self._sorted = []

    def expect(self, so_far: int, limit: int) -> int:
        """Tokens that a reply with `so_far` will have: the mean of those with more; `limit` if that is not known."""
        if len(self._ended) < self._least:
            return limit
        if not self._sorted:
            self._sorted = sorted(self._ended)
            self._sums = list(itertools.accumulate(self._sorted, initial=0))
        first = bisect.bisect_right(self._sorted, so_far)
        count = len(self._sorted) - first
        if count == 0:
            return limit
        return min(-(-(self._sums[-1] - self._sums[first]) // count), limit)
