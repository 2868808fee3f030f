"""The `rl` section of a recipe, and the checks that stop a run before anything is compiled."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jax.sharding import Mesh

from jaxreason.config import FREE, at_least, check_ranges
from jaxreason.data.rows import DatasetConfig
from jaxreason.errors import UserError
from jaxreason.models.decoder import Model, param_axes
from jaxreason.models.huggingface import ExportDtype
from jaxreason.rl.advantages import ADVANTAGES
from jaxreason.rl.policy_losses import POLICY_LOSSES, PolicyLossConfig
from jaxreason.rl.rewards import RewardConfig
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import SamplerConfig
from jaxreason.sharding import num_parts
from jaxreason.tasks.registry import find_task
from jaxreason.training.optimizer import OptimizerConfig, check_optimizer


@dataclass(frozen=True)
class DynamicSamplingConfig:
    """Fields of a recipe's `dynamic_sampling` section.

    Attributes:
      drop_equal: whether groups whose rewards are all equal are dropped.
      prompts_per_batch: prompts of a generation batch; those beyond `prompts_per_step` make up for
        dropped groups. 0: as many as `prompts_per_step`.
      max_batches: generation batches after which a step makes do with the groups it has.
    """

    drop_equal: bool
    prompts_per_batch: Annotated[int, at_least(0)]
    max_batches: Annotated[int, at_least(1)]


@dataclass(frozen=True)
class RLConfig:
    """Fields of a recipe's `rl` section.

    Attributes:
      datasets: the questions, by a name of one's own; all their examples are used.
      thinking: `enable_thinking` of the chat template; None leaves it to the template.
      num_steps: batches of rollouts.
      prompts_per_step: groups that a step trains on, at most.
      group_size: replies to each prompt (G).
      decoding: how replies are sampled.
      sampler: sizes of the sampling engine; a prompt that leaves no room for `decoding.max_tokens`
        in `sampler.max_length` is dropped and counted.
      rewards: how replies are graded and rewarded.
      dynamic_sampling: what happens to groups of equal rewards.
      advantage: key of ADVANTAGES.
      policy_loss: the algorithm's numbers.
      old_logprobs: `when_needed` has the trainer compute the log-probs of a batch of rollouts
        beforehand only if more than one update is made on it; `always` does it anyway.
      mini_batch_prompts: groups of an optimizer update, at most.
      micro_batch_rows: packed rows whose gradient is computed at a time, over all devices.
      row_length: tokens of a packed row.
      logprob_chunk: positions of a row whose logits exist at a time.
      optimizer: the optimizer's section; its steps are updates, of which a step of RL makes up to
        prompts_per_step / mini_batch_prompts.
      checkpoint_every: steps between two checkpoints; 0 = only at the end and when stopped.
      keep: how many of the newest checkpoints stay; 0 = all.
      tensorboard: whether TensorBoard files are written too.
      export_dtype: of the weights in model/.
      max_shard_bytes: size of one safetensors file in model/.
    """

    datasets: Annotated[dict[str, DatasetConfig], FREE]  # claimed by the questions that they give
    thinking: bool | None
    num_steps: Annotated[int, at_least(1), FREE]
    prompts_per_step: Annotated[int, at_least(1)]
    group_size: Annotated[int, at_least(2)]
    decoding: Decoding
    sampler: SamplerConfig
    rewards: RewardConfig
    dynamic_sampling: DynamicSamplingConfig
    advantage: str
    policy_loss: PolicyLossConfig
    old_logprobs: Literal["when_needed", "always"]
    mini_batch_prompts: Annotated[int, at_least(1)]
    micro_batch_rows: Annotated[int, at_least(1), FREE]
    row_length: Annotated[int, at_least(1), FREE]
    logprob_chunk: Annotated[int, at_least(1), FREE]
    optimizer: OptimizerConfig
    checkpoint_every: Annotated[int, at_least(0), FREE]
    keep: Annotated[int, at_least(0), FREE]
    tensorboard: Annotated[bool, FREE]
    export_dtype: ExportDtype
    max_shard_bytes: Annotated[int, at_least(1), FREE]

    @property
    def prompts_per_batch(self) -> int:
        """Prompts of a generation batch."""
        return self.dynamic_sampling.prompts_per_batch or self.prompts_per_step


def check_config(config: RLConfig, model: Model, mesh: Mesh | None) -> None:
    """Refuses what would fail, or be wrong, after minutes of compilation; `mesh` is None where it is not known.

    Raises:
      UserError: with the field, what was expected and what came.
    """
    check_ranges(config, "rl")
    sampling, loss, rewards = config.dynamic_sampling, config.policy_loss, config.rewards
    _key("advantage", config.advantage, ADVANTAGES)
    _key("policy_loss.name", loss.name, POLICY_LOSSES)
    _expect(
        config.mini_batch_prompts <= config.prompts_per_step,
        "mini_batch_prompts",
        config.mini_batch_prompts,
        f"1 to prompts_per_step={config.prompts_per_step}",
    )
    _expect(
        config.prompts_per_batch >= config.prompts_per_step,
        "dynamic_sampling.prompts_per_batch",
        sampling.prompts_per_batch,
        f"at least prompts_per_step={config.prompts_per_step}, or 0 to follow it",
    )
    _expect(
        sampling.drop_equal or sampling.max_batches == 1,
        "dynamic_sampling.max_batches",
        sampling.max_batches,
        "1, since no group is dropped",
    )
    _expect(
        config.decoding.temperature > 0,
        "decoding.temperature",
        config.decoding.temperature,
        "more than 0: greedy replies to a prompt are all the same",
    )
    _expect(
        config.decoding.think_budget == 0,
        "decoding.think_budget",
        config.decoding.think_budget,
        "0: the tokens that close a think block are not the policy's",
    )
    _expect(
        config.decoding.repetition_penalty == 1.0,
        "decoding.repetition_penalty",
        config.decoding.repetition_penalty,
        "1 (off): replies must come from the policy that is trained",
    )
    _expect(
        rewards.overlong_buffer <= config.decoding.max_tokens,
        "rewards.overlong_buffer",
        rewards.overlong_buffer,
        f"0 to decoding.max_tokens={config.decoding.max_tokens}",
    )
    sampler = config.sampler
    _expect(
        loss.importance_cap > 0 or "int8" not in (sampler.cache_dtype, sampler.weight_dtype),
        "policy_loss.importance_cap",
        loss.importance_cap,
        "more than 0, since a sampler in int8 does not draw from the trainer's distribution",
    )
    _expect(
        loss.aggregation != "fixed_length" or loss.fixed_length >= 1,
        "policy_loss.fixed_length",
        loss.fixed_length,
        "at least 1 with aggregation='fixed_length'",
    )
    check_optimizer(config.optimizer, param_axes(model))
    _check_sizes(config, model, mesh)
    for name, dataset in config.datasets.items():
        kind = find_task(dataset.task).kind
        _expect(
            kind == "generate", f"datasets.{name}.task", dataset.task, "a task of kind generate"
        )


def _check_sizes(config: RLConfig, model: Model, mesh: Mesh | None) -> None:
    longest, limit = config.sampler.max_length, model.architecture.max_position_embeddings
    _expect(
        longest <= limit,
        "sampler.max_length",
        longest,
        f"at most the model's max_position_embeddings={limit}",
    )
    _expect(
        config.decoding.max_tokens < longest,
        "decoding.max_tokens",
        config.decoding.max_tokens,
        f"less than sampler.max_length={longest}, which the prompt is part of",
    )
    _expect(
        config.row_length >= longest,
        "row_length",
        config.row_length,
        f"at least sampler.max_length={longest}",
    )
    parts = 1 if mesh is None else num_parts(mesh, "act_batch")
    _expect(
        config.micro_batch_rows % parts == 0,
        "micro_batch_rows",
        config.micro_batch_rows,
        f"a multiple of {parts}, the parts into which the mesh cuts rows",
    )


def _key(field: str, value: str, valid: dict[str, Any]) -> None:
    _expect(value in valid, field, value, f"one of {', '.join(valid)}")


def _expect(holds: bool, field: str, value: Any, expected: str) -> None:
    if not holds:
        raise UserError(f"rl.{field}={value!r}: expected {expected}.")
