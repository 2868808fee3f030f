"""Rows of trees: every token sees its own sequence, and what sequences share is there once."""

import numpy as np
import pytest

from jaxreason.sampling.token_trees import Branch, best_row_length, make_groups, tree_rows


def branch(index, context, continuation):
    tokens = np.array([*context, *continuation], np.int32)
    return Branch(index, tokens[:-1], len(context) - 1, tokens[len(context) :])


def random_branches(seed, number=60, vocabulary=3):
    """Few tokens, so that much is shared, whole sequences among it."""
    rng = np.random.default_rng(seed)

    def draw(longest):
        return rng.integers(0, vocabulary, rng.integers(1, longest + 1)).tolist()

    return [branch(i, draw(12), draw(5)) for i in range(number)]


def seen_by(row, place):
    """The tokens that the one at `place` sees, by position."""
    keys = np.arange(len(row.tokens))
    seen = (keys <= place) & (place < row.ends)
    return row.tokens[seen].tolist(), row.positions[seen].tolist()


@pytest.mark.parametrize("least_prefix", [2, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_every_scored_token_is_predicted_from_its_own_sequence(seed, least_prefix):
    branches = random_branches(seed)
    scored = {b.index: [] for b in branches}
    for group in make_groups(branches, least_tokens=10, least_prefix=least_prefix):
        prefix = group.branches[0].tokens[: group.prefix].tolist()
        for row in tree_rows(group, best_row_length(group, [16, 24, 32])):
            assert len(row.tokens) <= 32
            for place, target, owner in zip(row.places, row.targets, row.owners, strict=True):
                tokens, positions = seen_by(row, place)
                assert positions == list(range(group.prefix, group.prefix + len(tokens)))
                scored[owner].append((prefix + tokens, target))
    for b in branches:
        starts = range(b.first, len(b.tokens))
        expected = [(b.tokens[: s + 1].tolist(), t) for s, t in zip(starts, b.targets, strict=True)]
        assert scored[b.index] == expected


def test_a_passage_is_in_a_row_once_whatever_is_asked_of_it():
    passage, questions = list(range(100, 130)), [[1, 2], [1, 3], [4]]
    pairs = [(passage + question, [answer]) for question in questions for answer in (7, 8)]
    (group,) = make_groups([branch(i, *pair) for i, pair in enumerate(pairs)], least_tokens=1000)
    (row,) = tree_rows(group, 64)
    assert len(row.tokens) == 30 + 4  # 1, its 2 and 3, and 4
    assert len(row.targets) == 6


def test_a_long_shared_beginning_is_forwarded_before_the_rows_and_one_within_another_too():
    rng = np.random.default_rng(0)
    system = rng.integers(0, 9, 70).tolist()
    subjects = [rng.integers(10 * i, 10 * i + 9, 90).tolist() for i in (1, 2)]
    contexts = [system + s + rng.integers(0, 9, 20).tolist() for s in subjects for _ in range(8)]
    contexts += [system + rng.integers(100, 109, 30).tolist() for _ in range(8)]
    contexts += [[200, 201, 202]]
    branches = [branch(i, context, [5]) for i, context in enumerate(contexts)]
    groups = list(make_groups(branches, least_tokens=64))
    assert sorted((g.prefix, len(g.branches)) for g in groups) == [
        (0, 1),
        (70, 8),
        (160, 8),
        (160, 8),
    ]


def test_few_tokens_after_a_long_beginning_are_one_row_with_it():
    context = list(range(200))
    branches = [branch(i, context, [i]) for i in range(4)]
    (group,) = make_groups(branches, least_tokens=64)
    (row,) = tree_rows(group, best_row_length(group, [128, 192, 256]))
    assert group.prefix == 0 and len(row.tokens) == 200
    assert row.places.tolist() == [199] * 4


def test_a_row_is_as_long_as_wastes_least():
    branches = [branch(i, [i] * 100, [1]) for i in range(8)]
    (group,) = make_groups(branches, least_tokens=1000)
    assert best_row_length(group, [64, 96, 128, 192, 256]) == 128
    assert (
        best_row_length(group, [64, 96, 192, 208, 256]) == 208
    )  # two, where one would leave half empty
