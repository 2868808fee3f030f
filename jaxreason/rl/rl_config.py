"""The `rl` section of a recipe."""

from dataclasses import dataclass
from typing import Annotated, Literal

from jaxreason.config import FREE, LEARNED, at_least, defaults, needed, within
from jaxreason.data.rows import DatasetConfig
from jaxreason.models.hf_export import ExportDtype
from jaxreason.rl.policy_losses import PolicyLossConfig
from jaxreason.rl.rewards import RewardConfig
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tracking.trackers import TrackerName
from jaxreason.training.base_kl import NO_BASE_KL, BaseKLConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.validation import NO_VALIDATION, ValidationConfig


@dataclass(frozen=True)
class DynamicSamplingConfig:
    """The `dynamic_sampling` section of a recipe."""

    drop_equal: Annotated[bool, LEARNED] = True
    """Whether groups are dropped if `metric` is the same for all their replies."""
    prompts_per_batch: Annotated[int, at_least(0), LEARNED] = 0
    """Prompts of a generation batch. Those beyond `prompts_per_step` replace dropped groups. 0: as
    many as `prompts_per_step`.
    """
    max_batches: Annotated[int, at_least(1), LEARNED] = 1
    """The most generation batches of a step; after that it trains on the groups that it has."""
    metric: Annotated[Literal["correct", "reward"], LEARNED] = "correct"
    """`correct`: how right replies are, as in DAPO. `reward`: the total reward with penalties; a group of wrong replies
    is then kept if one of them is too long. Not read without `drop_equal`.
    """


@dataclass(frozen=True)
class SamplesConfig:
    """Where the replies of a group come from."""

    given: Annotated[int, at_least(0), LEARNED] = 0
    """Replies of a group that are taken from its question's row: from the column `replies` (named in the dataset's
    `metadata`), or the reply that ends its conversation. A step draws them without repetition; a question with fewer
    replies gives all it has. The other replies of the group are sampled.
    """
    refresh_every: Annotated[int, at_least(1), LEARNED] = 1
    """The sampler gets the policy's weights after every so many steps; 1 = it always samples from the policy itself."""


@dataclass(frozen=True)
class ReferenceConfig:
    """The model that the KL term compares the policy with. Nothing is loaded if the term's coefficient is 0."""

    model: Annotated[Literal["base", "average", "teacher"], LEARNED] = "base"
    """`base`: the model that training starts from. `average`: the moving average of the policy over steps, which starts
    as the base. `teacher`: another model with the same tokens.
    """
    teacher: Annotated[str, FREE] = ""  # Claimed by its weights.
    """The teacher's Hugging Face folder or hub name; "" otherwise."""
    decay: Annotated[float, within(0, 1), LEARNED] = 0.99
    """The decay of the moving average: after a step the average is `decay * average + (1 - decay) * policy`. Read
    only with `average`.
    """


@dataclass(frozen=True)
class RLConfig:
    """The `rl` section of a recipe."""

    datasets: Annotated[dict[str, DatasetConfig], FREE]  # Claimed by the questions that they give.
    """Datasets of questions under names of your choice; all their examples are used."""
    thinking: Annotated[bool | None, LEARNED] = None
    """`enable_thinking` of the chat template; None leaves it to the template."""
    num_steps: Annotated[int, at_least(1), FREE] = 100
    """Steps of RL; each one samples one batch of rollouts and trains on it."""
    prompts_per_step: Annotated[int, at_least(1), LEARNED] = 32
    """The most groups (prompts) that a step trains on."""
    group_size: Annotated[int, at_least(1), LEARNED] = 8
    """Replies to each prompt (G)."""
    decoding: SamplingParams = SamplingParams(1.0, 0, 1.0, 256)
    """How replies are sampled."""
    sampler: SamplerConfig = SamplerConfig(256, 512)
    """Sizes of the sampling engine. A prompt that leaves no room for `decoding.max_tokens` in
    `sampler.max_length` is dropped and counted.
    """
    rewards: RewardConfig = RewardConfig()
    """How replies are graded and rewarded."""
    dynamic_sampling: DynamicSamplingConfig = DynamicSamplingConfig()
    """How groups of equal rewards are handled."""
    advantage: Annotated[str, LEARNED] = "grpo"
    """A key of ADVANTAGES or WEIGHTS (`rl.advantages`): what the log-probability of each reply is multiplied by."""
    policy_loss: PolicyLossConfig = PolicyLossConfig()
    """The loss that is minimized, and its parameters."""
    old_logprobs: Annotated[Literal["when_needed", "always"], LEARNED] = "when_needed"
    """`when_needed`: the trainer computes the log-probs of a batch of rollouts beforehand only if it makes more than
    one update on the batch. `always`: it always does.
    """
    mini_batch_prompts: Annotated[int, at_least(1), LEARNED] = 32
    """The most groups in one optimizer update."""
    micro_batch_rows: Annotated[int, at_least(1), FREE] = 32
    """Packed rows, over all devices, whose gradient is computed at the same time."""
    row_length: Annotated[int, at_least(1), FREE] = 512
    """Tokens of a packed row."""
    logprob_chunk: Annotated[int, at_least(1), FREE] = 512
    """Positions of a row whose logits are in memory at a time."""
    optimizer: Annotated[OptimizerConfig, defaults(schedule="constant", warmup_steps=5)] = needed()
    """The `optimizer` section. Its steps are updates; a step of RL makes up to epochs_per_batch * prompts_per_step /
    mini_batch_prompts of them.
    """
    checkpoint_every: Annotated[int, at_least(0), FREE] = 20
    """Steps between two checkpoints; 0 = only at the end and when stopped."""
    keep: Annotated[int, at_least(0), FREE] = 2
    """How many of the newest checkpoints are kept; 0 = all."""
    tensorboard: Annotated[bool, FREE] = False
    """Whether TensorBoard files are written too."""
    export_dtype: Annotated[ExportDtype, LEARNED] = "float32"
    """The dtype of the weights in model/."""
    max_shard_bytes: Annotated[int, at_least(1), FREE] = 5 * 2**30
    """Size of one safetensors file in model/."""
    samples: SamplesConfig = SamplesConfig()
    """Where the replies come from."""
    negatives: Annotated[float, at_least(0), LEARNED] = 1.0
    """Factor of negative weights: 1 leaves them as they are, 0 removes them."""
    epochs_per_batch: Annotated[int, at_least(1), LEARNED] = 1
    """Passes that a step makes over its replies. Each pass makes an update for each mini-batch."""
    reference: ReferenceConfig = ReferenceConfig()
    """What the KL term compares the policy with."""
    validation: ValidationConfig = NO_VALIDATION
    """A benchmark that is run every few steps, and whether it chooses the step that is exported."""
    base_kl: BaseKLConfig = NO_BASE_KL
    """How often the policy is compared with the base on training prompts."""
    tracker: Annotated[TrackerName, FREE] = ""
    """An experiment tracker that gets the metrics too: "wandb", "trackio", or "" for none."""
    staleness: Annotated[int, within(0, 1), LEARNED] = 0
    """How many steps sampling is behind. 0: a step's replies come from the policy that the step begins with. 1: from
    the policy of the step before, so that replies are graded while the next ones are sampled.
    """

    @property
    def prompts_per_batch(self) -> int:
        """The prompts of a generation batch."""
        return self.dynamic_sampling.prompts_per_batch or self.prompts_per_step

    @property
    def updates_per_step(self) -> int:
        """The updates of a step that has all its groups."""
        return self.epochs_per_batch * -(-self.prompts_per_step // self.mini_batch_prompts)

    @property
    def sampled(self) -> int:
        """The number of a group's replies that are sampled."""
        return self.group_size - self.samples.given

    @property
    def has_kl(self) -> bool:
        """Whether there is a KL term, and so a reference."""
        return self.policy_loss.kl_coefficient > 0.0

    @property
    def kl_as_reward(self) -> bool:
        """Whether the KL term is subtracted from the rewards."""
        return self.has_kl and self.policy_loss.kl_place == "reward"

    @property
    def exact_kl(self) -> bool:
        """Whether the KL term sums over the vocabulary, so that the update runs the reference too."""
        return self.has_kl and self.policy_loss.kl_estimator == "full"
