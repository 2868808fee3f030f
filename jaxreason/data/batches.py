"""Turns token sequences into batches: one global plan of rows, from which each host takes its part.

A batch is a number of sequences, packed into as few rows as possible. All batches of a run have one shape. Rows that a
step does not need are padding, in micro-batches of their own, which `training.train_step` skips.

Order and packing depend only on the seed, the epoch and the lengths. The batch of a step is therefore the same for any
number of hosts, and a resumed run only needs the step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from jaxreason.data.packing import Layout, first_fit
from jaxreason.errors import UserError

MOST_SEQUENCES = 10**8  # Of a run, epochs included.


class TokenBatch(NamedTuple):
    """Rows of tokens; all arrays are aligned with `tokens`.

    Attributes:
      tokens: ids; 0 for padding.
      positions: from 0 in each segment.
      segment_ids: 1, 2, ... in each row; 0 for padding.
      loss_mask: 1 where the token is a target, predicted from the token before it. The first token of a segment never
        is.
    """

    tokens: Int32[np.ndarray, "B T"]
    positions: Int32[np.ndarray, "B T"]
    segment_ids: Int32[np.ndarray, "B T"]
    loss_mask: Float32[np.ndarray, "B T"]


@dataclass(frozen=True)
class BatchConfig:
    """The settings that turn sequences into batches.

    Attributes:
      batch_size: sequences of a step, over all hosts; the last step of a run may have fewer.
      length: tokens of a row.
      pack: whether several sequences of a step may share a row.
      micro_batch_rows: rows of a micro-batch, over all hosts.
      seed: of the order of sequences.
      epochs: passes over the sequences; may be a fraction (2.5).
    """

    batch_size: int
    length: int
    pack: bool
    micro_batch_rows: int
    seed: int
    epochs: float


class PackedBatches:
    """The batches of a training run, by step.

    Attributes:
      num_steps: of the run.
      layout: the one shape of all steps, with room for the step that needs most rows.

    Args:
      sequences: tokens and loss mask of each.
      config: the plan's parameters.
      process_index: this host; it takes the `process_index`-th block of rows of each step.
      process_count: number of hosts.

    Raises:
      ValueError: a micro-batch cannot be divided over the hosts, or a sequence does not fit into a row.
    """

    def __init__(
        self,
        sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
        config: BatchConfig,
        process_index: int,
        process_count: int,
    ):
        if config.micro_batch_rows % process_count:
            raise UserError(
                f"micro_batch_rows {config.micro_batch_rows} cannot be divided among {process_count} hosts."
            )
        self._config = config
        self._sequences = [_arrays(index, *pair, config) for index, pair in enumerate(sequences)]
        self._lengths = np.array([len(tokens) for tokens, _ in self._sequences], np.int64)
        self._steps = _plan(self._lengths, config)
        self.num_steps: int = len(self._steps)
        self.layout: Layout = _layout(self._steps, config)
        self._local_rows = self.layout.num_rows // process_count
        self._first_row = process_index * self._local_rows
        import grain  # Takes a sixth of a second, which a start that trains nothing does not need.

        rows = grain.MapDataset.range(self.num_steps * self._local_rows).map(self._row)
        self._batches = rows.batch(self._local_rows, batch_fn=_stack)

    def batch(self, step: int) -> TokenBatch:
        """Returns this host's rows of a step, counted from 0.

        Raises:
          IndexError: for a step outside the run.
        """
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} is outside the run's {self.num_steps} steps.")
        return self._batches[step]

    def iterate(self, start_step: int) -> Iterator[TokenBatch]:
        """Yields this host's batches from `start_step` to the end; they are prepared ahead of their use."""
        import grain

        ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
        return iter(self._batches[start_step:].to_iter_dataset(ahead))

    def members(self, step: int) -> list[int]:
        """Returns the sequences of a step (from 0), over all hosts, in the order of its rows."""
        return [index for row in self._steps[step] for index in row]

    def epochs(self, num_steps: int) -> float:
        """Returns the passes over the sequences after a number of steps; the last step may have fewer sequences."""
        total = sum(map(len, self._steps[-1])) + (self.num_steps - 1) * self._config.batch_size
        return min(num_steps * self._config.batch_size, total) / len(self._sequences)

    def num_tokens(self, step: int) -> int:
        """Returns the number of tokens of a step that are not padding, over all hosts."""
        return int(sum(self._lengths[row].sum() for row in self._steps[step]))

    def num_positions(self, step: int) -> int:
        """Returns the number of computed positions of a step, over all hosts: those of non-empty micro-batches."""
        pieces = -(-len(self._steps[step]) // self.layout.micro_batch_rows)
        return pieces * self.layout.micro_batch_rows * self.layout.row_length

    def _row(self, index: int) -> TokenBatch:
        """Returns row `index` of this host; rows that a step does not need are padding."""
        step, row = divmod(int(index), self._local_rows)
        number, rows = self.layout.row_at(self._first_row + row), self._steps[step]
        members = rows[number] if number < len(rows) else []
        return _fill([self._sequences[member] for member in members], self._config.length)


def _arrays(index: int, tokens: Sequence[int], mask: Sequence[int], config: BatchConfig):
    if len(tokens) != len(mask):
        raise UserError(f"sequence {index}: {len(tokens)} tokens but {len(mask)} mask entries.")
    if not 0 < len(tokens) <= config.length:
        raise UserError(
            f"sequence {index} has {len(tokens)} tokens; expected 1 to {config.length} (a row)."
        )
    return np.asarray(tokens, np.int32), np.asarray(mask, np.float32)


def _plan(lengths: np.ndarray, config: BatchConfig) -> list[list[list[int]]]:
    """Returns the sequences of every row of every step of the run."""
    order = _order(len(lengths), config)
    starts = range(0, len(order), config.batch_size)
    return [_rows(order[at : at + config.batch_size], lengths, config) for at in starts]


def _order(count: int, config: BatchConfig) -> np.ndarray:
    """Returns the sequences of the run in order, epoch after epoch."""
    if config.epochs <= 0 or not count:
        raise UserError(f"nothing to plan: {count} sequences, {config.epochs} epochs.")
    if config.epochs * count > MOST_SEQUENCES:
        raise UserError(
            f"epochs={config.epochs:g} of {count:,} sequences: expected at most {MOST_SEQUENCES:,} sequences "
            "in a run, whose order is planned before it begins. Take fewer epochs."
        )
    total = max(1, round(config.epochs * count))
    epochs = range(math.ceil(total / count))
    orders = [np.random.default_rng([config.seed, epoch]).permutation(count) for epoch in epochs]
    return np.concatenate(orders)[:total]


def _rows(members: np.ndarray, lengths: np.ndarray, config: BatchConfig) -> list[list[int]]:
    """Returns the rows of one step. Packing takes the longest sequences first, which leaves the least room empty."""
    if not config.pack:
        return [[int(member)] for member in members]
    longest_first = members[np.argsort(-lengths[members], kind="stable")]
    packed = first_fit(lengths[longest_first].tolist(), config.length)
    return [longest_first[row].tolist() for row in packed]


def _layout(steps: list[list[list[int]]], config: BatchConfig) -> Layout:
    most = max(len(rows) for rows in steps)
    return Layout(-(-most // config.micro_batch_rows), config.micro_batch_rows, config.length)


def _fill(members: list[tuple[np.ndarray, np.ndarray]], length: int) -> TokenBatch:
    """Returns one row `[T]`: the members one after the other, then padding."""
    row = TokenBatch(
        tokens=np.zeros(length, np.int32),
        positions=np.zeros(length, np.int32),
        segment_ids=np.zeros(length, np.int32),
        loss_mask=np.zeros(length, np.float32),
    )
    start = 0
    for segment, (tokens, mask) in enumerate(members, start=1):
        here = slice(start, start + len(tokens))
        row.tokens[here] = tokens
        row.positions[here] = np.arange(len(tokens))
        row.segment_ids[here] = segment
        row.loss_mask[here] = mask
        row.loss_mask[start] = 0  # No token precedes it in its segment.
        start += len(tokens)
    return row


def _stack(rows: Sequence[TokenBatch]) -> TokenBatch:
    return TokenBatch(*(np.stack(arrays) for arrays in zip(*rows)))
