"""The end of a training run: chooses the step whose weights become model/, and writes that folder.

It also makes up for a validation that an earlier start of the run left out.
"""

from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from jaxreason.checkpoint import Checkpointer
from jaxreason.config import to_dict
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.models import hf_export, huggingface
from jaxreason.models.architecture import Model
from jaxreason.models.model_card import longest_reply, run_card
from jaxreason.results.code_version import code_version
from jaxreason.results.training_files import amend_metrics
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.engine import Engine
from jaxreason.training.run_reader import UnavailableError, restore_params
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.state import TrainState
from jaxreason.validation import (
    Validation,
)


def catch_up(
    validation: Validation,
    workdir: epath.Path,
    start: int,
    model: Model,
    params: Any,
    tokenizer: Tokenizer,
    engine: Engine | None,
) -> dict[str, float] | None:
    """Validates the state that a start of the run begins from, if that is due and not done.

    Step 0 has no line of metrics. If a signal stopped the run between a later step and its validation, that step's line
    has no score yet and gets it now.

    Returns:
      The numbers that no line of metrics was written with; None after a signal.
    """
    found = validation.measure(start, model, params, tokenizer, engine)
    if found and start and not on_process_zero(lambda: amend_metrics(workdir, start, found)):
        return {}
    return found


def exported_state(
    validation: Validation,
    checkpoints: Checkpointer,
    last: TrainState,
    num_steps: int,
    model: Model,
    mesh: Mesh,
) -> tuple[int, TrainState]:
    """Returns the step to export, and a state with its parameters.

    If it is not the last step, the parameters are read from its checkpoint. The memory of the last state's
    optimizer is freed first.

    Raises:
      UserError: the checkpoint of the chosen step cannot be read.
    """
    chosen = validation.kept(num_steps)
    step = num_steps if chosen is None else chosen
    if chosen is not None:
        validation.tell_choice(step)
    if step == num_steps:
        return step, last
    jax.tree.map(lambda x: x.delete(), last.opt_state)  # It is saved already and not exported.
    try:
        params = restore_params(checkpoints, step, model, mesh)
    except UnavailableError as error:
        raise UserError(
            f"checkpoints/{step}, of the step with the best validation, cannot be read: {error}. Put back a copy of it."
        ) from error
    return step, last._replace(params=params)


def export(
    config: SFTConfig,
    model: Model,
    state: TrainState,
    tokenizer_path: str,
    tokenizer: Tokenizer,
    workdir: epath.Path,
    interrupt: Interrupt,
    step: int | None = None,
) -> None:
    """Writes `<workdir>/model`, a Hugging Face folder with the tokenizer's files and a model card.

    `step` is the number of steps behind the parameters, for the card; None for the last step of the metrics.

    A signal ends this before the next file. The checkpoint of the last step exists, so the next run writes the folder.
    """
    saved = "All steps are saved, model/ is not written yet."
    hf_export.save_model(
        workdir / "model",
        model,
        state.params,
        tokenizer_from=huggingface.resolve(tokenizer_path),
        max_shard_bytes=config.max_shard_bytes,
        dtype=config.export_dtype,
        stop_tokens=tokenizer.stop_tokens,
        pad_token=tokenizer.pad_token,
        longest_reply=longest_reply(to_dict(config)),
        card=lambda: run_card(workdir, tokenizer.stop_tokens, step, code_version()),
        between=lambda: interrupt.check(saved),
    )
