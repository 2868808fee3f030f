import numpy as np
import pytest

from jaxreason.data.packing import first_fit


def by_scanning(lengths, capacity):
    """First-fit as it is defined, row by row."""
    rows, room = [], []
    for index, length in enumerate(lengths):
        row = next((row for row, left in enumerate(room) if left >= length), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(index)
        room[row] -= length
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_each_sequence_goes_into_the_first_row_with_room(seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 17, size=int(random.integers(1, 80))).tolist()
    assert first_fit(lengths, 16) == by_scanning(lengths, 16)


def test_no_sequences_need_no_rows():
    assert first_fit([], 8) == []


def test_realistic_lengths_leave_few_tokens_empty():
    lengths = np.random.default_rng(0).integers(20, 900, size=2000).tolist()
    assert sum(lengths) / (4096 * len(first_fit(lengths, 4096))) > 0.98
