"""The block manager: which pages of one part of the cache are free, which sequences hold the others, and which are
shared.

vLLM uses the same name, and its prefix caching works the same way. A block is called a page here, as in the recipes.

A page that is full of prompt tokens is known by the hash of all tokens up to its end. When no sequence holds it any
more, it keeps its content until its space is needed (the least recently used page goes first). A later prompt that
begins with the same tokens reuses it as it is.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def prefix_keys(tokens: Sequence[int], size: int) -> tuple[bytes, ...]:
    """Returns a key for each whole page of a sequence: a hash of all tokens from the start to the page's end."""
    whole = np.asarray(tokens, np.int64)[: len(tokens) // size * size]
    return tuple(_digests(whole.reshape(-1, size)))


def _digests(pages: np.ndarray) -> Iterator[bytes]:
    digest = hashlib.blake2b(digest_size=16)
    for page in pages:
        digest.update(page.tobytes())
        yield digest.digest()


class BlockManager:
    """Counts the holders of pages 1 to number - 1. Page 0 is never given out: empty table entries point to it.

    A page is in one of these states: held, free, kept (full and findable, but held by nobody) or dirty (to be zeroed).

    Args:
      number: number of pages, page 0 included.
    """

    def __init__(self, number: int):
        self.number = number
        self._free = list(range(number - 1, 0, -1))
        self._holders: Counter[int] = Counter()
        self._page_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}
        # Findable pages that nobody holds, in the order of their release.
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._suspect: set[int] = set()
        self._dirty: list[int] = []

    @property
    def available(self) -> int:
        """The number of pages that `take` can give."""
        return len(self._free) + len(self._kept)

    @property
    def held(self) -> int:
        """The number of pages that at least one sequence holds."""
        return len(self._holders)

    def take(self, count: int) -> list[int] | None:
        """Takes `count` pages for one holder; returns None if fewer are available."""
        if count > self.available:
            return None
        while len(self._free) < count:
            # The first one has been unused for the longest time.
            page, _ = self._kept.popitem(last=False)
            self._forget(page)
            self._free.append(page)
        taken = [self._free.pop() for _ in range(count)]
        self._holders.update(taken)
        return taken

    def share(self, pages: Iterable[int]) -> None:
        """Adds a holder to pages that are held or known."""
        for page in pages:
            self._holders[page] += 1
            self._kept.pop(page, None)

    def find(self, keys: Sequence[bytes]) -> list[int]:
        """Returns the pages of the longest prefix that is in the cache."""
        found = []
        for key in keys:
            if key not in self._page_of:
                break
            found.append(self._page_of[key])
        return found

    def know(self, key: bytes, page: int) -> None:
        """Registers a held page under its key, so that later sequences find it; it is full from now on."""
        if key not in self._page_of and page not in self._key_of:
            self._page_of[key], self._key_of[page] = page, key

    def release(self, pages: Iterable[int], suspect: bool = False) -> None:
        """Removes one holder from each page.

        Args:
          pages: pages that are held.
          suspect: whether they may hold non-finite numbers, which an attention mask cannot hide.
        """
        for page in pages:
            if suspect:
                self._suspect.add(page)
                self._forget(page)
            self._holders[page] -= 1
            if self._holders[page] == 0:
                del self._holders[page]
                self._put_back(page)

    def take_dirty(self) -> list[int]:
        """Returns the pages that must be zeroed before they are used again, and counts them as free from now on."""
        dirty, self._dirty = self._dirty, []
        self._free += dirty
        return dirty

    def _put_back(self, page: int) -> None:
        # A masked weight of 0 times NaN is NaN. The device therefore zeroes such a page before any sequence gets it.
        if page in self._suspect:
            self._suspect.discard(page)
            self._dirty.append(page)
        elif page in self._key_of:
            self._kept[page] = None
        else:
            self._free.append(page)

    def _forget(self, page: int) -> None:
        key = self._key_of.pop(page, None)
        if key is not None:
            del self._page_of[key]
