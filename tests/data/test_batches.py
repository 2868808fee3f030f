import collections
import dataclasses

import numpy as np
import pytest

from jaxreason.data.batches import BatchConfig, PackedBatches, TokenBatch

CONFIG = BatchConfig(batch_size=8, length=16, pack=True, micro_batch_rows=4, seed=0, epochs=1.0)
FIRST_EPOCH = [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
SECOND_EPOCH = [9, 1, 3, 8, 7, 6, 0, 4, 2, 5]


@pytest.fixture
def sequences():
    """Fifty sequences whose tokens (100 * index + 1 + place) say which they are, each masked."""
    random = np.random.default_rng(5)
    made = []
    for index in range(50):
        length = int(random.integers(2, 13))
        prompt = int(random.integers(0, length))
        tokens = [100 * index + 1 + place for place in range(length)]
        made.append((tokens, [0] * prompt + [1] * (length - prompt)))
    return made


def make(sequences, index=0, count=1, **changes):
    return PackedBatches(sequences, dataclasses.replace(CONFIG, **changes), index, count)


def sequences_of(batch):
    """Which sequences a batch holds, in their order."""
    return sorted(tokens[0] // 100 for tokens, _, _, _ in segments(batch))


def all_steps(batches):
    return [batches.batch(step) for step in range(batches.num_steps)]


def segments(batch):
    """Tokens, positions and mask of every segment of a batch, row by row."""
    for row in range(batch.tokens.shape[0]):
        ids = batch.segment_ids[row]
        for segment in range(1, ids.max() + 1):
            here = ids == segment
            yield tuple(array[row][here].tolist() for array in batch if array is not ids)


def counted(batches):
    return collections.Counter(tuple(tokens) for b in batches for tokens, _, _, _ in segments(b))


def assert_equal(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("pack", [True, False])
def test_every_sequence_comes_whole_and_exactly_once_an_epoch(sequences, pack):
    expected = collections.Counter(tuple(tokens) for tokens, _ in sequences)
    assert counted(all_steps(make(sequences, pack=pack))) == expected
    three = counted(all_steps(make(sequences, pack=pack, epochs=3.0)))
    assert three == collections.Counter({tokens: 3 for tokens in expected})


@pytest.mark.parametrize("pack", [True, False])
def test_a_fraction_of_an_epoch_takes_that_many_sequences_once(sequences, pack):
    seen = counted(all_steps(make(sequences, pack=pack, epochs=0.5)))
    assert len(seen) == seen.total() == 25
    seen = counted(all_steps(make(sequences, pack=pack, epochs=2.5)))
    assert collections.Counter(seen.values()) == {2: 25, 3: 25}


def test_the_first_epoch_is_finished_before_the_second_begins(sequences):
    one = all_steps(make(sequences, pack=False, epochs=1.0, batch_size=5))
    two = all_steps(make(sequences, pack=False, epochs=2.0, batch_size=5))
    for a, b in zip(one, two[:10], strict=True):
        assert_equal(a, b)
    assert counted(two[10:]) == counted(one)
    assert any((a.tokens != b.tokens).any() for a, b in zip(one, two[10:], strict=True))


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(("batch_size", "epochs"), [(8, 1.0), (7, 1.5), (50, 2.0), (64, 1.0)])
def test_a_batch_is_a_number_of_examples_and_the_last_one_what_is_left(
    sequences, pack, batch_size, epochs
):
    batches = make(sequences, pack=pack, batch_size=batch_size, epochs=epochs)
    sizes = [len(sequences_of(batch)) for batch in all_steps(batches)]
    total = round(epochs * 50)
    assert sizes == [min(batch_size, total - at) for at in range(0, total, batch_size)]


def test_packing_changes_the_rows_of_a_step_and_not_its_examples(sequences):
    packed, single = (all_steps(make(sequences, pack=p, epochs=1.5)) for p in (True, False))
    assert [sequences_of(b) for b in packed] == [sequences_of(b) for b in single]
    used = [sum((b.segment_ids > 0).any(axis=1).sum() for b in found) for found in (packed, single)]
    assert used[1] == 75
    tokens = sum((b.segment_ids > 0).sum() for b in packed)
    assert tokens / 16 <= used[0] < 1.2 * tokens / 16


def test_every_step_has_the_shape_of_the_fullest_and_its_rows_come_one_micro_batch_after_the_other(
    sequences,
):
    batches = make(sequences, micro_batch_rows=2, epochs=1.5)
    layout, most = batches.layout, 0
    for step, batch in enumerate(all_steps(batches)):
        assert batch.tokens.shape == (layout.num_rows, 16)
        # as the training step deals them out
        pieces = range(layout.num_micro_batches)
        dealt = [batch.segment_ids[i :: layout.num_micro_batches] for i in pieces]
        held = [int((rows > 0).any(axis=1).sum()) for rows in dealt]
        full, rest = divmod(sum(held), 2)
        empty = layout.num_micro_batches - full - (rest > 0)
        assert held == [2] * full + [1] * rest + [0] * empty
        assert batches.num_positions(step) == 2 * 16 * (full + (rest > 0))
        assert batches.num_tokens(step) == (batch.segment_ids > 0).sum()
        most = max(most, full + rest)
    assert layout.num_micro_batches == most


def test_arrays_hold_positions_and_masks_of_each_segment(sequences):
    masks = {tuple(tokens): mask for tokens, mask in sequences}
    for batch in all_steps(make(sequences)):
        assert all(array.shape == (8, 16) for array in batch)
        assert [array.dtype for array in batch] == [np.int32] * 3 + [np.float32]
        padding = batch.segment_ids == 0
        for array in (batch.tokens, batch.positions, batch.loss_mask):
            assert not array[padding].any()
        for tokens, positions, _, mask in segments(batch):
            assert positions == list(range(len(tokens)))
            assert mask == [0, *masks[tuple(tokens)][1:]]


def test_a_row_of_two_sequences_is_laid_out_as_by_hand():
    batches = make([([7, 8, 9], [1, 1, 1]), ([5, 6], [0, 1])], micro_batch_rows=1, length=6)
    batch = batches.batch(0)
    assert batch.tokens.tolist() == [[7, 8, 9, 5, 6, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 2, 2, 0]]
    assert batch.loss_mask.tolist() == [[0, 1, 1, 0, 1, 0]]
    assert batches.num_steps == 1


def test_the_first_token_of_a_segment_is_never_a_target(sequences):
    everything = [(tokens, [1] * len(tokens)) for tokens, _ in sequences]
    for batch in all_steps(make(everything)):
        np.testing.assert_array_equal(
            batch.loss_mask, (batch.segment_ids > 0) & (batch.positions > 0)
        )


def test_without_packing_a_row_holds_one_sequence(sequences):
    batches = make(sequences, pack=False)
    assert (batches.num_steps, batches.layout.num_rows) == (7, 8)
    rows = [b.segment_ids[row] for b in all_steps(batches) for row in range(8)]
    assert sorted(row.max() for row in rows) == [0] * 6 + [1] * 50


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("pack", [True, False])
def test_the_rows_of_all_hosts_are_the_rows_of_one(sequences, hosts, pack):
    whole = make(sequences, epochs=1.5, pack=pack)
    parts = [make(sequences, host, hosts, epochs=1.5, pack=pack) for host in range(hosts)]
    local = whole.layout.num_rows // hosts
    for step in range(whole.num_steps):
        rows = [part.batch(step) for part in parts]
        assert all(row.tokens.shape == (local, 16) for row in rows)
        assert_equal(TokenBatch(*map(np.concatenate, zip(*rows))), whole.batch(step))
        assert {part.num_tokens(step) for part in parts} == {whole.num_tokens(step)}


def test_hosts_hold_equal_shares_of_every_full_micro_batch(sequences):
    parts = [make(sequences, host, 4, micro_batch_rows=4, batch_size=24) for host in range(4)]
    pieces = parts[0].layout.num_micro_batches
    assert pieces > 1
    for step in range(parts[0].num_steps):
        held = np.array([(p.batch(step).segment_ids > 0).any(axis=1) for p in parts])
        used = held.sum()
        # place i of a host is in micro-batch i modulo their number
        of_piece = [held[:, i::pieces].sum(axis=1) for i in range(pieces)]
        for piece in of_piece[: used // 4]:
            assert (piece == 1).all()


@pytest.mark.parametrize("start", [0, 1, 5])
def test_resuming_at_a_step_continues_as_if_never_stopped(sequences, start):
    steps = all_steps(make(sequences, epochs=2.0))
    resumed = list(make(sequences, epochs=2.0).iterate(start))
    assert len(resumed) == len(steps) - start
    for one, other in zip(steps[start:], resumed, strict=True):
        assert_equal(one, other)
    assert isinstance(resumed[0], TokenBatch)


def test_resuming_on_another_number_of_hosts_gives_the_same_rows(sequences):
    before = make(sequences, epochs=2.0)
    after = [list(make(sequences, host, 2, epochs=2.0).iterate(3)) for host in range(2)]
    for step, rows in enumerate(zip(*after, strict=True), start=3):
        assert_equal(TokenBatch(*map(np.concatenate, zip(*rows))), before.batch(step))


def test_the_seed_changes_the_order_and_nothing_else(sequences):
    one, same, other = (all_steps(make(sequences, seed=seed)) for seed in (0, 0, 1))
    for a, b in zip(one, same, strict=True):
        assert_equal(a, b)
    assert any(sequences_of(a) != sequences_of(b) for a, b in zip(one, other, strict=True))
    assert counted(one) == counted(other)


def test_the_order_is_the_one_of_earlier_versions():
    # A change here would make every interrupted run resume with other data.
    sequences = [([index], [1]) for index in range(10)]
    batches = make(sequences, pack=False, batch_size=10, micro_batch_rows=10, epochs=2.0, length=1)
    assert batches.batch(0).tokens[:, 0].tolist() == FIRST_EPOCH
    assert batches.batch(1).tokens[:, 0].tolist() == SECOND_EPOCH


@pytest.mark.parametrize(
    ("sequences", "changes", "expected"),
    [
        ([([1] * 17, [1] * 17)], {}, "sequence 0 has 17 tokens; expected 1 to 16"),
        ([([1], [1]), ([], [])], {}, "sequence 1 has 0 tokens"),
        ([([1, 2], [1])], {}, "2 tokens but 1 mask"),
        ([], {}, "nothing to plan"),
        ([([1], [1])], {"epochs": 0.0}, "nothing to plan"),
        ([([1], [1])], {"epochs": 1e300}, "epochs=1e\\+300 of 1 sequences: expected at most"),
    ],
)
def test_plans_that_cannot_be_made_are_refused(sequences, changes, expected):
    with pytest.raises(ValueError, match=expected):
        make(sequences, **changes)


def test_hosts_must_divide_the_batch_and_steps_must_exist(sequences):
    with pytest.raises(ValueError, match="micro_batch_rows 4 cannot be divided among 3 hosts"):
        make(sequences, 0, 3)
    batches = make(sequences)
    for step in (-1, batches.num_steps):
        with pytest.raises(IndexError, match="outside the run"):
            batches.batch(step)
