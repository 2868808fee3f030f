"""The block manager: which pages of a part of the cache are free, who holds the others, and which can be shared.

It is what vLLM calls by this name, with its prefix caching; a block is called a page here, as in the recipes.

A page that a prompt has filled is known by all tokens up to its end. It stays, when nobody holds it any more, until
its place is needed (the longest unused goes first): a later prompt that begins with the same tokens takes it as it is.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


def prefix_keys(tokens: Sequence[int], size: int) -> tuple[bytes, ...]:
    """A key of each whole page of a sequence, which stands for all tokens up to the page's end."""
    whole = np.asarray(tokens, np.int64)[: len(tokens) // size * size]
    return tuple(_digests(whole.reshape(-1, size)))


def _digests(pages: np.ndarray) -> Iterator[bytes]:
    digest = hashlib.blake2b(digest_size=16)
    for page in pages:
        digest.update(page.tobytes())
        yield digest.digest()


class BlockManager:
    """Counts the holders of pages 1 to number - 1; page 0 belongs to nobody.

    Args:
      number: of pages, page 0 included.
    """

    def __init__(self, number: int):
        self.number = number
        self._free = list(range(number - 1, 0, -1))
        self._holders: Counter[int] = Counter()
        self._page_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}
        self._kept: OrderedDict[int, None] = OrderedDict()  # known and held by nobody
        self._suspect: set[int] = set()
        self._dirty: list[int] = []

    @property
    def available(self) -> int:
        """Pages that `take` can give."""
        return len(self._free) + len(self._kept)

    @property
    def held(self) -> int:
        """Pages that somebody holds."""
        return len(self._holders)

    def take(self, count: int) -> list[int] | None:
        """`count` pages for one holder, or None if there are not so many."""
        if count > self.available:
            return None
        while len(self._free) < count:
            # An OrderedDict in the order of release: the first has been unused for longest.
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
        """The pages that hold the longest known beginning."""
        found = []
        for key in keys:
            if key not in self._page_of:
                break
            found.append(self._page_of[key])
        return found

    def know(self, key: bytes, page: int) -> None:
        """Lets later sequences find a held page, now that it is filled."""
        if key not in self._page_of and page not in self._key_of:
            self._page_of[key], self._key_of[page] = page, key

    def release(self, pages: Iterable[int], suspect: bool = False) -> None:
        """Takes one holder from each page.

        Args:
          pages: held ones.
          suspect: they may hold numbers that are not finite, which attention cannot mask.
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
        """Pages that must be zeroed before they are used again; they count as free from now on."""
        dirty, self._dirty = self._dirty, []
        self._free += dirty
        return dirty

    def _put_back(self, page: int) -> None:
        # NaN times a masked weight of 0 is NaN: such a page is zeroed by the device before anybody gets it.
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
