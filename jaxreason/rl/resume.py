"""Writes and reads the files that an RL run needs, beside its checkpoints, to resume after a kill.

With `staleness`, replies are sampled for a step that is still to come. They come from weights that no longer exist
after a kill. So a checkpoint needs these replies beside the weights, exactly as they were sampled.
"""

import logging
from collections.abc import Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from etils import epath
from jaxtyping import Float

from jaxreason.checkpoint import Checkpointer
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.results.rollout_files import (
    in_flight_path,
    read_in_flight,
    write_in_flight,
    write_rollouts,
)
from jaxreason.rl.generation import Collected, Collector, PromptReplies, UngradedReplies
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import GIVEN, rollout_lines
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.sampling_params import Completion
from jaxreason.sampling.stopping import before_stop
from jaxreason.training.run_folder import saved_steps

_LOG = logging.getLogger(__name__)

_PIECE = 256  # The number of replies that process 0 sends to the others in one message.


def keep(
    workdir: epath.Path, step: int, waiting: UngradedReplies | None, steps: Sequence[int]
) -> None:
    """Writes the replies that wait after `step` steps; every process calls it.

    Args:
      workdir: working directory of the run.
      step: number of steps made.
      waiting: what the next step will learn from; None if nothing was sampled for it.
      steps: the steps whose files must stay: those with a checkpoint.
    """
    on_process_zero(lambda: write_in_flight(workdir, step, _lines(waiting), steps))


def _lines(waiting: UngradedReplies | None) -> list[dict]:
    return [
        {
            **{"prompt": index, "sample": completion.sample, "staleness": waiting.staleness},
            **{"tokens": list(completion.tokens), "logprobs": list(completion.logprobs)},
            "finish_reason": completion.finish_reason,
        }
        for index, found in enumerate(waiting.replies if waiting else ())
        for completion, _ in found
        if completion.finish_reason != GIVEN
    ]


def fetch(
    workdir: epath.Path,
    step: int,
    num_prompts: int,
    num_samples: int,
    tokenizer: Tokenizer,
    stop: tuple[str, ...],
) -> UngradedReplies | None:
    """Reads the replies that `keep` wrote, without those given by rows; None if no reply
    waited. Every process calls it. Their texts end before the stop string that ended them.

    Raises:
      UserError: the file is missing, or does not hold `num_samples` complete replies to each of `num_prompts` prompts.
    """
    lines = _read_by_pieces(workdir, step)
    if not lines:
        return None
    places = [(index, sample) for index in range(num_prompts) for sample in range(num_samples)]
    there = [(line.get("prompt"), line.get("sample")) for line in lines]
    if there != places or not all(map(_is_whole, lines)):
        raise UserError(
            f"{in_flight_path(workdir, step)}: expected {num_samples} replies to each of {num_prompts} prompts, in "
            f"order, with a log-prob for each token; there are {len(lines)} in all. Put back a copy of it."
        )
    replies: PromptReplies = [[] for _ in range(num_prompts)]
    for line in lines:
        completion = Completion(
            str(line["prompt"]),
            line["sample"],
            tuple(line["tokens"]),
            tuple(line["logprobs"]),
            line["finish_reason"],
        )
        text = before_stop(completion.tokens, stop, tokenizer.decode)
        replies[line["prompt"]].append((completion, text))
    return UngradedReplies(replies, lines[0]["staleness"])


def _is_whole(line: dict) -> bool:
    tokens, logprobs = line.get("tokens"), line.get("logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        return False
    known = isinstance(line.get("finish_reason"), str) and line.get("staleness") in (0, 1)
    return known and len(tokens) == len(logprobs)


def _read_by_pieces(workdir: epath.Path, step: int) -> list[dict]:
    """Reads on process 0 and sends pieces to all: hosts of a slice share no disk, and one
    message cannot hold everything.
    """
    here: list[dict] = []
    number = on_process_zero(lambda: here.extend(read_in_flight(workdir, step)) or len(here))
    starts = range(0, number, _PIECE)
    return [
        line
        for start in starts
        for line in on_process_zero(lambda start=start: here[start : start + _PIECE])
    ]


def keep_rollouts(
    workdir: epath.Path, step: int, collected: Collected, weights: Float[np.ndarray, "P G"]
) -> None:
    """Writes `<workdir>/rollouts/<step>.jsonl`: every reply of the step, including those that are not used."""
    if jax.process_index() == 0:
        lines = rollout_lines(collected.groups, weights, collected.trained)
        write_rollouts(workdir, step, lines)


class Keeper:
    """Saves a run's state and, if the run samples ahead, the waiting replies; these are written before the state."""

    def __init__(
        self,
        config: RLConfig,
        workdir: epath.Path,
        checkpoints: Checkpointer,
        collector: Collector,
        interrupt: Interrupt,
    ):
        self._ahead, self._workdir, self._checkpoints = config.staleness > 0, workdir, checkpoints
        self._collector, self._interrupt = collector, interrupt

    def save(self, step: int, state: Any) -> None:
        """Starts saving the state after `step` steps."""
        # The replies are written first. A checkpoint without them could not be continued, whereas replies without a
        # checkpoint are overwritten by the next start.
        if self._ahead:
            waiting = self._collector.waiting(step)
            keep(self._workdir, step, waiting, self._checkpoints.steps())
        self._checkpoints.save(step, state)

    def stop(self, step: int, state: Any) -> NoReturn:
        """Saves the state after `step` steps, if there were any, and ends the program."""
        if step > 0:
            self.save(step, state)
            self._checkpoints.wait()
        self._interrupt.stop(saved_steps(step))


def resume_ahead(
    config: RLConfig, collector: Collector, workdir: epath.Path, step: int, tokenizer: Tokenizer
) -> None:
    """Makes the step after `step` begin with the replies that an earlier run sampled for it;
    logs it if there are none.
    """
    # 1. Replies exist: the step begins with them, as it would have without the stop. 2. The file says that none waited,
    #   as after the last step of a shorter run: the step samples by itself. 3. There is no file: `fetch` refuses.
    sizes = config.prompts_per_batch, config.sampled
    found = fetch(workdir, step, *sizes, tokenizer, config.decoding.stop)
    if found is not None:
        collector.take_up(step, found)
    elif step < config.num_steps:
        _LOG.warning(
            "%s: no reply waits for step %d, as after a run's last step; it begins with replies of its own policy",
            in_flight_path(workdir, step),
            step + 1,
        )
