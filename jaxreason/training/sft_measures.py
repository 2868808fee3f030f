"""What SFT measures beside its loss: a benchmark, the distance from the base, and the FLOPs of a step."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxreason.data.batches import TokenBatch
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.decoder import Model
from jaxreason.models.model_flops import training_flops, weight_products
from jaxreason.training.base_kl import BaseKL
from jaxreason.training.recorder import Recorder
from jaxreason.validation import Validation


class Looks:
    """What is looked at between steps; it goes into the line of the step before.

    Args:
      validation: of the run.
      base_kl: of the run.
      recorder: of its metrics.
      model: that is trained.
      tokenizer: the run's.
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
        """Looks, if that is due after this step; its time is none of the steps'."""
        if not (self._validation.due(step) or self._base_kl.due(step)):
            return False
        jax.block_until_ready(params)
        began = time.perf_counter()
        found = self._base_kl.measure(step, params)
        asked = self._validation.measure(step, self._model, params, self._tokenizer, None)
        self._recorder.note(step, found | (asked or {}), time.perf_counter() - began)
        return True


def prompts_of(sequences: Sequence[tuple[list[int], list[int]]]) -> list[tuple[int, ...]]:
    """What stands before the first target token of each sequence that has one."""
    return [tuple(tokens[: mask.index(1)]) for tokens, mask in sequences if 1 in mask]


def make_flops_of(model: Model, params: Any) -> Callable[[TokenBatch], float]:
    """The FLOPs of training on rows, by the lengths of the sequences in them."""
    number = weight_products(params, model.architecture.tie_word_embeddings)

    def flops_of(rows: TokenBatch) -> float:
        lengths = [np.bincount(row)[1:] for row in rows.segment_ids]
        return training_flops(model.architecture, number, np.concatenate(lengths))

    return flops_of
