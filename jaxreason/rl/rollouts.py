"""Replies as arrays and as files: the tokens exactly as sampled, packed into rows of one length.

Several sequences (each a prompt and one reply) share a row and are told apart by `segment_ids`, so little is computed
on padding. All updates of a run have one shape; micro-batches that stay empty cost nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from jaxreason.data.examples import Example, prompt_text
from jaxreason.data.packing import Layout, first_fit
from jaxreason.rl.rewards import Reward
from jaxreason.sampling.sampling_params import Completion

# P prompts (groups), G samples per prompt, R rows, T tokens per row.
GIVEN = "given"  # The finish_reason of a reply that was given; no sampler returns it.


class Rollouts(NamedTuple):
    """A batch for the update: a TokenBatch and what the policy loss needs.

    Attributes:
      tokens: prompts and replies, exactly as the sampler processed them.
      positions: start at 0 in each sequence.
      segment_ids: 1, 2, ... within a row; 0 = padding.
      loss_mask: 1 at the tokens of replies.
      advantages: at each token of a reply, the reply's weight; 0 elsewhere.
      sampler_logprobs: as the sampler reported them; 0 elsewhere.
      sampled: 1 at the tokens of replies that were sampled, not given.
      old_logprobs: the trainer's, from the parameters before any update; None if the update computes them itself.
      ref_logprobs: by the reference model; None if there is none.
      micro_batch: the micro-batch of the training step that each row belongs to.
    """

    tokens: Int[Array, "R T"]
    positions: Int[Array, "R T"]
    segment_ids: Int[Array, "R T"]
    loss_mask: Float[Array, "R T"]
    advantages: Float[Array, "R T"]
    sampler_logprobs: Float[Array, "R T"]
    sampled: Float[Array, "R T"]
    old_logprobs: Float[Array, "R T"] | None
    ref_logprobs: Float[Array, "R T"] | None
    micro_batch: Int[Array, "R"]


@dataclass(frozen=True)
class Sample:
    """One reply, its text, and its reward."""

    completion: Completion
    text: str
    reward: Reward

    @property
    def given(self) -> bool:
        """Whether the reply was taken from the question's row and not sampled."""
        return self.completion.finish_reason == GIVEN


@dataclass(frozen=True)
class RolloutGroup:
    """The replies to one prompt, at most G; `batch` counts the step's generation batches.

    `staleness`: the number of steps between the policy that sampled them and the one that the step begins with; None if
    the recipe does not allow any.
    """

    batch: int
    example: Example
    prompt: tuple[int, ...]
    samples: tuple[Sample, ...]
    staleness: int | None = None


def group_rewards(groups: Sequence[RolloutGroup]) -> Float[np.ndarray, "P G"]:
    """Returns total rewards; NaN if a reply was not graded or a group has fewer replies than others."""
    return _of_samples(groups, lambda sample: sample.reward.total)


def group_scores(groups: Sequence[RolloutGroup]) -> Float[np.ndarray, "P G"]:
    """Returns how right the replies are, 0 to 1; NaN as in `group_rewards`."""
    return _of_samples(groups, lambda sample: sample.reward.correct)


def _of_samples(groups: Sequence[RolloutGroup], read: Callable[[Sample], float]) -> np.ndarray:
    most = max((len(group.samples) for group in groups), default=0)
    found = np.full((len(groups), most), np.nan)
    for row, group in zip(found, groups, strict=True):
        row[: len(group.samples)] = [read(sample) for sample in group.samples]
    return found


class ReplySpan(NamedTuple):
    """The place of a reply: its group, its number there, its row, its first token and the one after its last."""

    group: int
    sample: int
    row: int
    start: int
    stop: int


class Packed(NamedTuple):
    """A mini-batch as numpy arrays, and the place of each of its replies."""

    rollouts: Rollouts
    places: tuple[ReplySpan, ...]

    def weighed(self, weights: Float[np.ndarray, "P G"]) -> Rollouts:
        """Returns the batch with other weights; they are those of all groups that were packed."""
        advantages = np.zeros_like(self.rollouts.advantages)
        for place in self.places:
            where = slice(place.start, place.stop)
            advantages[place.row, where] = weights[place.group, place.sample]
        return self.rollouts._replace(advantages=advantages)

    def sums(self, values: Float[np.ndarray, "R T"]) -> dict[tuple[int, int], float]:
        """Returns the sum of the values over each reply's tokens, by group and number."""
        return {
            (p.group, p.sample): float(values[p.row, p.start : p.stop].sum(dtype=np.float64))
            for p in self.places
        }


def pack(
    groups: Sequence[RolloutGroup],
    weights: Float[np.ndarray, "P G"],
    num_batches: int,
    layout: Layout,
) -> list[Packed]:
    """Packs groups into mini-batches of one shape; groups stay whole and in order.

    Args:
      groups: the groups that are trained on; they are divided evenly.
      weights: of their replies. Replies that were not graded, or whose weight is NaN, are left out of the arrays.
      num_batches: number of mini-batches.
      layout: their shape.
    """
    shares = np.array_split(np.arange(len(groups)), num_batches)
    return [_fill(_sequences(groups, weights, share), layout) for share in shares]


def is_trained(sample: Sample, weight: float) -> bool:
    """Whether a reply of a group that is trained on is in the arrays: it is graded and not left out."""
    return sample.reward.graded and not bool(np.isnan(weight))


class _Sequence(NamedTuple):
    group: int
    sample: int
    num_prompt: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]  # () for a given reply.
    weight: float


def _sequences(groups: Sequence[RolloutGroup], weights: np.ndarray, share) -> list[_Sequence]:
    return [
        _Sequence(
            index,
            number,
            len(groups[index].prompt),
            groups[index].prompt + sample.completion.tokens,
            () if sample.given else sample.completion.logprobs,
            weights[index, number],
        )
        for index in share
        for number, sample in enumerate(groups[index].samples)
        if is_trained(sample, weights[index, number])
    ]


def _fill(batch: list[_Sequence], layout: Layout) -> Packed:
    shape = (layout.num_rows, layout.row_length)
    whole = {name: np.zeros(shape, np.int32) for name in ("tokens", "positions", "segment_ids")}
    real = ("loss_mask", "advantages", "sampler_logprobs", "sampled")
    arrays = whole | {name: np.zeros(shape, np.float32) for name in real}
    # First fit with the longest sequence first uses at most 11/9 of the rows of the best packing, plus one.
    longest_first = sorted(batch, key=lambda sequence: -len(sequence.tokens))
    lengths = [len(sequence.tokens) for sequence in longest_first]
    places = []
    for number, members in enumerate(first_fit(lengths, layout.row_length)):
        # The micro-batches are filled one after another; those that stay empty are skipped on the devices.
        row, start = layout.place_of(number), 0
        for segment, index in enumerate(members, start=1):
            sequence, stop = longest_first[index], start + lengths[index]
            arrays["tokens"][row, start:stop] = sequence.tokens
            arrays["positions"][row, start:stop] = np.arange(lengths[index])
            arrays["segment_ids"][row, start:stop] = segment
            reply = slice(start + sequence.num_prompt, stop)
            # Prompt tokens in a row are only context: they have no loss and no advantage.
            arrays["loss_mask"][row, reply] = 1.0
            arrays["advantages"][row, reply] = sequence.weight
            # A given reply was not sampled, so there is no sampler probability to correct for.
            if sequence.logprobs:
                arrays["sampler_logprobs"][row, reply] = sequence.logprobs
                arrays["sampled"][row, reply] = 1.0
            places.append(ReplySpan(sequence.group, sequence.sample, row, reply.start, stop))
            start = stop
    micro_batch = np.arange(layout.num_rows, dtype=np.int32) % layout.num_micro_batches
    rollouts = Rollouts(**arrays, old_logprobs=None, ref_logprobs=None, micro_batch=micro_batch)
    return Packed(rollouts, tuple(places))


def rollout_lines(
    groups: Sequence[RolloutGroup], weights: Float[np.ndarray, "P G"], trained: Sequence[bool]
) -> list[dict[str, Any]]:
    """Returns the rows of `rollouts/<step>.jsonl`, one for every reply of the step (see docs/rl.md)."""
    return [
        {
            "id": group.example.id,
            "batch": group.batch,
            "sample": sample.completion.sample,
            "prompt": prompt_text(group.example),
            "prompt_tokens": list(group.prompt),
            "completion": sample.text,
            "tokens": list(sample.completion.tokens),
            "answer": group.example.answer,
            "extracted": sample.reward.extracted,
            "reward": sample.reward.total if sample.reward.graded else None,
            "terms": sample.reward.terms,
            "scores": sample.reward.scores,
            "advantage": None if np.isnan(weight) else float(weight),
            "trained": bool(used) and is_trained(sample, weight),
            "finish_reason": sample.completion.finish_reason,
            "error": sample.reward.error,
        }
        | ({} if group.staleness is None or sample.given else {"staleness": group.staleness})
        for group, row, used in zip(groups, weights, trained, strict=True)
        # A group may have fewer replies.
        for sample, weight in zip(group.samples, row, strict=False)
    ]
