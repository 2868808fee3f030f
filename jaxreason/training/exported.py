"""Which step's weights become model/: the last one's, or those that validation chose."""

import jax
from jax.sharding import Mesh

from jaxreason.checkpoint import Checkpointer
from jaxreason.errors import UserError
from jaxreason.models.decoder import Model
from jaxreason.training.run_reader import UnavailableError, restore_params
from jaxreason.training.state import TrainState
from jaxreason.validation import Validation


def exported_state(
    validation: Validation,
    checkpoints: Checkpointer,
    last: TrainState,
    num_steps: int,
    model: Model,
    mesh: Mesh,
) -> tuple[int, TrainState]:
    """The step to export and a state with its parameters.

    They are read from its checkpoint where it is not the last one, whose optimizer's memory is freed before.

    Raises:
      UserError: the chosen step's checkpoint cannot be read.
    """
    step = validation.kept(num_steps) or num_steps
    if step == num_steps:
        return step, last
    jax.tree.map(lambda x: x.delete(), last.opt_state)  # saved, and not exported
    try:
        params = restore_params(checkpoints, step, model, mesh)
    except UnavailableError as error:
        raise UserError(
            f"checkpoints/{step}, of the step with the best validation, cannot be read: {error}. Put back a copy of it."
        ) from error
    return step, last._replace(params=params)
