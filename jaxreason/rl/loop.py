"""Reinforcement learning from verified answers: GRPO and its relatives, from top to bottom.

A run's working directory holds config.json, data.json, metrics.jsonl, rollouts/<step>.jsonl, checkpoints/<step>,
model/ and, when all of that is complete, done.json. Departures from the papers are in docs/rl.md.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Float

from jaxreason.checkpoint import Checkpointer
from jaxreason.data.encoding import encode_prompts
from jaxreason.data.examples import load_examples
from jaxreason.data.rows import DropLog
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.errors import UserError
from jaxreason.interrupt import Interrupt
from jaxreason.metrics import MetricsWriter
from jaxreason.models import huggingface
from jaxreason.models.decoder import Model, param_axes
from jaxreason.models.huggingface import ModelConfig
from jaxreason.results.files import write_json
from jaxreason.results.metrics_lines import metrics_path, read_metrics
from jaxreason.results.rollout_files import write_rollouts
from jaxreason.rl.advantages import ADVANTAGES
from jaxreason.rl.generation import Collected, Collector, describe
from jaxreason.rl.prompts import Prompt, Questions
from jaxreason.rl.recipe import RLConfig, check_config
from jaxreason.rl.rollouts import (
    Layout,
    Rollouts,
    group_rewards,
    make_layout,
    pack,
    rollout_lines,
)
from jaxreason.rl.update import gap_quantile, make_logprob_pass, make_policy_loss
from jaxreason.sampling.engine import Engine, Moved
from jaxreason.sharding import place_rows
from jaxreason.tasks.verify import VerifierPool
from jaxreason.training.micro_batches import skip_empty
from jaxreason.training.optimizer import fit_warmup, make_optimizer, make_schedule
from jaxreason.training.run_folder import RunFolder
from jaxreason.training.sft import export, is_due, saved_steps
from jaxreason.training.state import (
    TrainState,
    abstract_state,
    init_state,
    state_shardings,
    static_model,
)
from jaxreason.training.step import check_finite, make_train_step

_LOG = logging.getLogger(__name__)


def run_rl(
    config: RLConfig, model_config: ModelConfig, mesh: Mesh, workdir: epath.PathLike, seed: int
) -> None:
    """Trains a model on its own graded replies and writes it to `<workdir>/model`.

    Continues what an earlier run began. Called under `jax.set_mesh(mesh)`, by every process.

    Args:
      config: the recipe's section.
      model_config: the model to start from, which is the reference of the KL term too.
      mesh: where to sample and to train.
      workdir: of the run.
      seed: of the order of the questions and of the sampling.

    Raises:
      UserError: the recipe cannot be followed, or the folder holds another run, before anything is compiled; or
        nothing was learned in the whole run.
      FloatingPointError: a step gave a number that is not finite.
      RuntimeError: none of a step's replies could be graded.
      SystemExit: with code 143, after a signal, when the state is saved.
    """
    workdir = epath.Path(workdir)
    with (
        Interrupt() as interrupt,
        VerifierPool(config.rewards.num_workers, config.rewards.timeout_s) as pool,
    ):
        # What to train, on which questions, and for how long; then whether this folder is for it.
        model = static_model(model_config)
        check_config(config, model, mesh)
        tokenizer = load_tokenizer(model_config.path)
        data = load_prompts(config, tokenizer)
        prompts = data.prompts
        questions = Questions(prompts, config.prompts_per_batch, seed)
        num_updates = config.num_steps * -(-config.prompts_per_step // config.mini_batch_prompts)
        optimizer_config = fit_warmup(config.optimizer, num_updates)
        schedule = make_schedule(optimizer_config, num_updates)
        optimizer = make_optimizer(optimizer_config, num_updates, param_axes(model))
        folder = RunFolder(
            workdir, "rl", config, model_config, seed, config.num_steps, data.contents
        )
        interrupt.check("Nothing was begun.")
        if folder.claim():
            return

        with Checkpointer(workdir / "checkpoints", config.keep) as checkpoints:
            # Where to start. 1. From the newest complete checkpoint. 2. Without one, from the model.
            # Questions, random numbers and schedule follow from the step, so what a kill interrupted
            # is generated again as it was; metrics of later steps are dropped, rollouts overwritten.
            start = folder.start_step(checkpoints.latest_step())
            write_data(workdir, data)
            if start:
                state = checkpoints.restore(start, abstract_state(model, optimizer, mesh))
            else:
                state = init_state(optimizer, open_params(model_config, mesh), mesh)
            interrupt.check(saved_steps(start))
            has_reference = config.policy_loss.kl_coefficient > 0.0
            reference = open_params(model_config, mesh) if has_reference else None
            longest_prompt = max(len(prompt.tokens) for prompt in prompts)
            programs = make_programs(config, model, optimizer, state, longest_prompt)
            engine = make_engine(config, model, state.params, mesh, tokenizer)
            collector = Collector(config, engine, pool, questions, tokenizer, interrupt.requested)

            writer = MetricsWriter(workdir, "rl", config.num_steps, config.tensorboard, start)
            with writer as metrics:
                for step in range(start, config.num_steps):
                    began = time.perf_counter()

                    # Ask, grade, and ask again where all replies to a prompt earned the same.
                    collected = collector.collect(step)
                    if collected is None:  # a signal came
                        stop(checkpoints, interrupt, step, state)
                    advantages = ADVANTAGES[config.advantage](group_rewards(collected.groups))

                    # Learn; the cache's memory is free meanwhile. Files are written while devices work.
                    engine.release()
                    if step == start:
                        _LOG.info("compiling the training step")
                    batches = make_batches(config, programs, mesh, collected, advantages)
                    batches = add_logprobs(config, programs, state.params, reference, batches)
                    measured = []
                    for batch in batches:
                        state, measurements = programs.train_step(state, batch)
                        measured.append(measurements)
                    keep_rollouts(workdir, step + 1, collected, advantages)
                    engine.set_params(state.params)

                    # Report, and save.
                    numbers = describe(collected) | combine(jax.device_get(measured))
                    check_finite(step + 1, numbers)
                    numbers["learning_rate"] = float(schedule(max(int(state.step) - 1, 0)))
                    metrics.write(step + 1, numbers | speed(collected, began, engine.moved))
                    metrics.flush()
                    if is_due(step + 1, config.checkpoint_every, config.num_steps):
                        checkpoints.save(step + 1, state)
                    if interrupt.requested():
                        stop(checkpoints, interrupt, step + 1, state)
                checkpoints.wait()

        # Write what was learned, if anything was, and then that it is complete.
        check_learned(config, workdir, int(state.step))
        export(config, model, state, model_config.path, tokenizer, workdir, interrupt)
        folder.finish()


class Programs(NamedTuple):
    """What is compiled once for a run, and the shape it is compiled for."""

    layout: Layout
    train_step: Callable[[TrainState, Rollouts], tuple[TrainState, dict[str, jax.Array]]]
    logprob_pass: Callable[[Any, Rollouts], jax.Array]


@dataclass(frozen=True)
class Prompts:
    """The questions whose prompts leave room for a reply.

    Attributes:
      prompts: all of them.
      contents: of each dataset, by the recipe's name, their number and a hash.
      rows: what was kept and what was dropped, and why, by dataset.
    """

    prompts: list[Prompt]
    contents: dict[str, dict]
    rows: dict[str, dict]


def load_prompts(config: RLConfig, tokenizer: Tokenizer) -> Prompts:
    """The questions of the recipe's datasets, encoded.

    Raises:
      UserError: none is left.
    """
    drops = DropLog()
    named = [(e, name) for name, d in config.datasets.items() for e in load_examples(d, drops)]
    room = config.sampler.max_length - config.decoding.max_tokens
    examples = [example for example, _ in named]
    kept, encoded = encode_prompts(examples, tokenizer, config.thinking, room, drops)
    prompts = [Prompt(e, tuple(tokens)) for e, tokens in zip(kept, encoded, strict=True)]
    names = {id(example): name for example, name in named}
    of_dataset = {name: [] for name in config.datasets}
    for prompt in prompts:
        of_dataset[names[id(prompt.example)]].append(prompt)
    contents = {name: _contents(members) for name, members in of_dataset.items()}
    return Prompts(prompts, contents, drops.to_json())


def _contents(prompts: list[Prompt]) -> dict:
    """What a run is claimed by: all that a reply is asked by and graded by, but for where it was read from."""
    digest = hashlib.sha256()
    for prompt in prompts:
        example = prompt.example
        metadata = {name: x for name, x in example.metadata.items() if name != "where"}
        read = [example.id, example.task, example.answer, metadata, prompt.tokens]
        digest.update(json.dumps(read, sort_keys=True, default=str).encode())
    return {"prompts": len(prompts), "sha256": digest.hexdigest()}


def write_data(workdir: epath.Path, data: Prompts) -> None:
    """Writes `<workdir>/data.json`: what was kept of the datasets and what was dropped, and why."""
    longest = max(len(prompt.tokens) for prompt in data.prompts)
    counts = {"prompts": len(data.prompts), "longest_prompt": longest}
    _LOG.info("data: %d questions, the longest prompt has %d tokens", len(data.prompts), longest)
    on_process_zero(lambda: write_json(workdir / "data.json", counts | {"datasets": data.rows}))


def open_params(model_config: ModelConfig, mesh: Mesh) -> Any:
    """The parameters that the run starts from."""
    return huggingface.open_model(model_config, mesh)[1]


def make_programs(
    config: RLConfig,
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    longest_prompt: int,
) -> Programs:
    """The functions of an update, for batches that hold the longest replies there can be.

    `state` may be abstract: only its shardings are read.
    """
    longest = longest_prompt + config.decoding.max_tokens
    num_sequences = config.mini_batch_prompts * config.group_size
    layout = make_layout(num_sequences, longest, config.row_length, config.micro_batch_rows)
    shardings = state_shardings(state)
    options = {"chunk": config.logprob_chunk, "temperature": config.decoding.temperature}
    loss = make_policy_loss(model, config.policy_loss, layout.num_micro_batches, **options)
    loss = skip_empty(loss, shardings.params)
    return Programs(
        layout,
        make_train_step(loss, optimizer, layout.num_micro_batches, shardings),
        make_logprob_pass(model, layout.num_micro_batches, **options),
    )


def make_engine(
    config: RLConfig, model: Model, params: Any, mesh: Mesh, tokenizer: Tokenizer
) -> Engine:
    """The sampling engine, on the trainer's own parameters."""
    return Engine(
        model,
        params,
        config.sampler,
        mesh,
        tokenizer.stop_ids,
        tokenizer.pad_id,
        tokenizer.decode,
    )


def make_batches(
    config: RLConfig,
    programs: Programs,
    mesh: Mesh,
    collected: Collected,
    advantages: Float[np.ndarray, "P G"],
) -> list[Rollouts]:
    """A batch on the devices for each update of the step; none if no group is trained on."""
    chosen = np.flatnonzero(collected.trained)
    groups = [collected.groups[index] for index in chosen]
    num_batches = -(-len(groups) // config.mini_batch_prompts)
    if num_batches == 0:
        return []
    packed = pack(groups, advantages[chosen], num_batches, programs.layout)
    return [place_rows(mesh, batch) for batch in packed]


def add_logprobs(
    config: RLConfig, programs: Programs, params: Any, reference: Any, batches: list[Rollouts]
) -> list[Rollouts]:
    """The batches with the trainer's log-probs before any update, and those of the reference.

    With one update on a batch of rollouts the update itself finds the former, and a pass is saved.
    """
    one_update = config.mini_batch_prompts >= config.prompts_per_step
    if config.old_logprobs == "always" or not one_update:
        old = [programs.logprob_pass(params, batch) for batch in batches]
        batches = [b._replace(old_logprobs=x) for b, x in zip(batches, old, strict=True)]
    if reference is not None:
        ref = [programs.logprob_pass(reference, b._replace(old_logprobs=None)) for b in batches]
        batches = [b._replace(ref_logprobs=x) for b, x in zip(batches, ref, strict=True)]
    return batches


def combine(measured: Sequence[dict[str, np.ndarray]]) -> dict[str, float]:
    """The measurements of a step from those of its updates, as means over all their tokens."""
    if not measured:
        return {"updates": 0.0, "tokens": 0.0}
    tokens = np.array([found["tokens"] for found in measured], float)
    means = {
        name: tokens @ np.array([found[name] for found in measured], float) / tokens.sum()
        for name in measured[0]
        if name not in ("tokens", "max_sampler_gap", "sampler_gap_counts")
    }
    counts = sum(found["sampler_gap_counts"] * found["tokens"] for found in measured)
    weight, squared = means.pop("sampler_weight"), means.pop("sampler_weight_squared")
    numbers = {name: float(mean) for name, mean in means.items()} | {
        # The training step has divided this and the counts by the tokens, as if they were sums over them.
        "max_sampler_gap": float(max(x["max_sampler_gap"].max() * x["tokens"] for x in measured)),
        "p99_sampler_gap": gap_quantile(counts, 0.99),
        "sampler_effective_share": float(weight**2 / squared),
    }
    return numbers | {"updates": float(len(measured)), "tokens": float(tokens.sum())}


def speed(collected: Collected, began: float, moved: Moved) -> dict[str, float]:
    """How long the step took, reply tokens generated in a second of it, and what moved to the sampler."""
    elapsed = time.perf_counter() - began
    tokens = sum(len(s.completion.tokens) for g in collected.groups for s in g.samples)
    return {"step_seconds": elapsed, "tokens_per_second": tokens / elapsed} | moved._asdict()


def keep_rollouts(
    workdir: epath.Path, step: int, collected: Collected, advantages: Float[np.ndarray, "P G"]
) -> None:
    """Writes `<workdir>/rollouts/<step>.jsonl`: every reply of the step, also those not used."""
    if jax.process_index() == 0:
        lines = rollout_lines(collected.groups, advantages, collected.trained)
        write_rollouts(workdir, step, lines)


def stop(checkpoints: Checkpointer, interrupt: Interrupt, step: int, state: TrainState) -> NoReturn:
    """Saves the state after `step` steps, if there were any, and ends the program."""
    if step > 0:
        checkpoints.save(step, state)
        checkpoints.wait()
    interrupt.stop(saved_steps(step))


def check_learned(config: RLConfig, workdir: epath.Path, num_updates: int) -> None:
    """Refuses to call a run complete in which no group was ever trained on: its model is the one it began with.

    Raises:
      UserError: with the mean rewards.
    """
    if num_updates:
        return
    path = metrics_path(workdir)
    rewards = on_process_zero(lambda: [x["reward"] for x in read_metrics(path, config.num_steps)])
    raise UserError(
        f"{workdir}: nothing was learned: in {config.num_steps} steps all replies to each prompt earned the same "
        f"(mean reward {min(rewards):.3g} to {max(rewards):.3g}), so no group was trained on and the model is as it "
        "was. Expected questions that are answered right now and then: other questions, a larger rl.group_size, a "
        "longer rl.decoding.max_tokens, or more rl.num_steps."
    )
