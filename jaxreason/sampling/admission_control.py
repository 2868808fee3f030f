"""Decides which sequences may begin and continue with the free pages; the scheduler asks before it gives pages out.

A sequence takes pages as it grows, and together those that have begun may need more pages than there are. Two rules
keep this from going wrong:

1. Safety (`is_safe`). There must be an order in which all of them can end, each giving its own pages back for the next
   (Dijkstra's banker's algorithm, EWD 623). So some may have to wait, but nothing is thrown away or computed twice,
   as vLLM's preemption would have it.
2. Use (`Forecast`). Safety alone lets in so many that most of them wait. How many go on is chosen by how long replies
   have been so far: replies do not end together, so what counts is the largest number of pages held at one time. That
   is not known beforehand; it is estimated, and the risk that pages run out is weighed against one more reply.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_ndtr

KEPT = 1024  # lengths that are remembered
BINS = 96  # of lengths up to the limit, in each of which replies end at one rate
PRIOR = 8  # before any has ended half are expected to by an eighth of the limit
TIMES = 48  # from now at which it is estimated what will be held
CAUTION = 6  # how many times over a place is lost by a page too few


class Claim(NamedTuple):
    """The claim of a running sequence: pages that it may still need, and those that it returns at its end."""

    need: int
    own: int


def is_safe(free: int, running: Iterable[Claim], waiting: Iterable[int]) -> bool:
    """Whether all can end, those with a slot first, since the others wait for one.

    Args:
      free: pages.
      running: claims of sequences that have a slot.
      waiting: pages that each of the others may need, beyond those that it shares.
    """
    # Least need first is enough to try: whoever can end now only makes more pages free, so if the one with the least
    # need cannot be served, no order can begin with anybody else.
    for claim in sorted(running):
        if claim.need > free:
            return False
        free += claim.own
    return max(waiting, default=0) <= free


class Lengths:
    """The lengths of the replies so far."""

    def __init__(self):
        self._seen: deque[tuple[int, bool]] = deque(maxlen=KEPT)

    def add(self, length: int, cut: bool) -> None:
        """A reply has ended with so many tokens; `cut` if only since it might not be longer."""
        self._seen.append((length, cut))

    def survival(
        self, running: Int[np.ndarray, " n"], most: int
    ) -> Callable[[np.ndarray], np.ndarray]:
        """The share of replies that go on after so many tokens, as a function of arrays of tokens.

        In each of `BINS` ranges of length as many end as ended there of those that came so far, running and cut ones
        included (the actuary's estimate), and of one more that nobody saw: it goes on after t tokens with the chance
        1 / (1 + PRIOR t / most). That one alone speaks for lengths that none has reached.

        Args:
          running: tokens of replies that go on.
          most: tokens of a reply.
        """
        # Replies that still run tell something too: they are longer than what they have. To leave them out would
        # count the short ones alone at the start of a call, and let in far too many.
        width = -(-most // BINS)
        edges = np.arange(BINS + 1) * width
        seen = np.array(self._seen, np.int64).reshape(-1, 2)
        ended = np.histogram(seen[seen[:, 1] == 0, 0], edges + 0.5)[0]
        lengths = np.sort(np.concatenate([seen[:, 0], running]))
        place = np.searchsorted(lengths, edges + 0.5)
        left_off = np.diff(place) - ended  # in the middle of the range, say
        came = len(lengths) - place[:-1] - left_off / 2
        unseen = -np.diff(1 / (1 + edges * PRIOR / most)) * (1 + edges[:-1] * PRIOR / most)
        hazard = -np.log1p(-(ended + unseen) / (came + 1))
        total = np.concatenate([[0.0], hazard.cumsum()])
        return lambda tokens: np.exp(-np.interp(tokens, edges, total))


class Growth(NamedTuple):
    """The expected growth of a reply that runs or will run."""

    so_far: int  # tokens
    limit: int  # most tokens
    prompt: int  # positions before its own
    held: int  # pages
    own: int  # pages of them that come back when it ends


class Forecast:
    """Pages beyond those held now that replies will hold at some times from now: mean and variance.

    A reply that goes on by then has the pages of its tokens by then, one that has ended has given its own back; each is
    as long as it will be whatever the others are.

    Args:
      lengths: so far.
      replies: in the order in which they are to go on.
      page: positions of a page.
    """

    def __init__(self, lengths: Lengths, replies: Sequence[Growth], page: int):
        found = np.array(replies, np.int64).reshape(-1, len(Growth._fields))
        most = int(found[:, 1].max(initial=1))
        self._share, self._page = lengths.survival(found[:, 0], most), page
        steps = np.arange(1, TIMES + 1)
        self._times = -(-most * steps**2 // TIMES**2)  # closer together soon than late
        mean, variance = self._growth(found)
        self._count, self._mean, self._variance = len(found), mean.cumsum(1), variance.cumsum(1)

    def useful(self, free: int) -> int:
        """The best number of replies, from the first on, to go on with `free` pages; at least 1 if there are any."""
        if self._count == 0:
            return 0
        counts = np.arange(1, self._count + 1)
        return int(np.argmax(_value(counts, self._mean, self._variance, free))) + 1

    def welcomes(self, reply: Growth, free: int, taken: int) -> bool:
        """Whether one more reply is worth the `taken` pages of `free`; if so it counts from now on."""
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
        """Mean and variance, [times, replies], of the pages that each will have taken."""
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
    """The value of so many running, as a logarithm: each counts one; running out of pages costs `CAUTION` times all."""
    enough = log_ndtr((free + 0.5 - mean) / np.sqrt(np.maximum(variance, 0) + 0.25))
    return np.log(count) + CAUTION * enough.min(0)
