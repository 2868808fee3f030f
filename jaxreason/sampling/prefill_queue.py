"""The prompts whose pages are being filled or that wait for their samples, and their prefill dispatches."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxreason.sampling.block_manager import BlockManager
from jaxreason.sampling.sampling_params import Request


@dataclass
class OpenPrompt:
    """A prompt whose pages are being filled, or whose samples wait for slots."""

    request: Request
    keys: tuple[bytes, ...]  # Of the prompt's whole pages.
    pages: list[int]  # The pages of all its tokens but the last.
    found: int  # How many of them were found already filled.
    prefilled: int
    started: int = 0  # How many samples have got a slot.

    @property
    def missing(self) -> int:
        """Tokens that are still to be prefilled. The last token of a prompt is read by decode."""
        return len(self.request.tokens) - 1 - self.prefilled

    @property
    def shared(self) -> list[int]:
        """Pages that the next sample starts from. The last sample takes over all pages of the prompt."""
        is_last = self.started + 1 == self.request.num_samples
        return self.pages if is_last else self.pages[: len(self.keys)]


class PrefillBlock(NamedTuple):
    """A prefill block: `count` tokens of one prompt, from position `start` on."""

    index: int  # Its place among the dispatch's blocks.
    row: OpenPrompt
    start: int
    count: int


class PrefillQueue:
    """The open prompts of each part, in order.

    Args:
      pools: one for each part of the mesh that has rows of its own.
      num_blocks: blocks of a dispatch; a multiple of the number of parts, each of which has its own.
      block: tokens of a block.
      page_size: positions of a page.
    """

    def __init__(self, pools: Sequence[BlockManager], num_blocks: int, block: int, page_size: int):
        self.rows: list[list[OpenPrompt]] = [[] for _ in pools]
        self._shared = 0
        self._pools, self._size = pools, page_size
        self._num_blocks, self._block = num_blocks // len(pools), block  # Per part.
        self._taken = [0] * len(pools)  # Blocks used so far of the dispatch that is being made.

    def __iter__(self) -> Iterator[OpenPrompt]:
        return itertools.chain(*self.rows)

    def add(self, part: int, row: OpenPrompt) -> None:
        """Appends a prompt to those of a part."""
        self.rows[part].append(row)
        self._shared += row.prefilled

    def take_shared(self) -> int:
        """Returns how many prompt tokens were found in filled pages since the last call."""
        shared, self._shared = self._shared, 0
        return shared

    def parts_with_room(self) -> list[int]:
        """Returns the parts whose next dispatch could hold another prompt."""
        parts = range(len(self.rows))
        return [p for p in parts if len(self.rows[p]) < self._num_blocks and not self._is_full(p)]

    def is_full(self) -> bool:
        """Returns whether the next dispatch has no room for another prompt in any part."""
        return all(map(self._is_full, range(len(self.rows))))

    def take_blocks(self, load: Callable[[], None]) -> list[PrefillBlock]:
        """Returns the next dispatch: blocks of prompts, oldest first, each within its part's range of blocks.

        A prompt's pages can be found as soon as they are in the dispatch. Later blocks of the same dispatch may already
        read them, since every layer writes the keys and values of all blocks before it attends.

        Args:
          load: adds prompts while there is room. Prompts that share pages of this dispatch need fewer blocks, which may
            leave room for more prompts.
        """
        blocks = []
        while more := [b for part in range(len(self.rows)) for b in self._take(part)]:
            blocks += more
            load()
        self._taken = [0] * len(self.rows)
        return blocks

    def close(self, gone: Callable[[OpenPrompt], bool]) -> None:
        """Removes the prompts for which `gone` is true, and releases the pages that were filled for them as suspect.

        No token was decoded after them yet, so it is not known whether their numbers are finite.
        """
        for pool, rows in zip(self._pools, self.rows, strict=True):
            opened, rows[:] = rows.copy(), []
            for row in opened:
                if gone(row):
                    pool.release(row.pages[: row.found])
                    pool.release(row.pages[row.found :], suspect=True)
                else:
                    rows.append(row)

    def drop_started(self) -> None:
        """Removes the prompts whose samples have all started; the last sample has taken over their pages."""
        for rows in self.rows:
            rows[:] = [row for row in rows if row.started < row.request.num_samples]

    def _is_full(self, part: int) -> bool:
        blocks = sum(-(-row.missing // self._block) for row in self.rows[part])
        return self._taken[part] + blocks >= self._num_blocks

    def _take(self, part: int) -> Iterator[PrefillBlock]:
        for row in self.rows[part]:
            self._share_more(row, part)
            while row.missing and self._taken[part] < self._num_blocks:
                count = min(row.missing, self._block)
                index = part * self._num_blocks + self._taken[part]
                yield PrefillBlock(index, row, row.prefilled, count)
                self._advance(row, part, count)
                self._taken[part] += 1

    def _share_more(self, row: OpenPrompt, part: int) -> None:
        """Takes over pages of the prompt's prefix that others have filled meanwhile; releases its own for them."""
        pool, first = self._pools[part], row.prefilled // self._size
        if row.prefilled > row.found * self._size:
            return  # Its prefill has already started.
        more = pool.find(row.keys)[first:]
        pool.share(more)
        pool.release(row.pages[first : first + len(more)])
        row.pages[first : first + len(more)] = more
        row.found += len(more)
        row.prefilled += len(more) * self._size
        self._shared += len(more) * self._size

    def _advance(self, row: OpenPrompt, part: int, count: int) -> None:
        """Counts `count` more tokens as prefilled. They are in the pages now, or will be before anything reads them."""
        before = row.prefilled
        row.prefilled += count
        for filled in range(before // self._size, row.prefilled // self._size):
            self._pools[part].know(row.keys[filled], row.pages[filled])
