"""Bytes that stages leave on the disk."""

import math
from typing import Any

import jax
import numpy as np

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_axes
from jaxreason.plan.on_paper import num_parameters
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.state import wide

TOKEN_BYTES = (
    11  # of a token in a line of samples or rollouts: its id in digits with a comma, and its text
)
LINE_BYTES = 1000  # of the line's other fields, and of its grades


def lines_bytes(replies: float, prompt: float, reply: float) -> float:
    """Of so many replies in files of samples or rollouts, of mean lengths in tokens."""
    return replies * (LINE_BYTES + TOKEN_BYTES * (prompt + reply))


def checkpoint_bytes(model: Model, optimizer: OptimizerConfig) -> int:
    """Of one training state: parameters and the optimizer's, as they are kept."""
    made = make_optimizer(optimizer, 10**6, param_axes(model))
    params = abstract_params(model)
    return _bytes(params) + _bytes(jax.eval_shape(lambda p: made.init(wide(p)), params))


def checkpoints_bytes(
    model: Model, optimizer: OptimizerConfig, steps: int, every: int, keep: int
) -> int:
    """Of those that a run of so many steps has at its end; while the newest is written there is one more.

    `every` 0 writes one at the end alone.
    """
    made = math.ceil(steps / every) if every else 1
    return checkpoint_bytes(model, optimizer) * (min(keep, made) if keep else made)


def exported_bytes(model: Model, dtype: str) -> int:
    """Of the weights of an exported folder."""
    return num_parameters(model) * np.dtype(dtype).itemsize


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
