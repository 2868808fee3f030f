"""Token sequences to batches: one global plan of rows, from which each host takes its part.

The order and the packing of an epoch follow from the seed, the epoch and the lengths alone, so the
batch of a step is the same for any number of hosts, and the step is all that a resumed run needs.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Float32, Int32

from jaxreason.data.packing import first_fit
from jaxreason.errors import UserError

_PREFETCH = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)

MOST_SEQUENCES = 10**8  # of a run, epochs included


class TokenBatch(NamedTuple):
    """Rows of tokens; all arrays are aligned with `tokens`.

    Attributes:
      tokens: ids; 0 where there is padding.
      positions: from 0 in each segment.
      segment_ids: 1, 2, ... in each row; 0 is padding.
      loss_mask: 1 where the token is a target, predicted from the one before it. The first token of
        a segment never is.
    """

    tokens: Int32[np.ndarray, "B T"]
    positions: Int32[np.ndarray, "B T"]
    segment_ids: Int32[np.ndarray, "B T"]
    loss_mask: Float32[np.ndarray, "B T"]


@dataclass(frozen=True)
class BatchConfig:
    """How sequences become batches.

    Attributes:
      batch_size: rows of a step, over all hosts.
      length: tokens of a row.
      pack: whether several sequences may share a row.
      seed: of the order of sequences and rows.
      epochs: passes over the sequences; the last may be part of one (2.5).
    """

    batch_size: int
    length: int
    pack: bool
    seed: int
    epochs: float


class PackedBatches:
    """The batches of a training run, by step.

    Args:
      sequences: tokens and loss mask of each.
      config: the plan's parameters.
      process_index: this host; it takes the `process_index`-th block of rows of each step.
      process_count: number of hosts.

    Raises:
      ValueError: when the hosts do not divide the batch, or a sequence does not fit into a row.
    """

    def __init__(
        self,
        sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
        config: BatchConfig,
        process_index: int,
        process_count: int,
    ):
        if config.batch_size % process_count:
            raise UserError(
                f"batch_size {config.batch_size} cannot be divided among {process_count} hosts."
            )
        self._config = config
        self._sequences = [_arrays(index, *pair, config) for index, pair in enumerate(sequences)]
        self._rows = _plan([len(tokens) for tokens, _ in self._sequences], config)
        self._local_rows = config.batch_size // process_count
        self._first_row = process_index * self._local_rows
        self.num_steps: int = math.ceil(len(self._rows) / config.batch_size)
        rows = grain.MapDataset.range(self.num_steps * self._local_rows).map(self._row)
        self._batches = rows.batch(self._local_rows, batch_fn=_stack)

    def batch(self, step: int) -> TokenBatch:
        """This host's rows of a step, counted from 0.

        Raises:
          IndexError: for a step outside the run.
        """
        if not 0 <= step < self.num_steps:
            raise IndexError(f"step {step} is outside the run's {self.num_steps} steps.")
        return self._batches[step]

    def iterate(self, start_step: int) -> Iterator[TokenBatch]:
        """This host's batches from `start_step` to the end, made ahead of their use."""
        return iter(self._batches[start_step:].to_iter_dataset(_PREFETCH))

    def _row(self, index: int) -> TokenBatch:
        """Row `index` of this host; in the last step, rows past the end of the plan are padding."""
        step, row = divmod(int(index), self._local_rows)
        place = step * self._config.batch_size + self._first_row + row
        members = self._rows[place] if place < len(self._rows) else []
        return _fill([self._sequences[member] for member in members], self._config.length)


def _arrays(index: int, tokens: Sequence[int], mask: Sequence[int], config: BatchConfig):
    if len(tokens) != len(mask):
        raise UserError(f"sequence {index}: {len(tokens)} tokens but {len(mask)} mask entries.")
    if not 0 < len(tokens) <= config.length:
        raise UserError(
            f"sequence {index} has {len(tokens)} tokens; expected 1 to {config.length} (a row)."
        )
    return np.asarray(tokens, np.int32), np.asarray(mask, np.float32)


def _plan(lengths: list[int], config: BatchConfig) -> list[list[int]]:
    """The sequences of every row of the run, epoch after epoch."""
    if config.epochs <= 0 or not lengths:
        raise UserError(f"nothing to plan: {len(lengths)} sequences, {config.epochs} epochs.")
    if config.epochs * len(lengths) > MOST_SEQUENCES:
        raise UserError(
            f"epochs={config.epochs:g} of {len(lengths):,} sequences: expected at most {MOST_SEQUENCES:,} sequences "
            "in a run, whose order is planned before it begins. Take fewer epochs."
        )
    remaining = max(1, round(config.epochs * len(lengths)))
    rows: list[list[int]] = []
    for epoch in range(math.ceil(remaining / len(lengths))):
        random = np.random.default_rng([config.seed, epoch])
        order = random.permutation(len(lengths))[: remaining - epoch * len(lengths)]
        rows += _epoch_rows(order, lengths, config, random)
    return rows


def _epoch_rows(
    order: np.ndarray, lengths: list[int], config: BatchConfig, random: np.random.Generator
) -> list[list[int]]:
    if not config.pack:
        return [[int(index)] for index in order]
    packed = first_fit([lengths[index] for index in order], config.length)
    # First-fit leaves the emptier rows for the end; shuffled, every step gets its share of them.
    return [[int(order[i]) for i in packed[row]] for row in random.permutation(len(packed))]


def _fill(members: list[tuple[np.ndarray, np.ndarray]], length: int) -> TokenBatch:
    """One row `[T]`: the members one after the other, then padding."""
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
        row.loss_mask[start] = 0  # nothing comes before it in its segment
        start += len(tokens)
    return row


def _stack(rows: Sequence[TokenBatch]) -> TokenBatch:
    return TokenBatch(*(np.stack(arrays) for arrays in zip(*rows)))
