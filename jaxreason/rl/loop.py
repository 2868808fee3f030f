"""Reinforcement learning from verified answers, from top to bottom: GRPO and related algorithms.

The working directory holds config.json, data.json, metrics.jsonl, rollouts/<step>.jsonl, checkpoints/<step>, model/
and, when all of these are complete, done.json. docs/rl.md lists departures from the papers.
"""

import logging
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from etils import epath
from jax.sharding import Mesh

from jaxreason.checkpoint import Checkpointer
from jaxreason.compiling import Compiling
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import param_axes
from jaxreason.models.huggingface import ModelConfig, open_model, static_model
from jaxreason.results.training_files import metrics_path, read_metrics
from jaxreason.rl.checks import check_rl, warn_of_cut_validation
from jaxreason.rl.generation import Collected, Collector
from jaxreason.rl.mini_batches import add_scores, failed_update, pack_batches
from jaxreason.rl.prompts import PromptDataset, PromptFeed, load_prompts, write_prompt_data
from jaxreason.rl.references import (
    AVERAGE,
    SAMPLER,
    check_teacher,
    checkpoint_state,
    first_copies,
    next_copies,
    open_frozen,
    reference_config,
    reference_model,
    restore,
    warn_of_average,
)
from jaxreason.rl.resume import Keeper, keep_rollouts, resume_ahead
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.step_metrics import PHASES, Phases, Speed, combine, describe_step
from jaxreason.rl.update import UpdatePrograms, compile_rl, make_update_programs
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import WeightSync
from jaxreason.tasks.verify import VerifierPool
from jaxreason.tracking.metric_logger import MetricsWriter
from jaxreason.training.base_kl import BaseKL
from jaxreason.training.export import catch_up, export, exported_state
from jaxreason.training.not_finite import FiniteCheck
from jaxreason.training.optimizer import fit_warmup, make_optimizer, make_schedule
from jaxreason.training.run_folder import RunFolder, is_due, saved_steps
from jaxreason.training.state import (
    TrainState,
    abstract_train_state,
    init_state,
    warn_of_rounding,
)
from jaxreason.validation import Validation, Validator

_LOG = logging.getLogger(__name__)


def run_rl(
    config: RLConfig,
    model_config: ModelConfig,
    mesh: Mesh,
    workdir: epath.PathLike,
    seed: int,
    validator: Validator | None = None,
) -> None:
    """Trains a model on its own graded replies and writes it to `<workdir>/model`.

    Continues an earlier run. Called under `jax.set_mesh(mesh)`, by every process.

    Args:
      config: the recipe's section.
      model_config: the model to start from, which is also the base reference of the KL term.
      mesh: where to sample and to train.
      workdir: working directory of the run.
      seed: seed of the order of the questions and of the sampling.
      validator: runs the benchmark of `validation`.

    Raises:
      UserError: before anything is compiled, if the recipe cannot be followed or the folder holds another run; at the
        end, if nothing was learned in the whole run.
      NotFiniteStepError: a step gave a number that is not finite.
      RuntimeError: none of a step's replies could be graded.
      SystemExit: with code 143, after a signal, when the state is saved.
    """
    workdir = epath.Path(workdir)
    with (
        Interrupt() as interrupt,
        VerifierPool(config.rewards.num_workers, config.rewards.timeout_s) as pool,
    ):
        # Find out what to train, on which questions and for how long, and whether this folder belongs to the same run.
        job = _prepare(config, model_config, mesh, workdir, seed, validator, interrupt)
        interrupt.check("Nothing was begun.")
        if job.folder.claim():
            return

        model, tokenizer, validation = job.model, job.tokenizer, job.validation
        num_steps, interrupted = config.num_steps, interrupt.requested
        with Checkpointer(workdir / "checkpoints", config.keep) as checkpoints:
            # Find the start: the newest complete checkpoint or, without one, the model. Questions, random numbers and
            # schedule follow from the step number, so a step that a kill interrupted is generated again in the same
            # way. Metrics of later steps are dropped, rollouts overwritten. With staleness, the replies that were
            # sampled ahead are read too (`resume_ahead`).
            start = job.folder.start_step(checkpoints.latest_step())
            write_prompt_data(workdir, job.data)
            programs, compiling, state, copies = _open(job, model_config, mesh, checkpoints, start)
            interrupt.check(saved_steps(start))
            frozen = open_frozen(config, model_config, mesh)
            base_kl = _base_kl(job, model_config, mesh, workdir, seed)
            compiling.wait()
            sampler = copies.get(SAMPLER, state.params)
            engine = make_rollout_engine(config, model, sampler, mesh, tokenizer)
            check = FiniteCheck(workdir, model, model_config, checkpoints)
            collector = Collector(config, engine, pool, job.questions, tokenizer, interrupted)
            if config.staleness and start:
                resume_ahead(config, collector, workdir, start, tokenizer)
            keeper = Keeper(config, workdir, checkpoints, collector, interrupt)

            asked = None if SAMPLER in copies else engine  # It holds an older policy then.
            checkpoints.pin(validation.kept(start))
            late = catch_up(validation, workdir, start, model, state.params, tokenizer, asked)
            if late is None:
                keeper.stop(start, checkpoint_state(state, copies))
            speed = Speed(model, state.params, mesh, config.epochs_per_batch)
            about = workdir, "rl", num_steps, config.tensorboard, start
            # Number of updates made so far. It is counted here, so that no step waits for the devices to return it.
            updates = int(state.step)
            with MetricsWriter(*about, tracker=config.tracker, late=late) as metrics:
                phases = Phases(*PHASES)
                for step in range(start, num_steps):
                    number = step + 1
                    # Generate and grade, and generate again if all replies to a prompt have the same reward.
                    collected = collector.collect(step)
                    if collected is None:  # After a signal.
                        keeper.stop(step, checkpoint_state(state, copies))

                    # Learn; the cache's memory is free meanwhile. All programs are dispatched before anything is waited
                    # for, and files are written while the devices work.
                    if engine is not None:
                        engine.release()
                    reference = copies.get(AVERAGE, frozen)
                    state, made = _learn(job, programs, mesh, collected, state, reference, phases)
                    with phases.during("update"):
                        keep_rollouts(workdir, number, collected, made.weights)
                        updates += len(made.measured)
                        rate = job.schedule(max(updates - 1, 0))
                        measured, rate = jax.device_get((made.measured, rate))
                    copies = next_copies(config, copies, state.params, number)
                    moved = sync_weights(config, engine, copies.get(SAMPLER, state.params), number)

                    # Validate, report and save. After a signal the next run validates.
                    numbers = describe_step(collected) | combine(measured)
                    with phases.during("validate"):
                        numbers |= base_kl.measure(number, state.params)
                        failed = partial(failed_update, collected, made.batches, measured)
                        check(number, numbers, failed)
                        found = validation.measure(number, model, state.params, tokenizer, asked)
                    del made, failed  # The next step needs their memory.
                    numbers |= (found or {}) | {"learning_rate": float(rate)}
                    metrics.write(number, numbers | speed.measures(collected, phases, moved))
                    # The time of what is saved after this line counts for the next step.
                    phases = Phases(*PHASES)
                    metrics.flush()
                    best = validation.kept(number)
                    checkpoints.pin(best)
                    if best == number or is_due(number, config.checkpoint_every, num_steps):
                        with phases.during("checkpoint"):
                            keeper.save(number, checkpoint_state(state, copies))
                    if interrupted():
                        keeper.stop(number, checkpoint_state(state, copies))
                checkpoints.wait()
            check_learned(config, workdir, updates)
            exported, state = exported_state(validation, checkpoints, state, num_steps, model, mesh)

        # Write the trained model, and then that the run is complete.
        path = model_config.path
        export(config, model, state, path, tokenizer, workdir, interrupt, step=exported)
        job.folder.finish(exported)


class _Job(NamedTuple):
    """What is trained, on which questions, and for how long. Nothing of it is on the devices."""

    config: RLConfig
    model: Model
    tokenizer: Tokenizer
    data: PromptDataset
    questions: PromptFeed
    other: Model | None  # The reference of the KL term, if it is another model than the policy.
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    validation: Validation
    folder: RunFolder


def _prepare(
    config: RLConfig,
    model_config: ModelConfig,
    mesh: Mesh,
    workdir: epath.Path,
    seed: int,
    validator: Validator | None,
    interrupt: Interrupt,
) -> _Job:
    """Reads and checks what a run is made of; the arguments are those of `run_rl`."""
    model = static_model(model_config)
    tokenizer = load_tokenizer(model_config.path)
    check_rl(config, model, mesh, tokenizer)
    warn_of_rounding(model)
    warn_of_average(config, model)
    warn_of_cut_validation(config)
    data = load_prompts(config, tokenizer)
    questions = PromptFeed(data.prompts, config.prompts_per_batch, seed)
    other = reference_model(config, model_config)
    check_teacher(config, tokenizer)
    num_steps = config.num_steps
    validation = Validation(
        config.validation, "rl", validator, workdir, num_steps, interrupt.requested
    )
    num_updates = num_steps * config.updates_per_step
    optimizer_config = fit_warmup(config.optimizer, num_updates)
    schedule = make_schedule(optimizer_config, num_updates)
    optimizer = make_optimizer(optimizer_config, num_updates, param_axes(model))
    beside = [reference_config(config, model_config)] if config.reference.teacher else []
    folder = RunFolder(
        workdir, "rl", config, model_config, seed, num_steps, data.contents, beside=beside
    )
    return _Job(
        config,
        model,
        tokenizer,
        data,
        questions,
        other,
        schedule,
        optimizer,
        validation,
        folder,
    )


def _open(
    job: _Job, model_config: ModelConfig, mesh: Mesh, checkpoints: Checkpointer, start: int
) -> tuple[UpdatePrograms, Compiling, TrainState, dict[str, Any]]:
    """Reads the state after step `start`, and the copies of the policy, while the programs of a step are compiled."""
    config, model = job.config, job.model
    shapes = abstract_train_state(model, job.optimizer, mesh)
    longest = max(len(prompt.tokens) for prompt in job.data.prompts)
    programs = make_update_programs(config, model, job.optimizer, shapes, longest, job.other)
    compiling = Compiling(mesh, {})
    if start < config.num_steps:
        _LOG.info("compiling the programs of a step")
        compiling = compile_rl(config, programs, model, shapes, mesh, job.tokenizer, job.other)
    if start:
        state, copies = restore(checkpoints, start, config, shapes)
    else:
        state = init_state(job.optimizer, open_model(model_config, mesh)[1], mesh)
        copies = first_copies(config, state.params)
    return programs, compiling, state, copies


def _base_kl(
    job: _Job, model_config: ModelConfig, mesh: Mesh, workdir: epath.Path, seed: int
) -> BaseKL:
    config, prompts = job.config, [prompt.tokens for prompt in job.data.prompts]
    about = workdir, config.num_steps, seed, config.logprob_chunk
    return BaseKL(config.base_kl, model_config, mesh, job.tokenizer, prompts, *about)


class _Learned(NamedTuple):
    """What the updates of a step leave; `measured` is still on the devices."""

    weights: Any
    batches: list[Any]
    measured: list[dict[str, jax.Array]]


def _learn(
    job: _Job,
    programs: UpdatePrograms,
    mesh: Mesh,
    collected: Collected,
    state: TrainState,
    reference: Any,
    phases: Phases,
) -> tuple[TrainState, _Learned]:
    """Makes the updates of a step on its collected replies. `reference` holds the parameters of the KL term."""
    config = job.config
    with phases.during("pack"):
        packed, batches = pack_batches(config, programs, mesh, collected)
    with phases.during("logprobs"):
        weights, batches = add_scores(
            config, programs, mesh, collected, packed, batches, state.params, reference
        )
        if jax.default_backend() == "cpu":
            # The virtual devices of a CPU share a few threads. Two programs with collectives at the
            # same time could each hold some of them and wait for the others'.
            jax.block_until_ready(batches)
    measured = []
    with phases.during("update"):
        for batch in batches * config.epochs_per_batch:
            beside = [reference] if config.exact_kl else []
            state, measurements = programs.train_step(state, batch, *beside)
            measured.append(measurements)
    with phases.during("logprobs"):
        jax.block_until_ready(batches)
    return state, _Learned(weights, batches, measured)


def make_rollout_engine(
    config: RLConfig, model: Model, params: Any, mesh: Mesh, tokenizer: Tokenizer
) -> Engine | None:
    """Makes the sampling engine with the trainer's own parameters; None if no reply is sampled."""
    if config.sampled == 0:
        return None
    return Engine(
        model,
        params,
        config.sampler,
        mesh,
        tokenizer.stop_ids,
        tokenizer.pad_id,
        tokenizer.decode,
    )


def sync_weights(config: RLConfig, engine: Engine | None, params: Any, step: int) -> WeightSync:
    """Gives the sampler the weights for the step after `step` if they are new; returns what the transfer took."""
    if engine is None or step % config.samples.refresh_every:
        return WeightSync(0, 0.0)
    engine.set_params(params)
    return engine.moved


def check_learned(config: RLConfig, workdir: epath.Path, num_updates: int) -> None:
    """Checks that at least one group was trained on in the run; otherwise its model is still the one it began with.

    Raises:
      UserError: shows the mean rewards.
    """
    if num_updates:
        return
    path = metrics_path(workdir)
    rewards = on_process_zero(lambda: [x["reward"] for x in read_metrics(path, config.num_steps)])
    why = "all replies to each prompt earned the same"
    why = "no reply was right" if config.advantage == "right" else why
    raise UserError(
        f"{workdir}: nothing was learned: in {config.num_steps} steps {why} (mean reward {min(rewards):.3g} to "
        f"{max(rewards):.3g}), so no group was trained on and the model is as it was. Expected questions that are "
        "answered right now and then: other questions, a larger rl.group_size, a longer rl.decoding.max_tokens, or "
        "more rl.num_steps."
    )
