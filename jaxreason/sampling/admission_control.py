"""Admission control: decides which sequences may start and continue with the free pages. The scheduler asks it first.

A sequence takes pages as it grows, and the sequences that have started may together need more pages than there are. Two
rules keep this from going wrong:

1. Safety (`is_safe`). There must be an order in which all sequences can finish, each returning its own pages for the
   next one (Dijkstra's banker's algorithm, EWD 623). Some sequences may therefore have to wait, but none is thrown away
   and computed again, as vLLM's preemption does.
2. Usefulness (`Forecast`). Safety alone admits so many sequences that most of them wait. The number that continues is
   therefore chosen from the lengths of earlier replies. Replies do not all end at the same time, so the quantity that
   matters is the largest number of pages held at any one time. It is not known in advance. It is estimated, and the
   risk that the pages run out is weighed against the gain of one more running reply.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

KEPT = 1024  # How many lengths are remembered.
BINS = 96  # Ranges of length up to the limit; within a range replies end at one constant rate.
# Before any reply has ended, half of them are expected to end within an eighth of the limit.
PRIOR = 8
TIMES = 48  # Number of future times at which the held pages are estimated.
CAUTION = 6  # Weight of the risk that pages run out; see `_value`.


class Claim(NamedTuple):
    """The claim of a running sequence: the pages that it may still need, and the pages that it returns when it ends."""

    need: int
    own: int


def is_safe(free: int, running: Iterable[Claim], waiting: Iterable[int]) -> bool:
    """Returns whether all sequences can finish. Those with a slot come first, since the others wait for a slot.

    Args:
      free: number of free pages.
      running: claims of the sequences that have a slot.
      waiting: for each of the others, the pages that it may need beyond those that it shares.
    """
    # It is enough to try the sequences in the order of their need. A sequence that can finish now only makes more pages
    # free; so if the one with the smallest need cannot be served, no other order can start either.
    for claim in sorted(running):
        if claim.need > free:
            return False
        free += claim.own
    return max(waiting, default=0) <= free


class Lengths:
    """The lengths of the replies so far, from which the lengths of later ones are estimated."""

    def __init__(self):
        # `_value` needs it, for which the first request should not wait. What samples nothing starts without it.
        import scipy.special  # noqa: F401

        self._seen: deque[tuple[int, bool]] = deque(maxlen=KEPT)

    def add(self, length: int, cut: bool) -> None:
        """Records that a reply has ended with this many tokens; `cut` says that it only reached its limit."""
        self._seen.append((length, cut))

    def survival(
        self, running: Int[np.ndarray, " n"], most: int
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the survival function: the share of replies that are longer than a number of tokens (takes arrays).

        It is the actuarial (life table) estimate. In each of `BINS` ranges of length, the rate at which replies end is
        the number of replies that ended there, divided by the number that reached it; running and cut replies are
        counted among those that reached it. One imagined reply is added, which is longer than t tokens with probability
        1 / (1 + PRIOR t / most). It alone determines the estimate for lengths that no reply has reached.

        Args:
          running: tokens so far of the replies that still run.
          most: the largest number of tokens of a reply.
        """
        # Running replies carry information too: they are longer than what they have now. Without them only short
        # replies would be counted at the start of a call, and far too many sequences would be admitted.
        width = -(-most // BINS)
        edges = np.arange(BINS + 1) * width
        seen = np.array(self._seen, np.int64).reshape(-1, 2)
        ended = np.histogram(seen[seen[:, 1] == 0, 0], edges + 0.5)[0]
        lengths = np.sort(np.concatenate([seen[:, 0], running]))
        place = np.searchsorted(lengths, edges + 0.5)
        # Running and cut replies leave a range in its middle, by assumption.
        left_off = np.diff(place) - ended
        came = len(lengths) - place[:-1] - left_off / 2
        unseen = -np.diff(1 / (1 + edges * PRIOR / most)) * (1 + edges[:-1] * PRIOR / most)
        hazard = -np.log1p(-(ended + unseen) / (came + 1))
        total = np.concatenate([[0.0], hazard.cumsum()])
        return lambda tokens: np.exp(-np.interp(tokens, edges, total))


class Growth(NamedTuple):
    """The expected growth of a reply that runs or will run."""

    so_far: int  # Tokens it has now.
    limit: int  # The most tokens it may have.
    prompt: int  # Positions before its first token.
    held: int  # Pages it holds.
    own: int  # Pages of those that become free when it ends.


class Forecast:
    """The additional pages that replies will hold at several times in the future: mean and variance.

    A reply that still runs at such a time holds the pages of its tokens until then; a reply that has ended has returned
    its own pages. The lengths of different replies are assumed to be independent.

    Args:
      lengths: the lengths of the replies so far.
      replies: the replies, in the order in which they are to continue.
      page: positions of a page.
    """

    def __init__(self, lengths: Lengths, replies: Sequence[Growth], page: int):
        found = np.array(replies, np.int64).reshape(-1, len(Growth._fields))
        most = int(found[:, 1].max(initial=1))
        self._share, self._page = lengths.survival(found[:, 0], most), page
        steps = np.arange(1, TIMES + 1)
        self._times = -(-most * steps**2 // TIMES**2)  # Denser in the near future.
        mean, variance = self._growth(found)
        self._count, self._mean, self._variance = len(found), mean.cumsum(1), variance.cumsum(1)

    def useful(self, free: int) -> int:
        """Returns the best number of replies, from the first on, to continue with `free` pages; at least 1 if any."""
        if self._count == 0:
            return 0
        counts = np.arange(1, self._count + 1)
        return int(np.argmax(_value(counts, self._mean, self._variance, free))) + 1

    def welcomes(self, reply: Growth, free: int, taken: int) -> bool:
        """Returns whether one more reply is worth `taken` of the `free` pages; if so, the forecast includes it."""
        now = self._mean[:, -1:], self._variance[:, -1:]
        new = self._growth(np.array([reply], np.int64))
        if self._count:
            new = new[0] + now[0], new[1] + now[1]
            before = _value(self._count, *now, free)
            if _value(self._count + 1, *new, free - taken) < before:
                return False
        self._count, (self._mean, self._variance) = self._count + 1, new
        return True

    def _growth(self, found: Int[np.ndarray, "n 5"]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean and the variance, [times, replies], of the pages that each reply will have taken."""
        so_far, limit, prompt, held, own = found.T
        tokens = so_far + self._times[:, None]
        goes_on = self._share(tokens - 1) / self._share(so_far) * (tokens <= limit)
        pages = -(-(prompt + np.minimum(tokens, limit)) // self._page)
        taken = np.maximum(pages - held, 0)
        mean = goes_on * taken - (1 - goes_on) * own
        return mean, goes_on * (1 - goes_on) * (taken + own) ** 2


def _value(
    count: Int[np.ndarray, " k"] | int,
    mean: Float[np.ndarray, "times k"],
    variance: Float[np.ndarray, "times k"],
    free: int,
) -> Float[np.ndarray, " k"]:
    """Returns the logarithm of the value of running `count` replies.

    The value is `count` times the `CAUTION`-th power of the probability that the pages suffice, at the time when it is
    smallest. The probability is a normal approximation with a continuity correction; 0.25 keeps the variance above 0.
    """
    from scipy.special import log_ndtr

    enough = log_ndtr((free + 0.5 - mean) / np.sqrt(np.maximum(variance, 0) + 0.25))
    return np.log(count) + CAUTION * enough.min(0)
