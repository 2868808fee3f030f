"""Runs of n words in many texts as arrays: which runs there are, where they are, and which two collections share.

A run is identified by a 64-bit hash of its words, so sorting a million of them takes 8 MB.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt64

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Texts:
    """Texts as one array of word numbers.

    Args:
      texts: the words of each.
      vocabulary: word -> number; new words are added. Texts that are compared share one vocabulary.

    Attributes:
      words: the hash of every word, of all texts in order.
      owner: the number of its text, for every word.
    """

    words: UInt64[np.ndarray, " words"]
    owner: Int[np.ndarray, " words"]

    def __init__(self, texts: Sequence[Sequence[str]], vocabulary: dict[str, int]):
        numbers = [vocabulary.setdefault(word, len(vocabulary)) for text in texts for word in text]
        self.words = _mixed(np.asarray(numbers, np.uint64))
        self.owner = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        self.num_texts = len(texts)

    def runs(self, length: int) -> tuple[UInt64[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
        """Returns every run of that many words within one text: its hash, and the place of its first word."""
        count = max(0, len(self.words) - length + 1)
        # A polynomial in the words, modulo 2**64 (numpy wraps around). Each step adds one word to every run at once, so
        # memory is one array for any length. Words are mixed first, since small numbers would collide.
        hashes = np.zeros(count, np.uint64)
        with np.errstate(over="ignore"):
            for offset in range(length):
                hashes = hashes * _MULTIPLIER + self.words[offset : offset + count]
        inside = self.owner[:count] == self.owner[length - 1 : length - 1 + count]
        return hashes[inside], np.flatnonzero(inside)

    def keep(self, wanted: Bool[np.ndarray, " words"]) -> None:
        """Drops words; the words around them are adjacent afterwards."""
        self.words, self.owner = self.words[wanted], self.owner[wanted]


def covered(
    count: int, places: Int[np.ndarray, " runs"], length: int
) -> Bool[np.ndarray, " words"]:
    """Returns which of `count` words are in a run of that length that begins at one of the places."""
    change = np.zeros(count + 1, np.int64)
    np.add.at(change, places, 1)
    np.add.at(change, places + length, -1)
    return np.cumsum(change[:count]) > 0


def _mixed(numbers: UInt64[np.ndarray, " words"]) -> UInt64[np.ndarray, " words"]:
    """Returns splitmix64 of numbers: neighbouring numbers get very different hashes."""
    with np.errstate(over="ignore"):
        mixed = (numbers + np.uint64(1)) * _MULTIPLIER
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
