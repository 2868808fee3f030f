"""Collects the replies of a step: samples them or takes them from the question's row, and grades them.

If groups teach nothing, further batches are generated.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.rl.advantages import mixed_groups, reply_weights, scaled
from jaxreason.rl.prompts import PromptFeed, TrainingPrompt, draw_given, requests
from jaxreason.rl.rewards import PendingRewards
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import GIVEN, RolloutGroup, Sample, group_rewards, group_scores
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Completion
from jaxreason.sampling.stopping import before_stop
from jaxreason.tasks.reply_text import reopened
from jaxreason.tasks.verify import VerifierPool
from jaxreason.validation import StoppedError

_LOG = logging.getLogger(__name__)
UNPARSED = 0.9  # If this share of a step's replies or more has no answer, a message says so.


PromptReplies = list[list[tuple[Completion, str]]]  # For each prompt, the replies with their text.


class UngradedReplies(NamedTuple):
    """The replies to the first generation batch of a step, before grading.

    Attributes:
      replies: the replies to each prompt, sampled ones first.
      staleness: see `rollouts.RolloutGroup`.
    """

    replies: PromptReplies
    staleness: int | None


@dataclass(frozen=True)
class Collected:
    """Everything that a step generated.

    Attributes:
      groups: in the order in which they were asked for.
      trained: which of them the step trains on.
      weights: of their replies, before any KL term; NaN for a reply that is left out.
      num_batches: number of generation batches.
      seconds: seconds spent on generating and on waiting for grades, by phase.
      graded_seconds: seconds that grading took on process 0, including those beside other work.
      host_seconds: the seconds of generating in which the devices waited for the host.
    """

    groups: list[RolloutGroup]
    trained: list[bool]
    weights: Float[np.ndarray, "P G"]
    num_batches: int
    seconds: dict[str, float]
    graded_seconds: float = 0.0
    host_seconds: float = 0.0

    @property
    def trained_groups(self) -> list[RolloutGroup]:
        """The groups that the step trains on."""
        return [g for g, used in zip(self.groups, self.trained, strict=True) if used]


class Collector:
    """Generates and grades the replies to the questions of a step.

    Args:
      config: the recipe's section.
      engine: holds the parameters to sample from; None if all replies are given.
      pool: grades the replies.
      questions: tells which questions belong to which step.
      tokenizer: decodes the text that graders read.
      stops: `Interrupt.requested`; called at each block of decoding, by all processes.
    """

    def __init__(
        self,
        config: RLConfig,
        engine: Engine | None,
        pool: VerifierPool,
        questions: PromptFeed,
        tokenizer: Tokenizer,
        stops: Callable[[], bool],
    ):
        self._config, self._engine, self._pool = config, engine, pool
        self._questions, self._tokenizer, self._stops = questions, tokenizer, stops
        self._waiting: dict[int, UngradedReplies] = {}

    def waiting(self, step: int) -> UngradedReplies | None:
        """Returns the replies that were sampled ahead for a step (counted from 0) and are not yet trained on."""
        return self._waiting.get(step)

    def take_up(self, step: int, waiting: UngradedReplies) -> None:
        """Makes a step begin with the replies that an earlier run sampled for it."""
        self._add_given(step, 0, self._questions.batch(step, 0), waiting.replies)
        self._waiting[step] = waiting

    def collect(self, step: int) -> Collected | None:
        """Returns the groups of a step (counted from 0); at most `prompts_per_step` are
        trained on. None after a signal.

        Raises:
          UserError: the share of replies without a reward is above `rewards.max_ungraded`.
          RuntimeError: grading failed for every reply.
        """
        groups: list[RolloutGroup] = []
        seconds, graded = {"generate": 0.0, "grade": 0.0}, 0.0
        waited = self._host_seconds()
        for number in range(self._config.dynamic_sampling.max_batches):
            began = time.perf_counter()
            found = self._replies(step, number)
            if found is None:
                return None
            # With staleness, the next step's replies are sampled while these are graded. They come from the weights
            # that this step begins with: one step older than those that will learn from them. Only the first batch of a
            # step is sampled ahead, since only the grades of its groups tell whether more batches are needed.
            ahead = number == 0 and self._config.staleness > 0
            grading = self._begin_grading(step, number, found.replies, beside=ahead)
            if ahead and not self._sample_ahead(step, found):
                return None
            generated = time.perf_counter()
            groups += self._groups(step, number, found, grading)
            seconds["generate"] += generated - began
            seconds["grade"] += time.perf_counter() - generated
            graded += grading.seconds
            rewards = group_rewards(groups)
            weights = weigh(self._config, groups, rewards)
            # A reply without a grade is not trained on, whatever its weight: an advantage gives it 0.
            useful = self._useful(groups) & ~np.isnan(weights + rewards).all(axis=1)
            if useful.sum() >= self._config.prompts_per_step:
                break
        # Train on the first useful groups in the order of asking, so that the choice depends on nothing else.
        trained = useful & (np.cumsum(useful) <= self._config.prompts_per_step)
        report_errors(step, groups, self._config.rewards.max_ungraded)
        if not trained.any():
            _LOG.warning("step %d: nothing to learn: %s", step + 1, _why_nothing(groups))
        waited = self._host_seconds() - waited
        return Collected(groups, trained.tolist(), weights, number + 1, seconds, graded, waited)

    def _host_seconds(self) -> float:
        return 0.0 if self._engine is None else self._engine.stats.host_seconds

    def _replies(self, step: int, number: int) -> UngradedReplies | None:
        """Returns the replies of a generation batch, sampling them if they are not there yet; None after a signal."""
        if number == 0 and step in self._waiting:
            return self._waiting[step]
        replies = self._generate(step, number)
        if replies is None:
            return None
        return UngradedReplies(replies, 0 if self._config.staleness else None)

    def _sample_ahead(self, step: int, found: UngradedReplies) -> bool:
        """Samples for the next step, from the weights that this step begins with; False after a signal."""
        self._waiting = {step: found}
        if step + 1 < self._config.num_steps:
            replies = self._generate(step + 1, 0)
            if replies is None:
                return False
            self._waiting[step + 1] = UngradedReplies(replies, 1)
        return True

    def _generate(self, step: int, number: int) -> PromptReplies | None:
        """Returns the replies to each prompt, sampled ones first; None after a signal."""
        prompts = self._questions.batch(step, number)
        replies: PromptReplies = [[] for _ in prompts]
        if self._config.sampled and not self._sample(step, number, prompts, replies):
            return None
        if not self._config.sampled and self._stops():
            return None
        self._add_given(step, number, prompts, replies)
        return replies

    def _add_given(
        self, step: int, number: int, prompts: Sequence[TrainingPrompt], replies: PromptReplies
    ) -> None:
        seed, num = self._questions.seed, self._config.samples.given
        for index, (prompt, found) in enumerate(zip(prompts, replies, strict=True)):
            for given in draw_given(prompt, num, seed, step, number, index) if num else ():
                tokens = tuple(given.tokens.tolist())
                completion = Completion(str(index), len(found), tokens, (), GIVEN)
                found.append((completion, given.text))

    def _sample(
        self, step: int, number: int, prompts: Sequence[TrainingPrompt], replies: PromptReplies
    ) -> bool:
        """Adds the engine's replies, in the order of the samples; False after a signal."""
        seed, size = self._questions.seed, self._config.sampled
        wanted = requests(prompts, seed, step, number, size)
        decoding = self._config.decoding
        try:
            for completion in self._engine.generate(wanted, decoding, check=self._check):
                text = before_stop(completion.tokens, decoding.stop, self._tokenizer.decode)
                replies[int(completion.id)].append((completion, text))
        except StoppedError:
            return False
        for found in replies:
            found.sort(key=lambda reply: reply[0].sample)
        return True

    def _check(self) -> None:
        if self._stops():
            raise StoppedError

    def _begin_grading(
        self, step: int, number: int, replies: PromptReplies, beside: bool
    ) -> PendingRewards:
        prompts = self._questions.batch(step, number)
        items = [
            (prompt.example, self._graded_text(prompt, text), completion)
            for prompt, found in zip(prompts, replies, strict=True)
            for completion, text in found
        ]
        return PendingRewards(self._pool, items, beside)

    def _graded_text(self, prompt: TrainingPrompt, text: str) -> str:
        opened = self._tokenizer.opens_thought(prompt.tokens)
        return reopened(text, prompt.example.task) if opened else text

    def _groups(
        self, step: int, number: int, found: UngradedReplies, grading: PendingRewards
    ) -> list[RolloutGroup]:
        prompts, config = self._questions.batch(step, number), self._config
        rewards = iter(grading.rewards(config.rewards, config.decoding.max_tokens))
        return [
            RolloutGroup(
                number,
                prompt.example,
                prompt.tokens,
                tuple(Sample(completion, text, next(rewards)) for completion, text in replies),
                found.staleness,
            )
            for prompt, replies in zip(prompts, found.replies, strict=True)
        ]

    def _useful(self, groups: Sequence[RolloutGroup]) -> np.ndarray:
        sampling = self._config.dynamic_sampling
        if not sampling.drop_equal:
            return np.ones(len(groups), bool)
        return mixed_groups(MUST_DIFFER[sampling.metric](groups))


# Metric -> the values that must differ between a group's replies, so that the group teaches something.
MUST_DIFFER = {"correct": group_scores, "reward": group_rewards}


def weigh(
    config: RLConfig, groups: Sequence[RolloutGroup], rewards: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """Returns the weights of the groups' replies for these rewards; NaN for a reply that is left out."""
    weights = reply_weights(config.advantage, rewards, group_scores(groups))
    return scaled(weights, config.negatives)


def _why_nothing(groups: Sequence[RolloutGroup]) -> str:
    """Describes what all replies have in common."""
    rewards, scores = group_rewards(groups), group_scores(groups)
    graded = ~np.isnan(scores)
    right = graded.any(axis=1) & (~graded | (scores >= 1.0)).all(axis=1)
    wrong = graded.any(axis=1) & (~graded | (scores <= 0.0)).all(axis=1)
    return (
        f"of {len(groups)} groups all replies are right in {right.sum()}, wrong in {wrong.sum()}, "
        f"and the mean reward is {np.nanmean(rewards):.3g}. The weights stay as they are."
    )


def report_errors(step: int, groups: Sequence[RolloutGroup], most: float) -> None:
    """Logs how many replies of a step (counted from 0) could not be graded, and whether most have no readable answer.

    Raises:
      UserError: the share of replies without a reward is above `most`.
      RuntimeError: grading failed for every reply.
    """
    rewards = [sample.reward for group in groups for sample in group.samples]
    errors = [reward.error for reward in rewards if reward.error is not None]
    if len(errors) == len(rewards):
        raise RuntimeError(f"step {step + 1}: no reply could be graded, first: {errors[0]}")
    missing = [reward.error for reward in rewards if not reward.graded]
    if len(missing) > most * len(rewards):
        raise UserError(
            f"step {step + 1}: {len(missing)} of {len(rewards)} replies have no reward, more than "
            f"rl.rewards.max_ungraded={most:g} of them; first: {missing[0]}. Expected gold answers that the dataset's "
            "task can read."
        )
    if errors:
        _LOG.warning(
            "step %d: grading %d replies failed, first: %s", step + 1, len(errors), errors[0]
        )
    unparsed = sum(reward.extracted is None for reward in rewards if reward.graded)
    if unparsed > UNPARSED * len(rewards):
        _LOG.warning(
            "step %d: no answer was found in %d of %d replies; does the prompt ask for the form that the task reads?",
            step + 1,
            unparsed,
            len(rewards),
        )
