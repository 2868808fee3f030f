"""The RL update beside the SFT step, on the same replies: packed into rows there, one in each row here.

    python scripts/bench.py update --size 1.7b --dtype bfloat16 --attention cudnn --remat weight_dots_attention \\
        --unroll 28 --rows 22 --length 2048 --packed 11 --chunk 1024

Both have `rows` replies of `length` tokens and the same number of tokens in a micro-batch, so tokens per second are
useful tokens on both sides.
"""

from collections.abc import Callable

import jax
import numpy as np
from bench_peer import RATE

from configs import sections
from jaxreason.config import parse
from jaxreason.data.batches import TokenBatch
from jaxreason.models.decoder import param_axes
from jaxreason.models.huggingface import ModelConfig, open_model
from jaxreason.rl.policy_losses import PolicyLossConfig
from jaxreason.rl.rollouts import Rollouts
from jaxreason.rl.update import make_policy_loss
from jaxreason.sharding import place_rows
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.sft_loss import make_sft_loss
from jaxreason.training.state import init_state, state_shardings
from jaxreason.training.train_step import make_train_step, skip_empty

SAME = "entropy"  # A measurement that both sides have in common.


def packed_side(arguments, config: ModelConfig, mesh, tokens: np.ndarray) -> Callable[[], float]:
    """Makes the RL update on rows of `packed` replies."""
    num = len(tokens) // arguments.packed
    rows = _rows(tokens, arguments.packed)
    mask = np.ones(rows[0].shape, np.float32)
    mask[:, :: tokens.shape[1]] = 0
    extra = {"advantages": 0.5 * mask, "sampler_logprobs": -12.0 * mask, "sampled": mask}
    batch = Rollouts(
        *rows, mask, **extra, old_logprobs=None, ref_logprobs=None, micro_batch=np.arange(num)
    )

    def make(model, shardings):
        how = {"chunk": arguments.chunk or arguments.length, "temperature": 1.0}
        loss = make_policy_loss(model, PolicyLossConfig(), num, **how)
        return skip_empty(loss, shardings.params)

    return _step(config, mesh, batch, num, make, SAME)


def single_side(
    arguments, config: ModelConfig, mesh, tokens: np.ndarray, num: int, measure: str
) -> Callable[[], float]:
    """Makes the SFT step, in `num` micro-batches, on rows of one reply each, whose first token is no target."""
    mask = np.ones(tokens.shape, np.float32)
    mask[:, 0] = 0
    batch = TokenBatch(*_rows(tokens, 1), mask)
    chunk = min(arguments.chunk or arguments.length, arguments.length)
    make = lambda model, _: make_sft_loss(model, chunk, packed=False)  # noqa: E731
    return _step(config, mesh, batch, num, make, measure)


def _rows(tokens: np.ndarray, packed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (-1, packed * tokens.shape[1])
    positions = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
    segments = np.broadcast_to(
        np.arange(len(tokens), dtype=np.int32)[:, None] % packed + 1, tokens.shape
    )
    return tuple(x.reshape(shape) for x in (tokens, positions, segments))


def _step(
    config: ModelConfig, mesh, batch, num: int, make: Callable, measure: str
) -> Callable[[], float]:
    model, params = open_model(config, mesh, jax.random.key(0))
    section = sections.optimizer(RATE, schedule="constant", warmup_steps=1)
    optimizer = make_optimizer(
        parse(OptimizerConfig, section, "optimizer"), 1000, param_axes(model)
    )
    box = [init_state(optimizer, params, mesh)]
    shardings = state_shardings(box[0])
    step = make_train_step(make(model, shardings), optimizer, num, shardings)
    on_device = place_rows(mesh, batch)

    def run() -> float:
        box[0], found = step(box[0], on_device)
        return float(found[measure])

    return run
