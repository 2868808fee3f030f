"""The `rl` section of a recipe."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxreason.config import FREE, LEARNED, at_least, within
from jaxreason.data.rows import DatasetConfig
from jaxreason.models.huggingface import ExportDtype
from jaxreason.rl.policy_losses import PolicyLossConfig
from jaxreason.rl.rewards import RewardConfig
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import SamplerConfig
from jaxreason.tracking.trackers import TrackerName
from jaxreason.training.base_kl import NO_BASE_KL, BaseKLConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.validation import NO_VALIDATION, ValidationConfig


@dataclass(frozen=True)
class DynamicSamplingConfig:
    """Fields of a recipe's `dynamic_sampling` section.

    Attributes:
      drop_equal: whether groups are dropped in which `metric` is the same for all replies.
      prompts_per_batch: prompts of a generation batch; those beyond `prompts_per_step` make up for
        dropped groups. 0: as many as `prompts_per_step`.
      max_batches: generation batches after which a step makes do with the groups it has.
      metric: `correct`: how right replies are, as in DAPO; `reward`: the total, punishments included, by which a
        group of wrong replies is kept when one of them is too long.
    """

    drop_equal: Annotated[bool, LEARNED]
    prompts_per_batch: Annotated[int, at_least(0), LEARNED]
    max_batches: Annotated[int, at_least(1), LEARNED]
    metric: Annotated[Literal["correct", "reward"], LEARNED] = "correct"


@dataclass(frozen=True)
class SamplesConfig:
    """Where the replies of a group come from.

    Attributes:
      given: replies of a group that are taken from its question's row: of the column `replies` (named in the dataset's
        `metadata`), or the reply that ends its conversation. A step draws them without repetition; a question with
        fewer gives what it has. The others of the group are sampled.
      refresh_every: steps after which the sampler gets the policy's weights; 1 = it samples from the policy itself.
    """

    given: Annotated[int, at_least(0), LEARNED] = 0
    refresh_every: Annotated[int, at_least(1), LEARNED] = 1


@dataclass(frozen=True)
class ReferenceConfig:
    """What the KL term compares the policy with; nothing is loaded while its coefficient is 0.

    Attributes:
      model: `base`: what training begins from; `average`: the moving average of the policy over steps, which begins
        as the base; `teacher`: another model with the same tokens.
      teacher: its Hugging Face folder or hub name; "" otherwise.
      decay: of the moving average: after a step it is `decay * average + (1 - decay) * policy`.
    """

    model: Annotated[Literal["base", "average", "teacher"], LEARNED] = "base"
    teacher: Annotated[str, FREE] = ""  # claimed by its weights
    decay: Annotated[float, within(0, 1), LEARNED] = 0.99


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
      advantage: key of WEIGHTS: what each reply's log-probability is multiplied by.
      policy_loss: the algorithm's numbers.
      old_logprobs: `when_needed` has the trainer compute the log-probs of a batch of rollouts
        beforehand only if more than one update is made on it; `always` does it anyway.
      mini_batch_prompts: groups of an optimizer update, at most.
      micro_batch_rows: packed rows whose gradient is computed at a time, over all devices.
      row_length: tokens of a packed row.
      logprob_chunk: positions of a row whose logits exist at a time.
      optimizer: the optimizer's section; its steps are updates, of which a step of RL makes up to
        epochs_per_batch * prompts_per_step / mini_batch_prompts.
      checkpoint_every: steps between two checkpoints; 0 = only at the end and when stopped.
      keep: how many of the newest checkpoints stay; 0 = all.
      tensorboard: whether TensorBoard files are written too.
      export_dtype: of the weights in model/.
      max_shard_bytes: size of one safetensors file in model/.
      samples: where the replies come from.
      negatives: factor of negative weights; 1 = as they are, 0 = none.
      epochs_per_batch: passes that a step makes over its replies, an update for each mini-batch and pass.
      reference: what the KL term compares the policy with.
      validation: a benchmark that is asked every few steps, and whether it chooses the step that is exported.
      base_kl: how often the policy is compared with the base on training prompts.
      tracker: which experiment tracker gets the metrics too: "wandb", "trackio", or none.
      staleness: steps that sampling is behind: 0 = a step's replies come from the policy that it begins with; 1 = from
        that of the step before, so that they are graded while the next ones are sampled.
    """

    datasets: Annotated[dict[str, DatasetConfig], FREE]  # claimed by the questions that they give
    thinking: Annotated[bool | None, LEARNED]
    num_steps: Annotated[int, at_least(1), FREE]
    prompts_per_step: Annotated[int, at_least(1), LEARNED]
    group_size: Annotated[int, at_least(1), LEARNED]
    decoding: Decoding
    sampler: SamplerConfig
    rewards: RewardConfig
    dynamic_sampling: DynamicSamplingConfig
    advantage: Annotated[str, LEARNED]
    policy_loss: PolicyLossConfig
    old_logprobs: Annotated[Literal["when_needed", "always"], LEARNED]
    mini_batch_prompts: Annotated[int, at_least(1), LEARNED]
    micro_batch_rows: Annotated[int, at_least(1), FREE]
    row_length: Annotated[int, at_least(1), FREE]
    logprob_chunk: Annotated[int, at_least(1), FREE]
    optimizer: OptimizerConfig
    checkpoint_every: Annotated[int, at_least(0), FREE]
    keep: Annotated[int, at_least(0), FREE]
    tensorboard: Annotated[bool, FREE]
    export_dtype: Annotated[ExportDtype, LEARNED]
    max_shard_bytes: Annotated[int, at_least(1), FREE]
    samples: SamplesConfig = SamplesConfig()
    negatives: Annotated[float, at_least(0), LEARNED] = 1.0
    epochs_per_batch: Annotated[int, at_least(1), LEARNED] = 1
    reference: ReferenceConfig = ReferenceConfig()
    validation: ValidationConfig = NO_VALIDATION
    base_kl: BaseKLConfig = NO_BASE_KL
    tracker: Annotated[TrackerName, FREE] = ""
    staleness: Annotated[int, within(0, 1), LEARNED] = 0

    @property
    def prompts_per_batch(self) -> int:
        """Prompts of a generation batch."""
        return self.dynamic_sampling.prompts_per_batch or self.prompts_per_step

    @property
    def updates_per_step(self) -> int:
        """Updates of a step whose groups are all there."""
        return self.epochs_per_batch * -(-self.prompts_per_step // self.mini_batch_prompts)

    @property
    def sampled(self) -> int:
        """Replies of a group that are sampled."""
        return self.group_size - self.samples.given

    @property
    def has_kl(self) -> bool:
        """Whether there is a KL term, and with it a reference."""
        return self.policy_loss.kl_coefficient > 0.0

    @property
    def kl_as_reward(self) -> bool:
        """Whether the KL term is taken off the rewards."""
        return self.has_kl and self.policy_loss.kl_place == "reward"

    @property
    def exact_kl(self) -> bool:
        """Whether the KL term goes over the vocabulary, so that the update runs the reference too."""
        return self.has_kl and self.policy_loss.kl_estimator == "full"
