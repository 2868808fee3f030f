"""Sequences of tokens as trees: a common prefix of several is computed once, in rows of one length
(`models/prefix_tree`).

Sequences in lexicographic order are the branches of a tree in depth-first order. Each adds to its row only the tokens
that it does not share with the one before it. Many sequences with a long common prefix form a group. The prefix of a
group is in none of its rows: it is computed once, before them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

LEAST_PREFIX = 64  # Tokens; a shorter prefix is cheaper in every row than in a pass of its own.
LONGEST_SHARED_ROW = 512  # A row is longer only if a single sequence is.
SCORES_COST = 500  # A token of a row of this length costs twice as much as in a very short row.

Tokens = Int[np.ndarray, " T"]


class Branch(NamedTuple):
    """A sequence to forward, and the place from which on the successor of each token is scored.

    Attributes:
      index: index of the pair, in the caller's order.
      tokens: context and continuation without the last token.
      first: the place that predicts the continuation's first token.
      targets: the continuation.
    """

    index: int
    tokens: Tokens
    first: int
    targets: Tokens


class PrefixGroup(NamedTuple):
    """Branches in lexicographic order that all begin with the same `prefix` tokens.

    `shared` is, for each branch, the number of tokens (prefix included) that it has in common with the branch before
    it.
    """

    prefix: int
    branches: list[Branch]
    shared: Int[np.ndarray, " N"]


class TreeRow(NamedTuple):
    """One row of trees, not yet padded."""

    tokens: Tokens
    positions: Int[np.ndarray, " T"]
    ends: Int[np.ndarray, " T"]
    places: Int[np.ndarray, " E"]  # Places that predict.
    targets: Int[np.ndarray, " E"]  # The tokens to predict.
    owners: Int[np.ndarray, " E"]  # Indices of the pairs.


def sort_branches(branches: Sequence[Branch]) -> tuple[list[Branch], Int[np.ndarray, " N"]]:
    """Returns the branches in lexicographic order, and how many tokens each shares with the one before (first: 0)."""
    ordered = sorted(branches, key=lambda b: b.tokens.astype(">u4").tobytes())
    shared = np.zeros(len(ordered), np.int64)
    for place, (before, branch) in enumerate(pairwise(ordered), 1):
        shared[place] = _common(before.tokens, branch.tokens)
    return ordered, shared


def _common(a: Tokens, b: Tokens) -> int:
    size = min(len(a), len(b))
    different = a[:size] != b[:size]
    return int(different.argmax()) if different.any() else size


def make_groups(
    branches: Sequence[Branch], least_tokens: int, least_prefix: int = LEAST_PREFIX
) -> Iterator[PrefixGroup]:
    """Yields the branches grouped by common prefixes. Those without one, or too few of them, form one group without
    prefix.

    A group with a prefix has at least `least_tokens` tokens beyond the prefix, so that it fills a dispatch.
    """
    ordered, shared = sort_branches(branches)
    rest: list[int] = []
    work = [(0, len(ordered))]
    while work:
        begin, end = work.pop()
        common = int(shared[begin + 1 : end].min(initial=len(ordered[begin].tokens)))
        # One level of the tree. Parts with enough tokens to fill a dispatch are tried again with a longer prefix
        # (`inner`); the others (`loose`) are a group if their common prefix is worth a forward pass of its own.
        inner, loose = [], []
        for part in _parts(shared, begin, end, common):
            more = _beyond(ordered, shared, *part, common)
            (inner if part != (begin, end) and more >= least_tokens else loose).append(part)
        places = [i for part in loose for i in range(*part)]
        prefix = min([common, *(ordered[i].first for i in places)])
        grouped = prefix >= least_prefix and len(places) > 1
        if (
            grouped
            and sum(_beyond(ordered, shared, *part, prefix) for part in loose) >= least_tokens
        ):
            yield _group(prefix, ordered, places)
        else:
            rest += places
        work += inner
    if rest:
        yield _group(0, ordered, sorted(rest))


def _parts(shared: np.ndarray, begin: int, end: int, common: int) -> list[tuple[int, int]]:
    """Returns the ranges of branches that have the same next token after the `common` tokens that all share."""
    cuts = begin + 1 + np.flatnonzero(shared[begin + 1 : end] == common)
    edges = [begin, *cuts.tolist(), end]
    return list(pairwise(edges))


def _beyond(ordered: list[Branch], shared: np.ndarray, begin: int, end: int, start: int) -> int:
    """Returns the number of tokens that a tree of these branches has after the first `start`."""
    total = len(ordered[begin].tokens) - start
    return total + sum(len(ordered[i].tokens) - int(shared[i]) for i in range(begin + 1, end))


def _group(prefix: int, ordered: list[Branch], places: list[int]) -> PrefixGroup:
    branches = [ordered[i] for i in places]
    shared = [0, *(_common(a.tokens, b.tokens) for a, b in pairwise(branches))]
    return PrefixGroup(prefix, branches, np.maximum(shared, prefix))


def best_row_length(group: PrefixGroup, lengths: Sequence[int]) -> int:
    """Returns the one of `lengths` (ascending) with which the group's rows cost least and the longest branch fits."""
    longest = max(len(b.tokens) for b in group.branches) - group.prefix
    fitting = [size for size in lengths if size >= longest]
    wanted = [size for size in fitting if size <= LONGEST_SHARED_ROW] or fitting[:1]
    costs = [len(_fill(group, size)) * size * (1 + size / SCORES_COST) for size in wanted]
    return wanted[int(np.argmin(costs))]


def _fill(group: PrefixGroup, size: int) -> list[tuple[int, int]]:
    """Returns ranges of branches, each of which fills one row of at most `size` tokens."""
    ranges, begin, used = [], 0, 0
    for place, branch in enumerate(group.branches):
        new = len(branch.tokens) - int(group.shared[place])
        if place and used + new > size:
            ranges.append((begin, place))
            begin, used = place, 0
        used += len(branch.tokens) - group.prefix if begin == place else new
    return [*ranges, (begin, len(group.branches))]


def tree_rows(group: PrefixGroup, size: int) -> Iterator[TreeRow]:
    """Yields the group's branches in rows of at most `size` tokens."""
    for begin, end in _fill(group, size):
        yield _row(group, begin, end)


def _row(group: PrefixGroup, begin: int, end: int) -> TreeRow:
    """Lays out branches depth-first. `path` has the places of the current branch; where one leaves it, tokens end."""
    tokens, positions, found = [], [], []
    ends, path, used = np.zeros(0, np.int32), np.zeros(0, np.int32), 0
    for place in range(begin, end):
        branch = group.branches[place]
        kept = int(group.shared[place]) - group.prefix if place > begin else 0
        ends[path[kept:]] = used
        new = branch.tokens[group.prefix + kept :]
        path = np.concatenate([path[:kept], np.arange(used, used + len(new), dtype=np.int32)])
        tokens.append(new)
        positions.append(np.arange(group.prefix + kept, len(branch.tokens)))
        used += len(new)
        ends = np.concatenate([ends, np.zeros(len(new), np.int32)])
        places = path[branch.first - group.prefix :]
        found.append((places, branch.targets, np.full(len(places), branch.index)))
    ends[path] = used
    edges = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return TreeRow(np.concatenate(tokens), np.concatenate(positions), ends, *edges)
