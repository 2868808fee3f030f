"""What a run leaves on the disk while it goes on: its replies, and what it needs to go on after a kill."""

import logging
from typing import Any, NoReturn

import jax
import numpy as np
from etils import epath
from jaxtyping import Float

from jaxreason.checkpoint import Checkpointer
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.results.in_flight_files import in_flight_path
from jaxreason.results.rollout_files import write_rollouts
from jaxreason.rl import in_flight
from jaxreason.rl.generation import Collected, Collector
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import rollout_lines
from jaxreason.runtime.preemption import Interrupt
from jaxreason.training.sft import saved_steps

_LOG = logging.getLogger(__name__)


def keep_rollouts(
    workdir: epath.Path, step: int, collected: Collected, weights: Float[np.ndarray, "P G"]
) -> None:
    """Writes `<workdir>/rollouts/<step>.jsonl`: every reply of the step, also those not used."""
    if jax.process_index() == 0:
        lines = rollout_lines(collected.groups, weights, collected.trained)
        write_rollouts(workdir, step, lines)


class Keeper:
    """Saves a run's state and, where it samples ahead, the replies that wait; they are there before the state is."""

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
        """Starts saving what is kept after `step` steps."""
        if self._ahead:
            waiting = self._collector.waiting(step)
            in_flight.keep(self._workdir, step, waiting, self._checkpoints.steps())
        self._checkpoints.save(step, state)

    def stop(self, step: int, state: Any) -> NoReturn:
        """Saves what is kept after `step` steps, if there were any, and ends the program."""
        if step > 0:
            self.save(step, state)
            self._checkpoints.wait()
        self._interrupt.stop(saved_steps(step))


def resume_ahead(
    config: RLConfig, collector: Collector, workdir: epath.Path, step: int, tokenizer: Tokenizer
) -> None:
    """Has the step after `step` begin with what an earlier run had sampled for it; says so where it had nothing."""
    found = in_flight.fetch(workdir, step, config.prompts_per_batch, config.sampled, tokenizer)
    if found is not None:
        collector.take_up(step, found)
    elif step < config.num_steps:
        _LOG.warning(
            "%s: no reply waits for step %d, as after a run's last step; it begins with replies of its own policy",
            *(in_flight_path(workdir, step), step + 1),
        )
