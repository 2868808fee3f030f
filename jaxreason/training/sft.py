"""Supervised fine-tuning: worked answers in, a Hugging Face folder out.

A run's working directory holds data.json, metrics.jsonl, checkpoints/<step>/, model/ and, when all
of that is complete, done.json.
"""

import logging
from dataclasses import dataclass
from typing import Annotated

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxreason.checkpoint import Checkpointer
from jaxreason.config import above, at_least, check_ranges
from jaxreason.data.batches import BatchConfig, PackedBatches
from jaxreason.data.encoding import encode_examples
from jaxreason.data.examples import each_reply, load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.errors import UserError
from jaxreason.metrics import MetricsWriter
from jaxreason.models import huggingface
from jaxreason.models.decoder import Model, param_axes
from jaxreason.models.huggingface import ModelConfig
from jaxreason.results.files import write_json
from jaxreason.sharding import check_rows, place_rows, row_block
from jaxreason.training.interrupt import Interrupt
from jaxreason.training.losses import make_sft_loss
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from jaxreason.training.recorder import Recorder
from jaxreason.training.state import (
    TrainState,
    abstract_state,
    init_state,
    state_shardings,
    static_model,
)
from jaxreason.training.step import make_train_step

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SFTConfig:
    """Fields of a recipe's `sft` section.

    Attributes:
      datasets: by a name of one's own; all their examples are used, each dataset's `limit` sets
        their proportions.
      every_reply: whether all replies of a conversation are learned (an example each) or the last.
      tokenizer: folder or hub name; "" = the model's own. A model that starts at random needs one.
      thinking: `enable_thinking` of the chat template; None leaves it to the template.
      length: tokens of a row; longer examples are dropped and counted.
      pack: whether several examples share a row.
      batch_size: rows of a step, over all devices.
      num_micro_batches: pieces of a batch whose gradients are computed one after the other.
      epochs: passes over the examples; the last may be part of one (2.5).
      optimizer: the optimizer's section.
      logprob_chunk: positions of a row whose logits exist at a time.
      log_every: steps between two times that metrics are fetched from the devices and written.
      checkpoint_every: steps between two checkpoints; 0 = only at the end and when stopped.
      keep: how many of the newest checkpoints stay; 0 = all.
      tensorboard: whether TensorBoard files are written too.
      export_dtype: of the weights in model/.
      max_shard_bytes: size of one safetensors file in model/.
    """

    datasets: dict[str, DatasetConfig]
    every_reply: bool
    tokenizer: str
    thinking: bool | None
    length: Annotated[int, at_least(1)]
    pack: bool
    batch_size: Annotated[int, at_least(1)]
    num_micro_batches: Annotated[int, at_least(1)]
    epochs: Annotated[float, above(0)]
    optimizer: OptimizerConfig
    logprob_chunk: Annotated[int, at_least(1)]
    log_every: Annotated[int, at_least(1)]
    checkpoint_every: Annotated[int, at_least(0)]
    keep: Annotated[int, at_least(0)]
    tensorboard: bool
    export_dtype: str
    max_shard_bytes: Annotated[int, at_least(1)]


def run_sft(
    config: SFTConfig, model_config: ModelConfig, mesh: Mesh, workdir: epath.PathLike, seed: int
) -> None:
    """Trains a model and writes it to `<workdir>/model`; continues what an earlier run began.

    Called under `jax.set_mesh(mesh)`, by every process.

    Args:
      config: the recipe's section.
      model_config: the model to start from.
      mesh: where to train.
      workdir: of the run.
      seed: of the order of the data and, for a model that starts at random, of its parameters.

    Raises:
      ValueError: the recipe cannot be followed; before anything is compiled.
      FloatingPointError: a step gave a number that is not finite.
      SystemExit: with code 143, after a signal, when the state is saved.
    """
    workdir = epath.Path(workdir)
    if on_process_zero((workdir / "done.json").exists):
        _LOG.info("%s is complete; nothing to do.", workdir)
        return

    # What to train, on what, and for how long.
    model = static_model(model_config)
    tokenizer_path = config.tokenizer or model_config.path
    tokenizer = load_tokenizer(tokenizer_path)
    check_fits(config, model, tokenizer, mesh)
    block = row_block(mesh)
    batches = load_batches(config, tokenizer, block, workdir, seed)
    num_steps = batches.num_steps
    _LOG.info("training: %d steps of %d rows", num_steps, config.batch_size)
    schedule = make_schedule(config.optimizer, num_steps)
    optimizer = make_optimizer(config.optimizer, num_steps, param_axes(model))

    with (
        Checkpointer(workdir / "checkpoints", config.keep) as checkpoints,
        Interrupt() as interrupt,
    ):
        # Where to start. 1. From the newest complete checkpoint. 2. Without one, from the model.
        # The batches and the schedule follow from the step; metrics of later steps are dropped.
        start = checkpoints.latest_step() or 0
        if start:
            state = checkpoints.restore(start, abstract_state(model, optimizer, mesh))
        else:
            _, params = huggingface.open_model(model_config, mesh, jax.random.key(seed))
            state = init_state(optimizer, params, mesh)
        train_step = make_train_step(
            make_sft_loss(model, config.logprob_chunk, config.pack),
            optimizer,
            config.num_micro_batches,
            state_shardings(state),
        )

        _LOG.info("compiling the training step; the first line of metrics comes after it")

        # Train. Measurements stay on the devices until they are due, so that no step waits.
        with MetricsWriter(workdir, "sft", num_steps, config.tensorboard, start) as metrics:
            recorder = Recorder(metrics, schedule, num_steps, config.epochs, config.log_every)
            for step, rows in enumerate(batches.iterate(start), start=start + 1):
                state, measurements = train_step(state, place_rows(mesh, rows, block))
                recorder.add(step, measurements, np.count_nonzero(rows.segment_ids))
                logs, saves = recorder.due(step), is_due(step, config.checkpoint_every, num_steps)
                stops = interrupt.requested(agree=logs)
                if logs or saves or stops:
                    recorder.flush()  # also refuses numbers that are not finite, before saving
                if saves or stops:
                    checkpoints.save(step, state)
                if stops:
                    checkpoints.wait()
                    interrupt.stop(step)
            checkpoints.wait()

        # Write what was learned, and then that it is complete.
        _LOG.info("writing %s", workdir / "model")
        export(config, model, state, tokenizer_path, tokenizer, workdir)
        finish(workdir, {"stage": "sft", "num_steps": num_steps, "seed": seed})


def check_fits(config: SFTConfig, model: Model, tokenizer: Tokenizer, mesh: Mesh) -> None:
    """Refuses what would fail, or be wrong, after minutes of compilation.

    Raises:
      ValueError: with the field, what was expected and what came.
    """
    check_ranges(config, "sft")
    arch = model.architecture
    if tokenizer.vocab_size > arch.vocab_size:
        raise UserError(
            f"sft.tokenizer: has ids up to {tokenizer.vocab_size - 1}, but the model's vocab_size "
            f"is {arch.vocab_size}."
        )
    if config.length > arch.max_position_embeddings:
        raise UserError(
            f"sft.length={config.length}: the model's max_position_embeddings is "
            f"{arch.max_position_embeddings}."
        )
    check_rows(mesh, config.batch_size, config.num_micro_batches, "sft")


def load_batches(
    config: SFTConfig, tokenizer: Tokenizer, block: tuple[int, int], workdir: epath.Path, seed: int
) -> PackedBatches:
    """The run's batches; `block` says which rows of each are this process's.

    What was kept and what was dropped, and why, is written to `<workdir>/data.json`.
    """
    drops = DropLog()
    examples = [e for d in config.datasets.values() for e in load_examples(d, drops)]
    if config.every_reply:
        examples = [part for example in examples for part in each_reply(example)]
    _, sequences = encode_examples(examples, tokenizer, config.thinking, config.length, drops)
    plan = BatchConfig(config.batch_size, config.length, config.pack, seed, config.epochs)
    batches = PackedBatches(sequences, plan, *block)
    counts = {
        "sequences": len(sequences),
        "tokens": sum(len(tokens) for tokens, _ in sequences),
        "target_tokens": sum(sum(mask) for _, mask in sequences),
        "num_steps": batches.num_steps,
    }
    value = counts | {"datasets": drops.to_json()}
    on_process_zero(lambda: write_json(workdir / "data.json", value))
    tokens, learned = (f"{counts[name]:,}" for name in ("tokens", "target_tokens"))
    _LOG.info("data: %d sequences, %s tokens, %s of them learned", len(sequences), tokens, learned)
    return batches


def is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether a checkpoint is written after this step; after the last one always."""
    return step == num_steps or (every > 0 and step % every == 0)


def export(
    config: SFTConfig,
    model: Model,
    state: TrainState,
    tokenizer_path: str,
    tokenizer: Tokenizer,
    workdir: epath.Path,
) -> None:
    """Writes `<workdir>/model`, a Hugging Face folder with the tokenizer's files."""
    huggingface.save_model(
        workdir / "model",
        model,
        state.params,
        tokenizer_from=huggingface.resolve(tokenizer_path),
        max_shard_bytes=config.max_shard_bytes,
        dtype=config.export_dtype,
        stop_tokens=tokenizer.stop_tokens,
    )


def finish(workdir: epath.Path, summary: dict) -> None:
    """Marks a run as complete."""
    on_process_zero(lambda: write_json(workdir / "done.json", summary))
