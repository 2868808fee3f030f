"""First-fit packing of sequences into rows of a fixed length."""

from collections.abc import Sequence


def first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Which sequences share a row: each, in the order given, goes into the first row with room.

    A tree holds at each node the most room that a row below it has, so that finding the first row
    takes a step a level and not one a row.

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
