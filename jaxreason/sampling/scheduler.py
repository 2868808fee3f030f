"""The scheduler: which requests wait, which prompts are prefilled, which sequence has which slot; one per `generate`.

Sequences take pages of the cache as they grow. A sequence starts or grows only if it is certain that all sequences that
have started can still finish, and if this is likely to be useful (`admission_control`).
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxreason.sampling.admission_control import Claim, Forecast, Growth, Lengths, is_safe
from jaxreason.sampling.block_manager import BlockManager, prefix_keys
from jaxreason.sampling.prefill_queue import OpenPrompt, PrefillBlock, PrefillQueue
from jaxreason.sampling.sampling_params import Completion, Request, SamplingParams
from jaxreason.sampling.sequences import RunningSequence

_END = object()


class Scheduler:
    """Gives slots and pages to the requests of one call, and takes them back.

    Args:
      requests: taken when there is room; None means that there is no request right now.
      decoding: sampling parameters of requests that have none of their own.
      refusal: returns why a request cannot be served, or None.
      num_slots: the engine's slots; like `num_blocks` a multiple of the number of parts.
      num_blocks: blocks of a prefill dispatch.
      block: prompt tokens of a block.
      page_size: positions of a page.
      max_length: the most tokens of a sequence.
      pools: one for each part of the mesh that has rows of its own.
      lengths: lengths of the replies so far.
    """

    def __init__(
        self,
        requests: Iterable[Request | None],
        decoding: SamplingParams,
        refusal: Callable[[Request], str | None],
        *,
        num_slots: int,
        num_blocks: int,
        block: int,
        page_size: int,
        max_length: int,
        pools: Sequence[BlockManager],
        lengths: Lengths,
    ):
        self._decoding = decoding
        self.prompts = PrefillQueue(pools, num_blocks, block, page_size)
        self.slots: list[RunningSequence | None] = [None] * num_slots
        self.finished: list[Completion] = []
        self._put_off = False  # Whether a dispatch that is not full has been postponed.
        self._waiting, self._next, self.exhausted = iter(requests), None, False
        self._refusal, self._pools, self._lengths = refusal, pools, lengths
        self._size, self._max_length = page_size, max_length
        # For each part, whether a reply lacked pages in the last dispatch.
        self._waits = [False] * len(pools)
        self._forecasts: list[Forecast | None] = [None] * len(pools)  # Counts what starts.
        self.tables = np.zeros((num_slots, self._pages(max_length)), np.int32)  # Pages of each slot

    def part_of(self, slot: int) -> int:
        """Returns the part of the mesh that a slot belongs to."""
        return slot * len(self._pools) // len(self.slots)

    def free_slots(self) -> list[int]:
        """Returns the slots without a sequence."""
        return [i for i, sequence in enumerate(self.slots) if sequence is None]

    def running(self) -> Bool[np.ndarray, " B"]:
        """Returns whether each slot has a running reply."""
        return np.array([sequence is not None for sequence in self.slots])

    def positions(self) -> Int[np.ndarray, " B"]:
        """Returns the position of each slot's newest token."""
        return np.array([0 if reply is None else reply.position for reply in self.slots])

    def wants_prefill(self) -> bool:
        """Returns whether to prefill now: a slot is idle, or the dispatch would be full and no prompt is ready.

        If pages are scarce, prompts arrive a few at a time. A dispatch that is not full is then postponed by one block
        of decoding, so that more prompts join it.
        """
        if not any(row.missing for row in self.prompts):
            return False
        full, free = self.prompts.is_full(), bool(self.free_slots())
        is_short = not full and free and self._next is not None and bool(self.running().any())
        self._put_off = is_short and not self._put_off
        if full:
            return free or all(row.missing for row in self.prompts)
        return free and not self._put_off

    def take_finished(self) -> list[Completion]:
        """Returns the completions since the last call."""
        finished, self.finished = self.finished, []
        return finished

    def load_rows(self) -> None:
        """Opens waiting requests, in order, until the next dispatch is full or there are no pages for the next one.

        A waiting prompt holds pages. Hence at most a sixteenth more samples than slots may wait or run in a part.
        """
        # A sequence stays in the part of the mesh where it starts, since its pages are there: the least loaded part.
        load, share = self._load(), len(self.slots) // len(self._pools)
        while (request := self._peek()) is not None:
            most = share + max(share // 16, 1)
            parts = [p for p in self.prompts.parts_with_room() if load[p] < most]
            if not parts:
                return
            part = min(parts, key=load.__getitem__)
            row = self._open(request, part)
            if row is None:
                return
            self.prompts.add(part, row)
            self._next = None
            load[part] += request.num_samples

    def start_samples(self) -> list[int]:
        """Gives free slots to samples whose prompt is prefilled; removes prompts whose samples have all started."""
        free: list[list[int]] = [[] for _ in self._pools]
        for slot in self.free_slots():
            free[self.part_of(slot)].append(slot)
        started = []
        for part, rows in enumerate(self.prompts.rows):
            for row in rows:
                while free[part] and row.missing == 0 and row.started < row.request.num_samples:
                    reply = self._start(row, part)
                    if reply is None:
                        break
                    started.append(free[part].pop(0))
                    self.slots[started[-1]] = reply
                    self.tables[started[-1]] = 0
                    self.tables[started[-1], : len(reply.pages)] = reply.pages
        self.prompts.drop_started()
        return started

    def take_blocks(self) -> list[PrefillBlock]:
        """Returns the next prefill dispatch."""
        return self.prompts.take_blocks(self.load_rows)

    def grow(self, steps: int) -> Int[np.ndarray, " B"]:
        """Takes pages for `steps` more tokens of each reply, for as many replies as is safe.

        Returns:
          The position up to which each slot has pages; 0 without a reply.
        """
        for part in range(len(self._pools)):
            # Replies that need the fewest more pages come first: they end soonest and return their pages. If all were
            # served equally, every one of them could get stuck one page before its end.
            self._forecasts[part] = None
            replies = sorted(self._replies(part), key=lambda found: self._claim(found[1]))
            wants = {slot: self._wants(reply, steps) for slot, reply in replies}
            wants = {slot: count for slot, count in wants.items() if count > 0}
            going = (
                {slot for slot, _ in replies[: self._number_going(part, replies)]} if wants else ()
            )
            chosen = {slot: count for slot, count in wants.items() if slot in going}
            self._waits[part] = len(chosen) < len(wants)
            # Usually all can grow at once. If that is not safe, they are tried one after the other; a reply that gets
            # no pages keeps what it has and waits for the next block of decoding.
            if chosen and not self._extend(part, chosen):
                given = [self._extend(part, {slot: count}) for slot, count in chosen.items()]
                self._waits[part] |= not all(given)
        ends = [0 if reply is None else len(reply.pages) * self._size for reply in self.slots]
        return np.array(ends, np.int32)

    def end(self, slot: int, reason: str, suspect: bool = False) -> None:
        """Ends the slot's sequence, as a completion with this reason; `suspect` is as in `BlockManager.release`."""
        sequence = self.slots[slot]
        self.finished.append(sequence.complete(reason))
        if reason in ("stop", "length"):
            self._lengths.add(len(sequence.tokens), cut=reason == "length")
        self._give_up(slot, suspect)

    def cancel(self, cancelled: Callable[[str], bool]) -> None:
        """Ends the cancelled requests among those that have started and the one that waits next."""
        for slot, reply in enumerate(self.slots):
            if reply is not None and cancelled(reply.request.id):
                self.end(slot, "cancelled", suspect=not reply.tokens)
        self.prompts.close(functools.partial(self._is_cancelled, cancelled))
        if self._next is not None and cancelled(self._next.id):
            self._finish_unstarted(self._next, 0, "cancelled")
            self._next = None

    def abandon(self) -> None:
        """Returns all pages; those that the device may be writing to are suspect."""
        for slot in np.flatnonzero(self.running()):
            self._give_up(int(slot), suspect=True)
        self.prompts.close(lambda _: True)

    def _is_cancelled(self, cancelled: Callable[[str], bool], row: OpenPrompt) -> bool:
        gone = cancelled(row.request.id)
        if gone:
            self._finish_unstarted(row.request, row.started, "cancelled")
        return gone

    def _give_up(self, slot: int, suspect: bool) -> None:
        self._pools[self.part_of(slot)].release(self.slots[slot].pages, suspect)
        self.slots[slot] = None

    def _finish_unstarted(self, request: Request, started: int, reason: str) -> None:
        for sample in range(started, max(request.num_samples, 1)):
            self.finished.append(Completion(request.id, sample, (), (), reason))

    def _peek(self) -> Request | None:
        """Returns the next request that can be served; requests that cannot be served are finished with an error."""
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
        needed, there = self._pages_alone(request), self._pools[0].number - 1
        if needed <= there:
            return None
        return f"it needs {needed} pages of {self._size} tokens and sampler.pages leaves it {there}"

    def _load(self) -> list[int]:
        """Returns for each part the number of samples that run in it or will run in it."""
        load = [0] * len(self._pools)
        for slot in np.flatnonzero(self.running()):
            load[self.part_of(int(slot))] += 1
        for part, rows in enumerate(self.prompts.rows):
            load[part] += sum(row.request.num_samples - row.started for row in rows)
        return load

    def _open(self, request: Request, part: int) -> OpenPrompt | None:
        """Opens a prompt on pages that are already filled and on new ones; None without room for it and a sample."""
        pool, keys = self._pools[part], prefix_keys(request.tokens[:-1], self._size)
        found = pool.find(keys)
        pool.share(found)
        count = self._pages(len(request.tokens) - 1) - len(found)
        row = OpenPrompt(request, keys, found + [0] * count, len(found), len(found) * self._size)
        idle = not any(self._replies(part)) and not any(self._waiting_rows(part))
        if not self._has_room(part, count, idle, row=row):
            pool.release(found)
            return None
        row.pages[len(found) :] = pool.take(count)
        return row

    def _start(self, row: OpenPrompt, part: int) -> RunningSequence | None:
        """Starts the prompt's next sample, with a page for its first token; None if there is no room."""
        request, shared = row.request, row.shared
        count = self._pages(len(request.tokens)) - len(shared)
        limit, most = self._limit(request), self._needed(request)
        pages = shared + [0] * count
        decoding = self._decoding_of(request)
        reply = RunningSequence(request, row.started, decoding, limit, pages, len(shared), most)
        # Samples share the full pages of their prompt. All but the last one continue in a copy of its partial page.
        is_last = shared is row.pages
        idle = not any(self._replies(part))
        if not self._has_room(part, count, idle, reply=reply, leaves=row if is_last else None):
            return None
        row.started += 1
        reply.pages[len(shared) :] = self._pools[part].take(count)
        if not is_last:
            self._pools[part].share(shared)
            if len(row.pages) > len(shared):
                reply.copy = row.pages[-1], reply.pages[len(shared)]
        return reply

    def _has_room(
        self,
        part: int,
        count: int,
        idle: bool,
        row: OpenPrompt | None = None,
        reply: RunningSequence | None = None,
        leaves: OpenPrompt | None = None,
    ) -> bool:
        """Returns whether a prompt or reply may start with `count` new pages: safely and, unless `idle`, usefully.

        Args:
          row: the prompt that would start, if any.
          reply: the reply that would start, if any.
          leaves: the prompt that `reply` replaces as its last sample.
        """
        free = self._pools[part].available - count
        replies = [other for _, other in self._replies(part)] + [reply] * (reply is not None)
        rows = [other for other in self._waiting_rows(part) if other is not leaves]
        rows += [row] * (row is not None)
        claims, needs = [self._claim(other) for other in replies], [*map(self._row_need, rows)]
        # There is enough for all to reach their limits, so neither safety nor the forecast can object.
        if sum(needs) + sum(claim.need for claim in claims) <= free:
            return True
        if not is_safe(free, claims, needs):
            return False
        # An idle part takes everything that is safe; otherwise it could wait forever for a favourable forecast. The
        # pages that a prompt leaves to its last sample have been counted since the prompt was opened.
        if idle or leaves is not None:
            return True
        return not self._waits[part] and self._welcome(part, count, row, reply)

    def _welcome(
        self, part: int, count: int, row: OpenPrompt | None, reply: RunningSequence | None
    ) -> bool:
        """Returns whether one more sequence is expected to be useful; if so, it is part of the forecast from now on."""
        if self._forecasts[part] is None:
            replies = [other for _, other in self._replies(part) if other is not reply]
            rows = [other for other in self._waiting_rows(part) if other is not row]
            self._forecasts[part] = self._forecast(replies, rows)
        free = self._pools[part].available - self._reserve(
            other for _, other in self._replies(part)
        )
        new = self._reply_growth(reply) if row is None else self._row_growth(row)
        return self._forecasts[part].welcomes(new, free, count)

    def _number_going(self, part: int, replies: list[tuple[int, RunningSequence]]) -> int:
        """Returns for how many of a part's replies, counted from the first, it is best to take pages."""
        free, needs = self._pools[part].available, [self._claim(reply).need for _, reply in replies]
        if sum(needs) <= free:
            return len(replies)
        return self._forecast([reply for _, reply in replies], []).useful(free - min(needs))

    def _forecast(self, replies: Iterable[RunningSequence], rows: Iterable[OpenPrompt]) -> Forecast:
        """Makes the forecast for running replies and for the next sample of each open prompt."""
        growths = [self._reply_growth(reply) for reply in replies]
        growths += [self._row_growth(row) for row in rows]
        return Forecast(self._lengths, growths, self._size)

    def _reserve(self, replies: Iterable[RunningSequence]) -> int:
        """Returns the pages to keep for the reply that may need the fewest more."""
        return min((self._claim(reply).need for reply in replies), default=0)

    def _reply_growth(self, reply: RunningSequence) -> Growth:
        held = len(reply.pages)
        prompt = len(reply.request.tokens) - 1
        return Growth(len(reply.tokens), reply.limit, prompt, held, held - reply.shared)

    def _row_growth(self, row: OpenPrompt) -> Growth:
        held = len(row.shared)
        return Growth(0, self._limit(row.request), len(row.request.tokens) - 1, held, 0)

    def _extend(self, part: int, wants: dict[int, int]) -> bool:
        """Gives slots this many more pages each, if that is safe; returns whether it was."""
        pool, count = self._pools[part], sum(wants.values())
        claims = []
        for slot, reply in self._replies(part):
            need, own = self._claim(reply)
            claims.append(Claim(need - wants.get(slot, 0), own + wants.get(slot, 0)))
        free, rows = pool.available - count, self._waiting_rows(part)
        if not is_safe(free, claims, map(self._row_need, rows)):
            return False
        for slot, more in wants.items():
            reply = self.slots[slot]
            begin = len(reply.pages)
            reply.pages += pool.take(more)
            self.tables[slot, begin : len(reply.pages)] = reply.pages[begin:]
        return True

    def _replies(self, part: int) -> Iterator[tuple[int, RunningSequence]]:
        """Yields (slot, reply) for each reply of a part."""
        share = len(self.slots) // len(self._pools)
        for slot in range(part * share, (part + 1) * share):
            if self.slots[slot] is not None:
                yield slot, self.slots[slot]

    def _waiting_rows(self, part: int) -> Iterator[OpenPrompt]:
        return iter(self.prompts.rows[part])

    def _wants(self, reply: RunningSequence, steps: int) -> int:
        return min(self._pages(reply.position + steps), reply.most) - len(reply.pages)

    def _claim(self, reply: RunningSequence) -> Claim:
        return Claim(reply.most - len(reply.pages), len(reply.pages) - reply.shared)

    def _row_need(self, row: OpenPrompt) -> int:
        return self._needed(row.request) - len(row.shared)

    def _limit(self, request: Request) -> int:
        most = self._decoding_of(request).max_tokens
        return min(most, self._max_length - len(request.tokens))

    def _decoding_of(self, request: Request) -> SamplingParams:
        return self._decoding if request.decoding is None else request.decoding

    def _pages_alone(self, request: Request) -> int:
        """Returns the pages of a prompt and its first sample, which copies the partial page if it has siblings."""
        tokens = len(request.tokens) - 1
        copied = request.num_samples > 1 and tokens % self._size > 0
        return self._needed(request) + copied

    def _needed(self, request: Request) -> int:
        """Returns the most pages of a sample and its prompt. A reply's last token is never read and needs no place."""
        return self._pages(len(request.tokens) - 1 + self._limit(request))

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self._size)
