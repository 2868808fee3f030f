"""The host's record of one call of `Engine.generate`: who waits, and who has which row, slot and pages.

A request is taken in when its prompt and its first sample have all the pages they may need, so that what has begun can
always end; its other samples wait for theirs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.page_pool import PagePool, prefix_keys

_END = object()


@dataclass(frozen=True)
class Request:
    """A prompt, as token ids, and how many samples of it are wanted; they share its prefill.

    Sample i draws from (seed, i) alone. Seeds are whole numbers of at most 64 bits.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    num_samples: int
    decoding: Decoding | None = None  # None: that of the call


@dataclass(frozen=True)
class Completion:
    """One reply.

    Attributes:
      id: of the request.
      sample: 0 … num_samples - 1.
      tokens: the reply, with the stop token if one was sampled; cut at the token that completes a stop string.
      logprobs: of each token: log-softmax(logits / temperature) (greedy: temperature 1), before top-k and top-p.
      finish_reason: "stop" (token or string), "length" (max_tokens or max_length), "cancelled", or "error: " and the
        reason; "" while it goes on.
      top_logprobs: for each token the `sampler.top_logprobs` likeliest ones, as (token, logprob), likeliest first.
    """

    id: str
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()


@dataclass
class Row:
    """A prompt whose pages are being filled, or wait for its samples."""

    request: Request
    keys: tuple[bytes, ...]  # of the prompt's whole pages
    pages: list[int]  # of all its tokens but the last
    reserved: list[int]  # of its first sample
    prefilled: int
    started: int = 0  # samples that have a slot

    @property
    def missing(self) -> int:
        """Tokens to prefill; the last token of a prompt is decode's."""
        return len(self.request.tokens) - 1 - self.prefilled


@dataclass
class Reply:
    """A reply that a slot is writing."""

    request: Request
    sample: int
    decoding: Decoding
    limit: int  # most tokens of the reply
    pages: list[int]
    copy: tuple[int, int] = (0, 0)  # a page of the prompt, and its own one that begins like it
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    def complete(self, reason: str) -> Completion:
        """What is there, as a completion."""
        return Completion(
            self.request.id,
            self.sample,
            tuple(self.tokens),
            tuple(self.logprobs),
            reason,
            tuple(self.top_logprobs),
        )

    def cut(self, length: int) -> None:
        """Drops what comes after the first `length` tokens."""
        del self.tokens[length:], self.logprobs[length:], self.top_logprobs[length:]


class Run:
    """Who is where.

    Args:
      requests: taken as there is room; None among them: no more right now.
      decoding: of those that have none of their own.
      refusal: why a request cannot be served, or None.
      num_slots: of the engine; like `num_rows` a multiple of the parts.
      num_rows: prompts prefilled at a time.
      page_size: positions of a page.
      max_length: of a sequence.
      pools: one for each part of the mesh that has rows of its own.
    """

    def __init__(
        self,
        requests: Iterable[Request | None],
        decoding: Decoding,
        refusal: Callable[[Request], str | None],
        *,
        num_slots: int,
        num_rows: int,
        page_size: int,
        max_length: int,
        pools: Sequence[PagePool],
    ):
        self._decoding = decoding
        self.rows: list[Row | None] = [None] * num_rows
        self.slots: list[Reply | None] = [None] * num_slots
        self.finished: list[Completion] = []
        self._shared = 0
        self._waiting, self._next, self.exhausted = iter(requests), None, False
        self._refusal, self._pools = refusal, pools
        self._size, self._max_length = page_size, max_length

    def part_of(self, index: int, places: Sequence) -> int:
        """The part of the mesh that a row or slot belongs to."""
        return index * len(self._pools) // len(places)

    def free_slots(self) -> list[int]:
        """Slots without a sequence."""
        return [i for i, sequence in enumerate(self.slots) if sequence is None]

    def running(self) -> Bool[np.ndarray, " B"]:
        """Which slots have one."""
        return np.array([sequence is not None for sequence in self.slots])

    def unfinished_rows(self) -> list[Row]:
        """Prompts with tokens to prefill."""
        return [row for row in self.rows if row is not None and row.missing > 0]

    def take_finished(self) -> list[Completion]:
        """Completions since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def take_shared(self) -> int:
        """Prompt tokens found, since the last call, in pages that others had filled."""
        shared, self._shared = self._shared, 0
        return shared

    def load_rows(self) -> None:
        """Gives empty rows to waiting requests, in order, as long as their pages can be had."""
        empty, load = [i for i, row in enumerate(self.rows) if row is None], self._load()
        while (request := self._peek()) is not None and empty:
            index = min(empty, key=lambda i: load[self.part_of(i, self.rows)])
            row = self._open(request, self._pool_of(index, self.rows))
            if row is None:
                return
            self.rows[index], self._next = row, None
            empty.remove(index)
            load[self.part_of(index, self.rows)] += request.num_samples

    def start_samples(self) -> list[int]:
        """Gives free slots to samples whose prompt is prefilled, and frees the rows of finished groups."""
        free: list[list[int]] = [[] for _ in self._pools]
        for slot in self.free_slots():
            free[self.part_of(slot, self.slots)].append(slot)
        started = []
        for index, row in enumerate(self.rows):
            part = self.part_of(index, self.rows)
            while free[part] and row is not None and row.missing == 0:
                sequence = self._start(row, self._pools[part])
                if sequence is None:
                    break
                started.append(free[part].pop(0))
                self.slots[started[-1]] = sequence
                if row.started == row.request.num_samples:
                    row = self.rows[index] = None
        return started

    def advance(self, index: int, count: int) -> None:
        """`count` more tokens of a row are in its pages, or will be before anything reads them."""
        row, pool = self.rows[index], self._pool_of(index, self.rows)
        before = row.prefilled
        row.prefilled += count
        for filled in range(before // self._size, row.prefilled // self._size):
            pool.know(row.keys[filled], row.pages[filled])

    def end(self, slot: int, reason: str) -> None:
        """The slot's sequence is complete."""
        sequence = self.slots[slot]
        self.finished.append(sequence.complete(reason))
        self._give_up(slot, suspect=reason.startswith("error"))

    def cancel(self, cancelled: Callable[[str], bool]) -> None:
        """Ends what has begun or waits next of the requests that are cancelled."""
        for slot, reply in enumerate(self.slots):
            if reply is not None and cancelled(reply.request.id):
                self.end(slot, "cancelled")
        for index, row in enumerate(self.rows):
            if row is not None and cancelled(row.request.id):
                self._finish_unstarted(row.request, row.started, "cancelled")
                self._close(index, suspect=False)
        if self._next is not None and cancelled(self._next.id):
            self._finish_unstarted(self._next, 0, "cancelled")
            self._next = None

    def abandon(self) -> None:
        """Gives all pages back; what the device was doing with them is not known."""
        for slot in np.flatnonzero(self.running()):
            self._give_up(int(slot), suspect=True)
        for index, row in enumerate(self.rows):
            if row is not None:
                self._close(index, suspect=True)

    def _pool_of(self, index: int, places: Sequence) -> PagePool:
        return self._pools[self.part_of(index, places)]

    def _give_up(self, slot: int, suspect: bool) -> None:
        self._pool_of(slot, self.slots).release(self.slots[slot].pages, suspect)
        self.slots[slot] = None

    def _close(self, index: int, suspect: bool) -> None:
        row = self.rows[index]
        self._pool_of(index, self.rows).release(row.pages + row.reserved, suspect)
        self.rows[index] = None

    def _finish_unstarted(self, request: Request, started: int, reason: str) -> None:
        for sample in range(started, max(request.num_samples, 1)):
            self.finished.append(Completion(request.id, sample, (), (), reason))

    def _peek(self) -> Request | None:
        """The next request that can be served; those that cannot are finished."""
        while self._next is None and not self.exhausted:
            self._next = next(self._waiting, _END)
            if self._next is None:
                break
            if self._next is _END:
                self._next, self.exhausted = None, True
            elif (reason := self._refused(self._next)) is not None:
                self._finish_unstarted(self._next, 0, f"error: {reason}")
                self._next = None
        return self._next

    def _refused(self, request: Request) -> str | None:
        reason = self._refusal(request)
        if reason is not None:
            return reason
        needed, there = sum(self._first_pages(request)), self._pools[0].number - 1
        if needed <= there:
            return None
        return f"it needs {needed} pages of {self._size} tokens and sampler.pages leaves it {there}"

    def _load(self) -> list[int]:
        """Samples that run in a part or will."""
        load = [0] * len(self._pools)
        for slot in np.flatnonzero(self.running()):
            load[self.part_of(int(slot), self.slots)] += 1
        for index, row in enumerate(self.rows):
            if row is not None:
                load[self.part_of(index, self.rows)] += row.request.num_samples - row.started
        return load

    def _open(self, request: Request, pool: PagePool) -> Row | None:
        keys = prefix_keys(request.tokens[:-1], self._size)
        shared = pool.find(keys)
        pool.share(shared)
        prompt, first = self._first_pages(request)
        taken = pool.take(prompt - len(shared) + first)
        if taken is None:
            pool.release(shared)
            return None
        pages = shared + taken[: len(taken) - first]
        self._shared += len(shared) * self._size
        return Row(request, keys, pages, taken[len(taken) - first :], len(shared) * self._size)

    def _start(self, row: Row, pool: PagePool) -> Reply | None:
        """The row's next sample: the last takes over what the row holds, the others copy the prompt's open page."""
        request, sample = row.request, row.started
        is_last = sample + 1 == request.num_samples
        shared = row.pages if is_last else row.pages[: len(row.keys)]
        needed = self._needed(request) - len(shared)
        own = row.reserved or pool.take(needed)
        if own is None:
            return None
        row.reserved, row.started = [], sample + 1
        copy = (0, 0)
        if not is_last:
            pool.share(shared)
            if len(row.pages) > len(shared):
                copy = (row.pages[-1], own[0])
        limit = self._limit(request)
        return Reply(request, sample, self._decoding_of(request), limit, shared + own, copy)

    def _limit(self, request: Request) -> int:
        most = self._decoding_of(request).max_tokens
        return min(most, self._max_length - len(request.tokens))

    def _decoding_of(self, request: Request) -> Decoding:
        return self._decoding if request.decoding is None else request.decoding

    def _first_pages(self, request: Request) -> tuple[int, int]:
        """Pages of the prompt, and those that its first sample adds."""
        tokens = len(request.tokens) - 1
        prompt = self._pages(tokens)
        kept = prompt if request.num_samples == 1 else tokens // self._size
        return prompt, self._needed(request) - kept

    def _needed(self, request: Request) -> int:
        """Most pages of a sample, its prompt's included; the last token of a reply is not read again."""
        return self._pages(len(request.tokens) - 1 + self._limit(request))

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self._size)
