"""The `sft` section of a recipe, and its checks before anything is compiled."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from jax.sharding import Mesh

from jaxreason.config import FREE, LEARNED, above, at_least, check_ranges, needed
from jaxreason.data.encoding import check_vocabulary
from jaxreason.data.rows import DatasetConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import param_axes
from jaxreason.models.hf_export import ExportDtype
from jaxreason.sharding import check_rows
from jaxreason.tracking.trackers import TrackerName, check_tracker
from jaxreason.training.base_kl import NO_BASE_KL, BaseKLConfig
from jaxreason.training.optimizer import (
    OptimizerConfig,
    check_optimizer,
)
from jaxreason.training.token_weights import TOKEN_WEIGHTS
from jaxreason.validation import (
    NO_VALIDATION,
    ValidationConfig,
    check_validation,
)


@dataclass(frozen=True)
class SFTConfig:
    """The `sft` section of a recipe."""

    FORMER_FIELDS: ClassVar[dict[str, str]] = {
        "num_micro_batches": "`batch_size` now counts examples, which are packed into as few rows as they need, and "
        "`micro_batch_rows` says how many rows are computed at a time."
    }

    datasets: Annotated[dict[str, DatasetConfig], FREE]  # Claimed by the tokens that they give.
    """Datasets by name. All their examples are used; the `limit` of each dataset sets their proportions."""
    every_reply: Annotated[bool, LEARNED] = False
    """Whether all replies of a conversation are learned, each as an example, or only the last one."""
    tokenizer: Annotated[str, FREE] = ""  # Claimed by the tokens that it makes of the data.
    """Folder or hub name; "" for the model's own. A model that starts at random needs one."""
    thinking: Annotated[bool | None, LEARNED] = None
    """`enable_thinking` of the chat template; None leaves it to the template."""
    length: Annotated[int, at_least(1), LEARNED] = 2048
    """Tokens of a row; also the most tokens of an example."""
    pack: Annotated[bool, FREE] = True
    """Whether several examples of a step may share a row. Otherwise each has its own row."""
    batch_size: Annotated[int, at_least(1), LEARNED] = 64
    """Examples of a step, over all devices; the last step of a run may have fewer."""
    micro_batch_rows: Annotated[int, at_least(1), FREE] = 8
    """Rows, over all devices, whose gradients are computed at the same time. A step makes as many
    micro-batches as its rows need.
    """
    epochs: Annotated[float, above(0), FREE] = 2.0
    """Passes over the examples; the last may be a partial one (2.5)."""
    optimizer: OptimizerConfig = needed()
    """The `optimizer` section."""
    logprob_chunk: Annotated[int, at_least(1), FREE] = 512
    """Positions of a row whose logits are in memory at a time."""
    log_every: Annotated[int, at_least(1), FREE] = 10
    """Steps between two times that metrics are fetched from the devices and written."""
    checkpoint_every: Annotated[int, at_least(0), FREE] = 200
    """Steps between two checkpoints; 0 = only at the end and when stopped."""
    keep: Annotated[int, at_least(0), FREE] = 2
    """How many of the newest checkpoints are kept; 0 = all."""
    tensorboard: Annotated[bool, FREE] = False
    """Whether TensorBoard files are written too."""
    export_dtype: Annotated[ExportDtype, LEARNED] = "float32"
    """The dtype of the weights in model/."""
    max_shard_bytes: Annotated[int, at_least(1), FREE] = 5 * 2**30
    """Size of one safetensors file in model/."""
    overlong: Annotated[Literal["drop", "cut"], LEARNED] = "drop"
    """What happens to examples longer than `length`: they are left out ("drop"), or shortened by
    `data.encoding.shared_lengths` ("cut"). data.json counts both.
    """
    schedule_epochs: Annotated[float, at_least(0), FREE] = 0.0
    """The number of passes after which the learning rate's schedule would end, at least `epochs`;
    0 = at the end of the run.
    """
    aggregation: Annotated[Literal["token_mean", "sequence_mean"], LEARNED] = "token_mean"
    """`token_mean` gives every target token of a batch the same weight; `sequence_mean` averages within each
    example and then over examples.
    """
    token_weight: Annotated[str, LEARNED] = "one"
    """A key of `training.token_weights.TOKEN_WEIGHTS`: the factor of each token's cross-entropy."""
    kl_coefficient: Annotated[float, at_least(0), LEARNED] = 0.0
    """Weight of KL(policy || base) over the whole vocabulary, at the target tokens. The base is the model that the run
    starts from; with 0 it is not in memory.
    """
    validation: ValidationConfig = NO_VALIDATION
    """A benchmark that is run every few steps, and whether it chooses the step that is exported."""
    base_kl: BaseKLConfig = NO_BASE_KL
    """How often the model is compared with the base on training prompts."""
    tracker: Annotated[TrackerName, FREE] = ""
    """An experiment tracker that gets the metrics too: "wandb", "trackio", or "" for none."""


def check_sft(
    config: SFTConfig, model: Model, tokenizer: Tokenizer | None, mesh: Mesh | None
) -> None:
    """Checks what would otherwise fail, or be wrong, after minutes of compilation.

    `tokenizer` is None where none is read, `mesh` if it is not known.

    Raises:
      UserError: names the field, what was expected and what was given.
    """
    check_ranges(config, "sft")
    arch = model.architecture
    if tokenizer is not None:
        check_vocabulary("sft.tokenizer:", tokenizer, arch.vocab_size)
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
    """Returns the steps after which the learning rate's schedule ends: those of the run,
    unless the recipe says more.
    """
    if not config.schedule_epochs:
        return num_steps
    examples = round(config.schedule_epochs * num_examples)
    return max(num_steps, -(-examples // config.batch_size))
