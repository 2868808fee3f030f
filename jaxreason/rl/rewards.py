"""Rewards of replies: was it right, was it too long; a total and what it is made of.

A reply whose grading ran out of time, crashed or raised counts as wrong: what a model can write to stop its grader must
not be better than a wrong answer. Where the fault is not the reply's (the sampler could not finish it, the question has
no usable gold answer, the score is no number) there is no reward (NaN), and the reply is left out of the loss and of
its group's mean. Either way the error is named and counted.
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
NOT_ITS_FAULT = ("sampler", "UserError", NOT_FINITE)  # how such errors begin
SLOW_LIMITS = 4  # time limits' worth of slow replies that a worker takes in a round


@dataclass(frozen=True)
class RewardConfig:
    """Fields of a recipe's `rewards` section."""

    num_workers: Annotated[int, at_least(1), FREE] = 2
    """Verifier processes."""
    timeout_s: Annotated[float, above(0), FREE] = (
        20.0  # of the machine: a verdict is the same whenever it comes
    )
    """Seconds that grading one reply may take."""
    overlong_buffer: Annotated[int, at_least(0), LEARNED] = 0
    """Tokens before the limit in which the punishment grows; 0 = off."""
    overlong_penalty: Annotated[float, at_least(0), LEARNED] = 0.0
    """The punishment of a reply that fills the limit."""
    right: Annotated[float, LEARNED] = 1.0
    """The reward of a right reply; one that is partly right earns its share of the way from `wrong`."""
    wrong: Annotated[float, LEARNED] = 0.0
    """The reward of a wrong reply. DAPO's scripts give +1 and -1, beside which a penalty of 1 weighs half as much
    as beside 1 and 0.
    """
    max_ungraded: Annotated[float, within(0, 1), LEARNED] = 0.5
    """Share of a step's replies that may be without a reward, before the run is stopped."""


@dataclass(frozen=True)
class Reward:
    """The reward of a reply and its parts.

    Attributes:
      total: sum of `terms`; NaN when the reply was not graded.
      terms: what the total is made of, by name (`answer`, and `overlong` if it is on); empty when
        the reply was not graded.
      scores: everything the task measured.
      extracted: the answer that was found in the reply.
      error: why grading failed, or None.
      correct: the task's own score, 0 (wrong) to 1 (right), of which `answer` is made; NaN when not graded.
    """

    total: float
    terms: dict[str, float]
    scores: dict[str, float]
    extracted: str | None
    error: str | None
    correct: float = NOT_GRADED

    @property
    def graded(self) -> bool:
        """Whether there is a reward; a reply that counts as wrong for its error has one."""
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
    """Replies that are being graded. Every process makes one, and asks for the rewards at the same place.

    Process 0 grades and tells the others, so that a grader that is slow on one machine cannot make them disagree.

    Args:
      pool: of graders; process 0 alone uses it.
      items: (question, text, reply), the same on all processes.
      beside: grading begins at once, in a thread, while the caller does something else; else when it is asked for.
    """

    def __init__(
        self,
        pool: VerifierPool,
        items: Sequence[tuple[Example, str, Completion]],
        beside: bool = False,
    ):
        self._items, self.seconds = items, 0.0  # seconds that the graders took
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
        """Waits for all of them; in the order of the items, the same on all processes."""
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
    """Verdicts in the order of the items; a reply that the sampler could not finish is an error."""
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
