"""Supervised fine-tuning: reads worked answers and writes a Hugging Face folder.

The working directory holds config.json, data.json, metrics.jsonl, checkpoints/<step>/, model/ and, when all of
these are complete, done.json.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import optax
from etils import epath
from jax.sharding import Mesh

from jaxreason.checkpoint import Checkpointer
from jaxreason.compiling import Compiling
from jaxreason.data.batches import PackedBatches
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models import huggingface
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import param_axes
from jaxreason.models.huggingface import ModelConfig, static_model
from jaxreason.models.model_flops import peak_flops
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sharding import place_rows, row_block
from jaxreason.tracking.metric_logger import MetricsWriter
from jaxreason.training.base_kl import BaseKL
from jaxreason.training.export import catch_up, export, exported_state
from jaxreason.training.not_finite import Failed, FiniteCheck
from jaxreason.training.optimizer import (
    fit_warmup,
    make_optimizer,
    make_schedule,
)
from jaxreason.training.run_folder import RunFolder, is_due, saved_steps
from jaxreason.training.sft_config import SFTConfig, check_sft, steps_of_schedule
from jaxreason.training.sft_data import (
    TrainingData,
    load_data,
    make_batches,
    prompts_of,
    write_training_data,
)
from jaxreason.training.sft_loss import make_sft_loss
from jaxreason.training.sft_metrics import BetweenSteps, Recorder, make_flops_of
from jaxreason.training.state import (
    TrainState,
    abstract_train_state,
    init_state,
    state_shardings,
    warn_of_rounding,
)
from jaxreason.training.train_step import NOT_FINITE, batch_of_rows, make_train_step, skip_empty
from jaxreason.validation import (
    Validation,
    Validator,
)

_LOG = logging.getLogger(__name__)


def run_sft(
    config: SFTConfig,
    model_config: ModelConfig,
    mesh: Mesh,
    workdir: epath.PathLike,
    seed: int,
    validator: Validator | None = None,
) -> None:
    """Trains a model and writes it to `<workdir>/model`; continues an earlier run.

    Called under `jax.set_mesh(mesh)`, by every process.

    Args:
      config: the recipe's section.
      model_config: the model to start from.
      mesh: where to train.
      workdir: working directory of the run.
      seed: seed of the data's order and, for a model that starts at random, of its parameters.
      validator: runs the benchmark of `validation`.

    Raises:
      UserError: the recipe cannot be followed, or the folder holds another run. Raised before anything is compiled.
      NotFiniteStepError: a step gave a number that is not finite.
      SystemExit: with code 143, after a signal, when the state is saved.
    """
    workdir = epath.Path(workdir)
    with Interrupt() as interrupt:
        # Find out what to train, on which data and for how long, and whether this folder belongs to the same run.
        model = static_model(model_config)
        tokenizer_path = config.tokenizer or model_config.path
        tokenizer = load_tokenizer(tokenizer_path)
        check_sft(config, model, tokenizer, mesh)
        warn_of_rounding(model)
        data = load_data(config, tokenizer)
        block = row_block(mesh)
        batches = make_batches(config, data, block, seed)
        num_steps = batches.num_steps
        schedule_steps = steps_of_schedule(config, len(data.sequences), num_steps)
        optimizer_config = fit_warmup(config.optimizer, schedule_steps)
        schedule = make_schedule(optimizer_config, schedule_steps)
        optimizer = make_optimizer(optimizer_config, schedule_steps, param_axes(model))
        validation = Validation(
            config.validation, "sft", validator, workdir, num_steps, interrupt.requested
        )
        folder = RunFolder(workdir, "sft", config, model_config, seed, num_steps, data.contents)
        interrupt.check("Nothing was begun.")
        if folder.claim():
            return

        with Checkpointer(workdir / "checkpoints", config.keep) as checkpoints:
            # Find the start: the newest complete checkpoint or, without one, the model. Batches and schedule follow
            # from the step number. Metrics of later steps are dropped.
            start = folder.start_step(checkpoints.latest_step())
            write_training_data(workdir, data, num_steps)
            _LOG.info("training: %d steps of %d examples", num_steps, config.batch_size)
            _LOG.info("compiling the training step; the first line of metrics comes after it")
            shapes = abstract_train_state(model, optimizer, mesh)
            num_pieces = batches.layout.num_micro_batches
            train_step = make_step(config, model, optimizer, state_shardings(shapes), num_pieces)
            call = train_step, sft_arguments(config, shapes, mesh, num_pieces)
            calls = {"SFT step": call} if start < num_steps else {}
            compiling = Compiling(mesh, calls)  # This happens while the weights are read.
            if start:
                state = checkpoints.restore(start, shapes)
            else:
                _, params = huggingface.open_model(model_config, mesh, jax.random.key(seed))
                state = init_state(optimizer, params, mesh)
            frozen = open_reference(config, model_config, mesh, seed)
            about = workdir, num_steps, seed, config.logprob_chunk
            prompts = prompts_of(data.sequences)
            base_kl = BaseKL(config.base_kl, model_config, mesh, tokenizer, prompts, *about)
            interrupt.check(saved_steps(start))
            compiling.wait()
            checkpoints.pin(validation.kept(start))
            late = catch_up(validation, workdir, start, model, state.params, tokenizer, None)
            if late is None:
                interrupt.stop(saved_steps(start))
            flops_of = make_flops_of(model, state.params)

            # Train. Measurements stay on the devices until they are due, so that no step waits for them.
            about = workdir, "sft", num_steps, config.tensorboard, start
            with MetricsWriter(*about, tracker=config.tracker, late=late) as metrics:
                plan = schedule, num_steps, batches.epochs, config.log_every
                check = FiniteCheck(workdir, model, model_config, checkpoints)
                failed = partial(failed_step, mesh, block, data, batches)
                recorder = Recorder(
                    metrics,
                    *plan,
                    lambda number, found: check(number, found, partial(failed, number, found)),
                    peak_flops(mesh),
                )
                between = BetweenSteps(validation, base_kl, recorder, model, tokenizer)
                for step, rows in enumerate(batches.iterate(start), start=start + 1):
                    state, measurements = train_step(state, place_rows(mesh, rows, block), *frozen)
                    # Those of the other processes' rows are assumed to be as many.
                    flops = flops_of(rows) * block[1]
                    recorder.add(step, measurements, batches.num_tokens(step - 1), flops)
                    # After a signal, the next run makes those that are left.
                    looked = between.after(step, state.params)
                    checkpoints.pin(validation.kept(step))
                    logs = recorder.due(step) or looked
                    saves = is_due(step, config.checkpoint_every, num_steps)
                    saves = saves or (looked and validation.kept(step) == step)
                    stops = interrupt.requested(agree=logs)
                    if logs or saves or stops:
                        # This also refuses numbers that are not finite, before saving.
                        recorder.flush()
                    if saves or stops:
                        checkpoints.save(step, state)
                    if stops:
                        checkpoints.wait()
                        interrupt.stop(saved_steps(step))
                checkpoints.wait()
            exported, state = exported_state(validation, checkpoints, state, num_steps, model, mesh)

        # Write the trained model, and then that the run is complete.
        _LOG.info("writing %s", workdir / "model")
        export(config, model, state, tokenizer_path, tokenizer, workdir, interrupt, step=exported)
        folder.finish(exported)


def make_step(
    config: SFTConfig,
    model: Model,
    optimizer: optax.GradientTransformation,
    shardings: TrainState,
    num_micro_batches: int,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Makes the jitted step `(state, batch, *frozen)`, which skips empty micro-batches."""
    loss = make_sft_loss(
        model,
        config.logprob_chunk,
        config.pack,
        aggregation=config.aggregation,
        token_weight=config.token_weight,
        kl_coefficient=config.kl_coefficient,
    )
    loss = skip_empty(loss, shardings.params)
    return make_train_step(loss, optimizer, num_micro_batches, shardings)


def sft_arguments(
    config: SFTConfig, state: TrainState, mesh: Mesh, num_micro_batches: int
) -> tuple[Any, ...]:
    """Returns the arguments of `sft.make_step`: the state, a batch as `place_rows` lays it
    out, a KL term's parameters.
    """
    batch = batch_of_rows(mesh, num_micro_batches * config.micro_batch_rows, config.length)
    return (state, batch, *[state.params] * (config.kl_coefficient > 0))


def open_reference(
    config: SFTConfig, model_config: ModelConfig, mesh: Mesh, seed: int
) -> tuple[Any, ...]:
    """Returns the frozen parameters that the step takes: with a KL term, those of the model
    that the run starts from.
    """
    if not config.kl_coefficient:
        return ()
    return (huggingface.open_model(model_config, mesh, jax.random.key(seed))[1],)


def failed_step(
    mesh: Mesh,
    block: tuple[int, int],
    data: TrainingData,
    batches: PackedBatches,
    step: int,
    measured: dict[str, Any],
) -> Failed:
    """Returns the inputs of step `step` (from 1). Its batch follows from the number, so it can be made again later."""
    rows = place_rows(mesh, batches.batch(step - 1), block)
    ids = [data.ids[index] for index in batches.members(step - 1)]
    return Failed(ids, rows, measured.get(NOT_FINITE))
