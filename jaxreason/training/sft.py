"""Supervised fine-tuning: worked answers in, a Hugging Face folder out.

A run's working directory holds config.json, data.json, metrics.jsonl, checkpoints/<step>/, model/ and, when all
of that is complete, done.json.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import jax
import numpy as np
import optax
from etils import epath
from jax.sharding import Mesh

from jaxreason.base_kl import NO_BASE_KL, BaseKL, BaseKLConfig
from jaxreason.checkpoint import Checkpointer
from jaxreason.config import FREE, above, at_least, check_ranges, to_dict
from jaxreason.data.batches import BatchConfig, PackedBatches
from jaxreason.data.encoding import encode_examples
from jaxreason.data.examples import each_reply, load_examples
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.errors import UserError
from jaxreason.interrupt import Interrupt
from jaxreason.metrics import MetricsWriter
from jaxreason.models import huggingface
from jaxreason.models.decoder import Model, param_axes
from jaxreason.models.huggingface import ExportDtype, ModelConfig
from jaxreason.models.model_card import longest_reply, run_card
from jaxreason.results.code_version import code_version
from jaxreason.models.model_flops import peak_flops
from jaxreason.results.files import write_json
from jaxreason.sharding import check_rows, place_rows, row_block
from jaxreason.trackers import TrackerName, check_tracker
from jaxreason.training.exported import catch_up, exported_state
from jaxreason.training.losses import make_sft_loss
from jaxreason.training.micro_batches import skip_empty
from jaxreason.training.optimizer import (
    OptimizerConfig,
    check_optimizer,
    fit_warmup,
    make_optimizer,
    make_schedule,
)
from jaxreason.training.recorder import Recorder
from jaxreason.training.run_folder import RunFolder
from jaxreason.training.sft_measures import Looks, make_flops_of, prompts_of
from jaxreason.training.state import (
    TrainState,
    abstract_state,
    init_state,
    state_shardings,
    static_model,
)
from jaxreason.training.step import make_train_step
from jaxreason.training.token_weights import TOKEN_WEIGHTS
from jaxreason.validation import (
    NO_VALIDATION,
    Validation,
    ValidationConfig,
    Validator,
    check_validation,
)

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
      length: tokens of a row, and the most that an example may have.
      pack: whether examples of a step share rows; otherwise each has one of its own.
      batch_size: examples of a step, over all devices; the last step of a run may have fewer.
      micro_batch_rows: rows, over all devices, whose gradients are computed at a time. A step takes as many
        micro-batches as its rows need.
      epochs: passes over the examples; the last may be part of one (2.5).
      optimizer: the optimizer's section.
      logprob_chunk: positions of a row whose logits exist at a time.
      log_every: steps between two times that metrics are fetched from the devices and written.
      checkpoint_every: steps between two checkpoints; 0 = only at the end and when stopped.
      keep: how many of the newest checkpoints stay; 0 = all.
      tensorboard: whether TensorBoard files are written too.
      export_dtype: of the weights in model/.
      max_shard_bytes: size of one safetensors file in model/.
      overlong: what becomes of examples longer than `length`: left out ("drop"), or cut by
        `data.encoding.shared_lengths` ("cut"); both are counted in data.json.
      schedule_epochs: passes after which the learning rate's schedule would end, at least `epochs`; 0 = as the run.
      aggregation: `token_mean` weighs every target token of a batch alike; `sequence_mean` averages within each
        example, then over examples.
      token_weight: key of `training.token_weights.TOKEN_WEIGHTS`, by which each token's cross-entropy is multiplied.
      kl_coefficient: weight of KL(policy || base) over the whole vocabulary, at the target tokens, where base is the
        model that the run starts from; 0 = it is not in memory.
      validation: a benchmark that is asked every few steps, and whether it chooses the step that is exported.
      base_kl: how often the model is compared with the base on training prompts.
      tracker: which experiment tracker gets the metrics too: "wandb", "trackio", or none.
    """

    FORMER_FIELDS: ClassVar[dict[str, str]] = {
        "num_micro_batches": "`batch_size` now counts examples, which are packed into as few rows as they need, and "
        "`micro_batch_rows` says how many rows are computed at a time."
    }

    datasets: Annotated[dict[str, DatasetConfig], FREE]  # claimed by the tokens that they give
    every_reply: bool
    tokenizer: str
    thinking: bool | None
    length: Annotated[int, at_least(1)]
    pack: bool
    batch_size: Annotated[int, at_least(1)]
    micro_batch_rows: Annotated[int, at_least(1), FREE]
    epochs: Annotated[float, above(0), FREE]
    optimizer: OptimizerConfig
    logprob_chunk: Annotated[int, at_least(1), FREE]
    log_every: Annotated[int, at_least(1), FREE]
    checkpoint_every: Annotated[int, at_least(0), FREE]
    keep: Annotated[int, at_least(0), FREE]
    tensorboard: Annotated[bool, FREE]
    export_dtype: ExportDtype
    max_shard_bytes: Annotated[int, at_least(1), FREE]
    overlong: Literal["drop", "cut"] = "drop"
    schedule_epochs: Annotated[float, at_least(0), FREE] = 0.0
    aggregation: Literal["token_mean", "sequence_mean"] = "token_mean"
    token_weight: str = "one"
    kl_coefficient: Annotated[float, at_least(0)] = 0.0
    validation: ValidationConfig = NO_VALIDATION
    base_kl: BaseKLConfig = NO_BASE_KL
    tracker: Annotated[TrackerName, FREE] = ""


def run_sft(
    config: SFTConfig,
    model_config: ModelConfig,
    mesh: Mesh,
    workdir: epath.PathLike,
    seed: int,
    validator: Validator | None = None,
) -> None:
    """Trains a model and writes it to `<workdir>/model`; continues what an earlier run began.

    Called under `jax.set_mesh(mesh)`, by every process.

    Args:
      config: the recipe's section.
      model_config: the model to start from.
      mesh: where to train.
      workdir: of the run.
      seed: of the order of the data and, for a model that starts at random, of its parameters.
      validator: asks the benchmark of `validation`.

    Raises:
      UserError: the recipe cannot be followed, or the folder holds another run; before anything is compiled.
      FloatingPointError: a step gave a number that is not finite.
      SystemExit: with code 143, after a signal, when the state is saved.
    """
    workdir = epath.Path(workdir)
    with Interrupt() as interrupt:
        # What to train, on what, and for how long; then whether this folder is for it.
        model = static_model(model_config)
        tokenizer_path = config.tokenizer or model_config.path
        tokenizer = load_tokenizer(tokenizer_path)
        check_fits(config, model, tokenizer, mesh)
        data = load_data(config, tokenizer)
        block = row_block(mesh)
        batches = make_batches(config, data, block, seed)
        num_steps = batches.num_steps
        schedule_steps = steps_of_schedule(config, len(data.sequences), num_steps)
        optimizer_config = fit_warmup(config.optimizer, num_steps)
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
            # Where to start. 1. From the newest complete checkpoint. 2. Without one, from the model.
            # The batches and the schedule follow from the step; metrics of later steps are dropped.
            start = folder.start_step(checkpoints.latest_step())
            write_data(workdir, data, num_steps)
            _LOG.info("training: %d steps of %d examples", num_steps, config.batch_size)
            if start:
                state = checkpoints.restore(start, abstract_state(model, optimizer, mesh))
            else:
                _, params = huggingface.open_model(model_config, mesh, jax.random.key(seed))
                state = init_state(optimizer, params, mesh)
            frozen = open_reference(config, model_config, mesh, seed)
            base_kl = BaseKL(
                *(config.base_kl, model_config, mesh, tokenizer, prompts_of(data.sequences)),
                *(workdir, num_steps, seed, config.logprob_chunk),
            )
            interrupt.check(saved_steps(start))
            checkpoints.pin(validation.kept(start))
            if not catch_up(validation, workdir, start, model, state.params, tokenizer, None):
                interrupt.stop(saved_steps(start))
            flops_of = make_flops_of(model, state.params)
            _LOG.info("compiling the training step; the first line of metrics comes after it")
            num_pieces = batches.layout.num_micro_batches
            train_step = make_step(config, model, optimizer, state_shardings(state), num_pieces)

            # Train. Measurements stay on the devices until they are due, so that no step waits.
            writer = MetricsWriter(
                workdir, "sft", num_steps, config.tensorboard, start, tracker=config.tracker
            )
            with writer as metrics:
                plan = schedule, num_steps, config.epochs, config.log_every
                recorder = Recorder(metrics, *plan, peak_flops(mesh))
                looks = Looks(validation, base_kl, recorder, model, tokenizer)
                for step, rows in enumerate(batches.iterate(start), start=start + 1):
                    state, measurements = train_step(state, place_rows(mesh, rows, block), *frozen)
                    flops = flops_of(rows) * block[1]  # of the other processes' rows as of its own
                    recorder.add(step, measurements, batches.num_tokens(step - 1), flops)
                    looked = looks.after(step, state.params)  # a signal leaves some to the next run
                    checkpoints.pin(validation.kept(step))
                    logs = recorder.due(step) or looked
                    saves = is_due(step, config.checkpoint_every, num_steps)
                    saves = saves or (looked and validation.kept(step) == step)
                    stops = interrupt.requested(agree=logs)
                    if logs or saves or stops:
                        recorder.flush()  # also refuses numbers that are not finite, before saving
                    if saves or stops:
                        checkpoints.save(step, state)
                    if stops:
                        checkpoints.wait()
                        interrupt.stop(saved_steps(step))
                checkpoints.wait()
            exported, state = exported_state(validation, checkpoints, state, num_steps, model, mesh)

        # Write what was learned, and then that it is complete.
        _LOG.info("writing %s", workdir / "model")
        export(config, model, state, tokenizer_path, tokenizer, workdir, interrupt)
        folder.finish(exported)


def check_fits(config: SFTConfig, model: Model, tokenizer: Tokenizer, mesh: Mesh | None) -> None:
    """Refuses what would fail, or be wrong, after minutes of compilation; `mesh` is None where it is not known.

    Raises:
      UserError: with the field, what was expected and what came.
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
    if config.token_weight not in TOKEN_WEIGHTS:
        raise UserError(
            f"sft.token_weight={config.token_weight!r}: expected one of {', '.join(TOKEN_WEIGHTS)}."
        )
    if 0 < config.schedule_epochs < config.epochs:
        raise UserError(
            f"sft.schedule_epochs={config.schedule_epochs:g}: expected 0, or at least sft.epochs={config.epochs:g}."
        )
    check_validation(config.validation, "sft")
    check_tracker(config.tracker, "sft")
    check_optimizer(config.optimizer, param_axes(model))
    if mesh is not None:
        check_rows(mesh, config.micro_batch_rows, "sft.micro_batch_rows")


def steps_of_schedule(config: SFTConfig, num_examples: int, num_steps: int) -> int:
    """Steps after which the learning rate's schedule would end; those of the run unless the recipe says more."""
    if not config.schedule_epochs:
        return num_steps
    examples = round(config.schedule_epochs * num_examples)
    return max(num_steps, -(-examples // config.batch_size))


def make_step(
    config: SFTConfig,
    model: Model,
    optimizer: optax.GradientTransformation,
    shardings: TrainState,
    num_micro_batches: int,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step `(state, batch, *frozen)`, which passes over empty micro-batches."""
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


def open_reference(
    config: SFTConfig, model_config: ModelConfig, mesh: Mesh, seed: int
) -> tuple[Any, ...]:
    """The parameters of the model that the run starts from, if there is a KL term: what the step takes as frozen."""
    if not config.kl_coefficient:
        return ()
    return (huggingface.open_model(model_config, mesh, jax.random.key(seed))[1],)


@dataclass(frozen=True)
class TrainingData:
    """The encoded examples of all datasets.

    Attributes:
      sequences: tokens and loss mask of each.
      contents: of each dataset, by the recipe's name, counts and a hash of tokens and masks.
      rows: what was kept and what was dropped, and why, by dataset.
    """

    sequences: list[tuple[list[int], list[int]]]
    contents: dict[str, dict]
    rows: dict[str, dict]


def load_data(config: SFTConfig, tokenizer: Tokenizer) -> TrainingData:
    """The examples of the recipe's datasets, encoded.

    Raises:
      UserError: no example is left, or none has a token to learn.
    """
    drops = DropLog()
    named = [(e, name) for name, d in config.datasets.items() for e in load_examples(d, drops)]
    if config.every_reply:
        named = [(part, name) for example, name in named for part in each_reply(example)]
    examples = [example for example, _ in named]
    kept, sequences = encode_examples(
        *(examples, tokenizer, config.thinking, config.length, drops), config.overlong
    )
    names = {id(example): name for example, name in named}
    of_dataset = {name: [] for name in config.datasets}
    for example, sequence in zip(kept, sequences, strict=True):
        of_dataset[names[id(example)]].append(sequence)
    contents = {name: _contents(members) for name, members in of_dataset.items()}
    if not any(found["target_tokens"] for found in contents.values()):
        raise UserError("sft.datasets: no example has a token to learn, so nothing can be learned.")
    return TrainingData(sequences, contents, drops.to_json())


def _contents(sequences: list[tuple[list[int], list[int]]]) -> dict:
    """What a run is claimed by: the order counts, since the plan of a run goes by it."""
    digest = hashlib.sha256()
    for tokens, mask in sequences:
        digest.update(np.asarray([len(tokens), *tokens, *mask], np.int64).tobytes())
    return {
        "sequences": len(sequences),
        "tokens": sum(len(tokens) for tokens, _ in sequences),
        "target_tokens": sum(sum(mask) for _, mask in sequences),
        "sha256": digest.hexdigest(),
    }


def make_batches(
    config: SFTConfig, data: TrainingData, block: tuple[int, int], seed: int
) -> PackedBatches:
    """The run's batches; `block` says which rows of each are this process's."""
    plan = BatchConfig(
        batch_size=config.batch_size,
        length=config.length,
        pack=config.pack,
        micro_batch_rows=config.micro_batch_rows,
        seed=seed,
        epochs=config.epochs,
    )
    return PackedBatches(data.sequences, plan, *block)


def write_data(workdir: epath.Path, data: TrainingData, num_steps: int) -> None:
    """Writes `<workdir>/data.json`: what was kept of the datasets and what was dropped, and why."""
    names = ("sequences", "tokens", "target_tokens")
    totals = {n: sum(found[n] for found in data.contents.values()) for n in names}
    value = totals | {"num_steps": num_steps, "datasets": data.rows}
    on_process_zero(lambda: write_json(workdir / "data.json", value))
    tokens, learned = (f"{totals[name]:,}" for name in names[1:])
    _LOG.info("data: %d sequences, %s tokens, %s learned", totals["sequences"], tokens, learned)


def saved_steps(step: int) -> str:
    """What to say of a run that ends after `step` saved steps."""
    return f"The state after step {step} is saved." if step else "No step was made yet."


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
    interrupt: Interrupt,
    step: int | None = None,
) -> None:
    """Writes `<workdir>/model`, a Hugging Face folder with the tokenizer's files and a model card.

    `step` is what the parameters are after, for the card; None for the last one of the metrics.

    A signal ends it before the next file; the checkpoint of the last step is there, and the next run writes the folder.
    """
    saved = "All steps are saved, model/ is not written yet."
    huggingface.save_model(
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
