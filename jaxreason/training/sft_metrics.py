"""The measurements of SFT: those of its steps, and the evaluations between two steps.

Numbers stay on the devices until they are written, so that no step waits for them.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxreason.data.batches import TokenBatch
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.architecture import Model
from jaxreason.models.model_flops import training_flops, utilization, weight_products
from jaxreason.results.run_status import at_hosts
from jaxreason.tracking.metric_logger import MetricsWriter
from jaxreason.training.base_kl import BaseKL
from jaxreason.training.optimizer import Schedule
from jaxreason.training.train_step import NOT_FINITE
from jaxreason.validation import Validation


class Recorder:
    """Collects the measurements of steps; `flush` fetches, checks and writes them, one line per step.

    Args:
      metrics: where to write.
      schedule: the learning rate as a function of the number of updates made before.
      num_steps: steps of the whole run.
      epochs: passes over the data after a number of steps.
      every: steps between two flushes that `due` asks for.
      check: called with each step (from 1) and its measurements; it ends the run if a number is not finite.
      peak: FLOP/s of all devices; None if that is not known, and then there is no MFU.
    """

    def __init__(
        self,
        metrics: MetricsWriter,
        schedule: Schedule,
        num_steps: int,
        epochs: Callable[[int], float],
        every: int,
        check: Callable[[int, dict[str, Any]], None],
        peak: float | None = None,
    ):
        self._peak, self._check = peak, check
        self._metrics, self._schedule = metrics, jax.jit(schedule)
        self._num_steps, self._epochs, self._every = num_steps, epochs, every
        self._pending: list[tuple[int, dict[str, jax.Array], int, float]] = []
        self._more: dict[int, dict[str, float]] = {}
        self._first: int | None = None
        self._since = time.perf_counter()

    def add(
        self,
        step: int,
        measurements: dict[str, jax.Array],
        num_tokens: int,
        flops: float = 0.0,
    ) -> None:
        """Stores the measurements of step `step` (from 1), its number of tokens and its FLOPs for the next flush."""
        self._first = step if self._first is None else self._first
        self._pending.append((step, measurements, num_tokens, flops))

    def note(self, step: int, values: dict[str, float], seconds: float) -> None:
        """Adds numbers to the line of a pending step; `seconds` of work for them do not count as time of steps."""
        self._more[step] = values
        self._since += seconds

    def due(self, step: int) -> bool:
        """Whether to flush now. After the first step always: the user sees at once that the run learns, and what only
        the first step waits for is not averaged in.
        """
        return step == self._first or step % self._every == 0 or step == self._num_steps

    def flush(self) -> None:
        """Writes all pending lines.

        Raises:
          NotFiniteStepError: at the first step with a number that is not finite. The lines before it are written.
        """
        if not self._pending:
            return
        asked = time.perf_counter()
        fetched = jax.device_get([measured for _, measured, _, _ in self._pending])
        now = time.perf_counter()
        seconds = (now - self._since) / len(self._pending)
        _compare_hosts((asked - self._since) / len(self._pending))
        for (step, _, num_tokens, flops), values in zip(self._pending, fetched, strict=True):
            values = values | self._more.pop(step, {})
            self._check(step, values)
            values.pop(NOT_FINITE, None)
            derived = self._derived(step, num_tokens, seconds)
            self._metrics.write(step, values | derived | utilization(flops, seconds, self._peak))
        self._metrics.flush()
        self._pending, self._since = [], now

    def _derived(self, step: int, num_tokens: int, seconds: float) -> dict[str, Any]:
        return {
            "learning_rate": float(self._schedule(step - 1)),
            "epoch": self._epochs(step),
            "step_seconds": seconds,
            "tokens_per_second": num_tokens / seconds,
        }


def _compare_hosts(seconds: float) -> None:
    """Tells the status which of several processes takes longest by itself; all call it at the same step.

    Devices wait for each other, so a slow host shows only in the time that each host works before it waits.
    """
    if jax.process_count() > 1:
        every = multihost_utils.process_allgather(np.float32(seconds))
        at_hosts([round(float(value), 4) for value in every])


class BetweenSteps:
    """Runs validation and the KL from the base between two steps; their numbers go into the line of the step before.

    Args:
      validation: validation of the run.
      base_kl: KL measurement of the run.
      recorder: recorder of the run's metrics.
      model: the model that is trained.
      tokenizer: the run's tokenizer.
    """

    def __init__(
        self,
        validation: Validation,
        base_kl: BaseKL,
        recorder: Recorder,
        model: Model,
        tokenizer: Tokenizer,
    ):
        self._validation, self._base_kl, self._recorder = validation, base_kl, recorder
        self._model, self._tokenizer = model, tokenizer

    def after(self, step: int, params: Any) -> bool:
        """Evaluates, if that is due after this step; the time is not counted as time of the
        steps. False after a signal.
        """
        if not (self._validation.due(step) or self._base_kl.due(step)):
            return False
        jax.block_until_ready(params)
        began = time.perf_counter()
        found = self._base_kl.measure(step, params)
        asked = self._validation.measure(step, self._model, params, self._tokenizer, None)
        self._recorder.note(step, found | (asked or {}), time.perf_counter() - began)
        return True


def make_flops_of(model: Model, params: Any) -> Callable[[TokenBatch], float]:
    """Returns a function that counts the FLOPs of training on rows, from the lengths of their sequences."""
    number = weight_products(params, model.architecture.tie_word_embeddings)

    def flops_of(rows: TokenBatch) -> float:
        lengths = [np.bincount(row)[1:] for row in rows.segment_ids]
        return training_flops(model.architecture, number, np.concatenate(lengths))

    return flops_of
