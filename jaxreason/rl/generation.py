"""The replies of a step: asked for, graded, and asked for again where a group taught nothing."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.rl.advantages import mixed_groups
from jaxreason.rl.prompts import Prompt, Questions, requests
from jaxreason.rl.recipe import RLConfig
from jaxreason.rl.rewards import reward_replies
from jaxreason.rl.rollouts import Group, Sample, group_rewards
from jaxreason.sampling.engine import Completion, Engine
from jaxreason.tasks.verify import VerifierPool

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """Everything that a step generated.

    Attributes:
      groups: in the order in which they were asked for.
      trained: which of them the step trains on.
      num_batches: generation batches.
      seconds: spent on generating and on grading, by name.
    """

    groups: list[Group]
    trained: list[bool]
    num_batches: int
    seconds: dict[str, float]


class _StoppedError(Exception):
    """Raised through the engine when a signal came."""


class Collector:
    """Asks the questions of a step.

    Args:
      config: of the run.
      engine: holds the current parameters.
      pool: grades the replies.
      questions: which belong to which step.
      tokenizer: for the text that graders read.
      stops: `Interrupt.requested`; asked at each block of decoding, by all processes.
    """

    def __init__(
        self,
        config: RLConfig,
        engine: Engine,
        pool: VerifierPool,
        questions: Questions,
        tokenizer: Tokenizer,
        stops: Callable[[], bool],
    ):
        self._config, self._engine, self._pool = config, engine, pool
        self._questions, self._tokenizer, self._stops = questions, tokenizer, stops

    def collect(self, step: int) -> Collected | None:
        """The groups of a step (counted from 0); at most `prompts_per_step` are trained on.

        None when a signal came meanwhile.

        Raises:
          RuntimeError: not one reply could be graded.
        """
        groups: list[Group] = []
        seconds = {"generate_seconds": 0.0, "grade_seconds": 0.0}
        for number in range(self._config.dynamic_sampling.max_batches):
            prompts = self._questions.batch(step, number)
            began = time.perf_counter()
            replies = self._generate(step, number, prompts)
            if replies is None:
                return None
            generated = time.perf_counter()
            groups += self._grade(number, prompts, replies)
            seconds["generate_seconds"] += generated - began
            seconds["grade_seconds"] += time.perf_counter() - generated
            useful = self._useful(groups)
            if useful.sum() >= self._config.prompts_per_step:
                break
        trained = useful & (np.cumsum(useful) <= self._config.prompts_per_step)
        _report_errors(step, groups)
        return Collected(groups, trained.tolist(), number + 1, seconds)

    def _generate(
        self, step: int, number: int, prompts: Sequence[Prompt]
    ) -> list[tuple[Completion, str]] | None:
        """Replies with their text, G for every prompt, in order."""
        seed, size = self._questions.seed, self._config.group_size
        wanted = requests(prompts, seed, step, number, size)
        replies = {}
        decoding = self._config.decoding
        try:
            for completion in self._engine.generate(wanted, decoding, check=self._check):
                text = self._tokenizer.decode(completion.tokens)
                replies[int(completion.id), completion.sample] = completion, text
        except _StoppedError:
            return None
        return [replies[key] for key in sorted(replies)]

    def _check(self) -> None:
        if self._stops():
            raise _StoppedError

    def _grade(
        self, number: int, prompts: Sequence[Prompt], replies: Sequence[tuple[Completion, str]]
    ) -> list[Group]:
        size = self._config.group_size
        examples = [prompt.example for prompt in prompts for _ in range(size)]
        items = [(e, text, done) for e, (done, text) in zip(examples, replies, strict=True)]
        most = self._config.decoding.max_tokens
        rewards = reward_replies(self._pool, items, self._config.rewards, most)
        samples = [
            Sample(completion, text, reward)
            for (completion, text), reward in zip(replies, rewards, strict=True)
        ]
        return [
            Group(number, prompt.example, prompt.tokens, tuple(samples[i * size : (i + 1) * size]))
            for i, prompt in enumerate(prompts)
        ]

    def _useful(self, groups: Sequence[Group]) -> np.ndarray:
        if not self._config.dynamic_sampling.drop_equal:
            return np.ones(len(groups), bool)
        return mixed_groups(group_rewards(groups))


def describe(collected: Collected) -> dict[str, float]:
    """What a step's replies were like: the metrics that need no model.

    Means over graded replies where they are about rewards; over all replies otherwise.
    """
    samples = [sample for group in collected.groups for sample in group.samples]
    graded = [sample.reward for sample in samples if sample.reward.graded]
    lengths = [len(sample.completion.tokens) for sample in samples]
    cut = [sample.completion.finish_reason == "length" for sample in samples]
    terms = {name for reward in graded for name in reward.terms}
    return {
        "reward": _mean([reward.total for reward in graded]),
        **{name: _mean([reward.terms[name] for reward in graded]) for name in sorted(terms)},
        "response_tokens": _mean(lengths),
        "truncated": _mean(cut),
        "groups_equal": 1.0 - _mean(mixed_groups(group_rewards(collected.groups))),
        "groups_dropped": 1.0 - _mean(collected.trained),
        "groups_trained": float(sum(collected.trained)),
        "generation_batches": float(collected.num_batches),
        "ungraded": float(len(samples) - len(graded)),
        "failed_as_wrong": float(sum(reward.error is not None for reward in graded)),
    } | collected.seconds


def _mean(values: Sequence[float] | Float[np.ndarray, "N"]) -> float:
    return float(np.mean(values))


def _report_errors(step: int, groups: Sequence[Group]) -> None:
    errors = [s.reward.error for g in groups for s in g.samples if s.reward.error is not None]
    if len(errors) == sum(len(group.samples) for group in groups):
        raise RuntimeError(f"step {step + 1}: no reply could be graded, first: {errors[0]}")
    if errors:
        _LOG.warning(
            "step %d: grading %d replies failed, first: %s", step + 1, len(errors), errors[0]
        )
