"""The rewards of replies: a total, and its terms for a right answer and for a reply that is too long.

If grading a reply takes too long, crashes or raises, the reply counts as wrong: nothing that a model can write to stop
its grader may be better than a wrong answer. If the reply is not at fault, there is no reward (NaN): the sampler could
not finish it, the question has no usable gold answer, or the score is not a number. Such a reply is left out of the
loss and of its group's mean. In both cases the error is named and counted.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Annotated

import jax

from jaxreason.config import FREE, LEARNED, above, at_least, within
from jaxreason.data.examples import Example
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sampling.sampling_params import Completion
from jaxreason.tasks.registry import find_task
from jaxreason.tasks.verify import Verdict, VerifierPool

NOT_GRADED = float("nan")
NOT_FINITE = "not finite:"
# Beginnings of errors that are not the reply's fault.
NOT_ITS_FAULT = ("sampler", "UserError", NOT_FINITE)
SLOW_LIMITS = 4  # Slow replies that a worker grades in a round, as a multiple of the time limit.


@dataclass(frozen=True)
class RewardConfig:
    """The `rewards` section of a recipe."""

    num_workers: Annotated[int, at_least(1), FREE] = 2
    """Verifier processes."""
    # It depends on the machine; a verdict is the same whenever it arrives.
    timeout_s: Annotated[float, above(0), FREE] = 20.0
    """Seconds that grading one reply may take."""
    overlong_buffer: Annotated[int, at_least(0), LEARNED] = 0
    """The number of tokens before the limit over which the penalty grows; 0 = off."""
    overlong_penalty: Annotated[float, at_least(0), LEARNED] = 0.0
    """The penalty of a reply that reaches the limit; not read while `overlong_buffer` is 0."""
    right: Annotated[float, LEARNED] = 1.0
    """The reward of a right reply. A partly right one gets the same part of the way from `wrong` to `right`."""
    wrong: Annotated[float, LEARNED] = 0.0
    """The reward of a wrong reply. DAPO's scripts use +1 and -1; a penalty of 1 weighs half as
    much there as with 1 and 0.
    """
    max_ungraded: Annotated[float, within(0, 1), LEARNED] = 0.5
    """The largest share of a step's replies that may have no reward; above it the run stops."""


@dataclass(frozen=True)
class Reward:
    """The reward of a reply and its terms.

    Attributes:
      total: sum of `terms`; NaN if the reply was not graded.
      terms: terms of the total by name (`answer`, and `overlong` if it is on); empty if the reply was not graded.
      scores: everything that the task measured.
      extracted: the answer that was found in the reply.
      error: why grading failed, or None.
      correct: the task's own score, 0 (wrong) to 1 (right), from which `answer` is made; NaN if not graded.
    """

    total: float
    terms: dict[str, float]
    scores: dict[str, float]
    extracted: str | None
    error: str | None
    correct: float = NOT_GRADED

    @property
    def graded(self) -> bool:
        """Whether there is a reward. A reply that counts as wrong because of its error has one."""
        return bool(self.terms)


def overlong_punishment(num_tokens: int, max_tokens: int, buffer: int, penalty: float) -> float:
    """0 up to `max_tokens - buffer`, then linearly down to `-penalty` at `max_tokens`.

    Source: Yu et al. 2025 (DAPO, 2503.14476), equation 13; its `L_max` is `max_tokens`.
    """
    if buffer == 0:
        return 0.0
    excess = (num_tokens - (max_tokens - buffer)) / buffer
    return -penalty * min(max(excess, 0.0), 1.0)


class PendingRewards:
    """Replies that are being graded. Every process makes one, and all call `rewards` at the same place.

    Process 0 grades and tells the others, so a grader that is slow on one machine cannot make them disagree.

    Args:
      pool: the graders; only process 0 uses them.
      items: (question, text, reply), the same on all processes.
      beside: whether grading begins at once, in a thread, while the caller does other work. Otherwise it begins when
        the rewards are asked for.
    """

    def __init__(
        self,
        pool: VerifierPool,
        items: Sequence[tuple[Example, str, Completion]],
        beside: bool = False,
    ):
        self._items, self.seconds = items, 0.0  # Seconds that the graders took.
        self._verdicts: Callable[[], list[Verdict]] = lambda: self._grade(pool)
        if beside and jax.process_index() == 0:
            with_thread = ThreadPoolExecutor(1, "grading")
            self._verdicts = with_thread.submit(self._grade, pool).result
            with_thread.shutdown(wait=False)

    def _grade(self, pool: VerifierPool) -> list[Verdict]:
        began = time.perf_counter()
        try:
            return _grade(pool, self._items)
        finally:
            self.seconds = time.perf_counter() - began

    def rewards(self, config: RewardConfig, max_tokens: int) -> list[Reward]:
        """Waits for all rewards; they are in the order of the items and the same on all processes."""
        rows = on_process_zero(lambda: [asdict(verdict) for verdict in self._verdicts()])
        return [
            _reward(example, completion, Verdict(**row), config, max_tokens)
            for (example, _, completion), row in zip(self._items, rows, strict=True)
        ]


def _reward(
    example: Example,
    completion: Completion,
    verdict: Verdict,
    config: RewardConfig,
    max_tokens: int,
) -> Reward:
    correct = verdict.scores.get(find_task(example.task).primary, 0.0)
    error = verdict.error
    if not math.isfinite(correct):
        error = f"{NOT_FINITE} score of task {example.task}: {correct}"
    if error is not None and error.startswith(NOT_ITS_FAULT):
        return Reward(NOT_GRADED, {}, {}, None, error)
    terms = {"answer": config.wrong + (config.right - config.wrong) * correct}
    if config.overlong_buffer:
        terms["overlong"] = overlong_punishment(
            len(completion.tokens), max_tokens, config.overlong_buffer, config.overlong_penalty
        )
    total = sum(terms.values())
    return Reward(total, terms, verdict.scores, verdict.extracted, error, correct)


def _grade(pool: VerifierPool, items: Sequence[tuple[Example, str, Completion]]) -> list[Verdict]:
    """Returns verdicts in the order of the items; a reply that the sampler could not finish is an error."""
    budget_s = SLOW_LIMITS * pool.timeout_s
    verdicts: dict[int, Verdict] = {}
    by_task: dict[str, list[int]] = {}
    for index, (example, _, completion) in enumerate(items):
        if completion.finish_reason.startswith("error"):
            verdicts[index] = Verdict({}, None, f"sampler {completion.finish_reason}")
        else:
            by_task.setdefault(example.task, []).append(index)
    for task, indices in by_task.items():
        graded = pool.score(task, [items[index][:2] for index in indices], budget_s)
        verdicts.update(zip(indices, graded, strict=True))
    return [verdicts[index] for index in range(len(items))]
