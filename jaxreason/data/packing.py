"""First-fit packing of sequences into rows of a fixed length, and the places of the rows in a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxreason.errors import UserError


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Assigns sequences to rows: each one, in the given order, goes into the first row with room.

    Each node of a tree has the largest room of any row below it, so finding the first row takes one step per level and
    not one per row.

    Args:
      lengths: of the sequences, each between 1 and `capacity`.
      capacity: length of a row.

    Returns:
      The indices of the sequences in each row.
    """
    leaves = 1 << max(len(lengths) - 1, 0).bit_length()
    room = [capacity] * (2 * leaves)
    rows: list[list[int]] = []
    for index, length in enumerate(lengths):
        node = 1
        while node < leaves:
            node = 2 * node if room[2 * node] >= length else 2 * node + 1
        if node - leaves == len(rows):
            rows.append([])
        rows[node - leaves].append(index)
        room[node] -= length
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return rows


@dataclass(frozen=True)
class Layout:
    """The one shape of every batch of a run, with room for the most that a step can have.

    Attributes:
      num_micro_batches: the number of micro-batches into which the training step cuts a batch; it skips empty ones.
      micro_batch_rows: rows of each.
      row_length: tokens of a row.
    """

    num_micro_batches: int
    micro_batch_rows: int
    row_length: int

    @property
    def num_rows(self) -> int:
        """Rows of a batch."""
        return self.num_micro_batches * self.micro_batch_rows

    def place_of(self, row: int) -> int:
        """Returns the place of the row-th row: the step deals rows out in turn, we fill one micro-batch at a time."""
        micro_batch, index = divmod(row, self.micro_batch_rows)
        return index * self.num_micro_batches + micro_batch

    def row_at(self, place: int) -> int:
        """Returns the row at a place: the inverse of `place_of`.

        Consecutive places, which one host has, contain an equal share of the rows of every micro-batch.
        """
        index, micro_batch = divmod(place, self.num_micro_batches)
        return micro_batch * self.micro_batch_rows + index


def make_layout(num_sequences: int, longest: int, row_length: int, micro_batch_rows: int) -> Layout:
    """Returns the layout that always has room for `num_sequences` of at most `longest` tokens.

    First fit only opens a row if the sequence fits no other row, so every row but the last one has at least `row_length
    // longest` sequences.

    Raises:
      ValueError: `longest` is more than a row.
    """
    if longest > row_length:
        raise UserError(
            f"a prompt with its reply can have {longest} tokens, row_length is {row_length}."
        )
    num_rows = -(-num_sequences // (row_length // longest))
    return Layout(-(-num_rows // micro_batch_rows), micro_batch_rows, row_length)
