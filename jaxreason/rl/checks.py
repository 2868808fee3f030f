"""Checks an RL run before anything is compiled: contradicting fields, and a model or mesh that does not fit."""

import logging
import math
from typing import Any

from jax.sharding import Mesh

from jaxreason.config import check_ranges
from jaxreason.data.encoding import check_vocabulary
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import param_axes
from jaxreason.rl.advantages import ADVANTAGES, WEIGHTS
from jaxreason.rl.policy_losses import POLICY_LOSSES
from jaxreason.rl.rl_config import RLConfig
from jaxreason.sharding import num_parts
from jaxreason.tasks.registry import find_task
from jaxreason.tracking.trackers import check_tracker
from jaxreason.training.optimizer import check_optimizer
from jaxreason.training.token_weights import TOKEN_WEIGHTS
from jaxreason.validation import check_validation

_LOG = logging.getLogger(__name__)
# Weights that do not compare a reply with the others of its group.
ALONE = ("one", "right", "zero")
NEVER_NEGATIVE = (*ALONE, "best")


def check_rl(
    config: RLConfig, model: Model, mesh: Mesh | None, tokenizer: Tokenizer | None = None
) -> None:
    """Checks what would otherwise fail, or be wrong, after minutes of compilation.

    Args:
      config: the recipe's section.
      model: the one that is trained.
      mesh: where; None if it is not known.
      tokenizer: of the model; None where none is read.

    Raises:
      UserError: names the field, what was expected and what was given.
    """
    check_ranges(config, "rl")
    if tokenizer is not None:
        check_vocabulary("rl: the tokenizer", tokenizer, model.architecture.vocab_size)
    _key("advantage", config.advantage, ADVANTAGES | WEIGHTS)
    _check_samples(config)
    _check_batches(config)
    _check_decoding(config)
    _check_rewards(config)
    _check_loss(config)
    _check_kl(config)
    check_validation(config.validation, "rl")
    check_tracker(config.tracker, "rl")
    check_optimizer(config.optimizer, param_axes(model))
    _check_sizes(config, model, mesh)
    for name, dataset in config.datasets.items():
        kind = find_task(dataset.task).kind
        _expect(
            kind == "generate", f"datasets.{name}.task", dataset.task, "a task of kind generate"
        )


def warn_of_cut_validation(config: RLConfig) -> None:
    """Logs a warning if the engine of training, which asks the validation too, is too small for its replies."""
    most, longest = config.validation.decoding.max_tokens, config.sampler.max_length
    own = config.sampled > 0 and config.samples.refresh_every == 1
    if config.validation.every and own and most >= longest:
        _LOG.warning(
            "rl.validation.decoding.max_tokens=%d: replies of a validation end before, where they and their prompt "
            "have rl.sampler.max_length=%d tokens, since the engine of training asks them.",
            most,
            longest,
        )


def _check_batches(config: RLConfig) -> None:
    sampling = config.dynamic_sampling
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


def _check_decoding(config: RLConfig) -> None:
    for name, decoding, why in (
        ("", config.decoding, "the tokens that close a think block are not the policy's"),
        ("validation.", config.validation.decoding, "the engine of training closes no think block"),
    ):
        budget = decoding.think_budget
        _expect(budget == 0, f"{name}decoding.think_budget", budget, f"0: {why}")
    _expect(
        config.decoding.repetition_penalty == 1.0,
        "decoding.repetition_penalty",
        config.decoding.repetition_penalty,
        "1 (off): replies must come from the policy that is trained",
    )


def _check_rewards(config: RLConfig) -> None:
    rewards, most = config.rewards, config.decoding.max_tokens
    buffer = rewards.overlong_buffer
    _expect(buffer <= most, "rewards.overlong_buffer", buffer, f"0 to decoding.max_tokens={most}")
    for name in ("right", "wrong"):
        value = getattr(rewards, name)
        _expect(math.isfinite(value), f"rewards.{name}", value, "a finite number")
    _expect(
        rewards.right > rewards.wrong,
        "rewards.right",
        rewards.right,
        f"more than rewards.wrong={rewards.wrong}",
    )


def _check_loss(config: RLConfig) -> None:
    loss, sampler = config.policy_loss, config.sampler
    _key("policy_loss.name", loss.name, POLICY_LOSSES)
    _key("policy_loss.token_weight", loss.token_weight, TOKEN_WEIGHTS)
    _expect(
        config.negatives == 1 or config.advantage not in NEVER_NEGATIVE,
        "negatives",
        config.negatives,
        f"1, since no weight of advantage={config.advantage!r} is negative",
    )
    entropy = loss.entropy_coefficient
    _expect(math.isfinite(entropy), "policy_loss.entropy_coefficient", entropy, "a finite number")
    taught = config.has_kl and config.reference.model == "teacher"
    _expect(
        config.advantage != "zero" or taught or entropy != 0,
        "advantage",
        config.advantage,
        "another weight, or reference.model='teacher' with policy_loss.kl_coefficient above 0: the policy begins as "
        "its base and as its average, so a KL to these alone teaches nothing",
    )
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


def _check_samples(config: RLConfig) -> None:
    samples, size = config.samples, config.group_size
    alone = config.advantage in ALONE and not config.dynamic_sampling.drop_equal
    _expect(
        size >= 2 or alone,
        "group_size",
        size,
        "at least 2, since replies are compared with the others of their group (1 is for "
        f"advantage={' or '.join(ALONE)} with dynamic_sampling.drop_equal=False)",
    )
    _expect(
        config.advantage != "zero" or not config.dynamic_sampling.drop_equal,
        "dynamic_sampling.drop_equal",
        config.dynamic_sampling.drop_equal,
        "False with advantage='zero', since it is not their rewards that groups teach by",
    )
    _expect(samples.given <= size, "samples.given", samples.given, f"0 to group_size={size}")
    _expect(
        samples.refresh_every == 1 or config.sampled > 0,
        "samples.refresh_every",
        samples.refresh_every,
        "1, since all replies are given and none is sampled",
    )
    _check_staleness(config)
    temperature = config.decoding.temperature
    _expect(
        temperature > 0,
        "decoding.temperature",
        temperature,
        "more than 0: log-probs are those of the distribution sampled from, and a greedy choice has none",
    )
    _expect(
        temperature == 1 or samples.given == 0,
        "decoding.temperature",
        temperature,
        "1: the log-probs that given replies are learned by are those of the model as it is",
    )
    _expect(
        config.policy_loss.importance_cap == 0 or config.sampled > 0,
        "policy_loss.importance_cap",
        config.policy_loss.importance_cap,
        "0, since given replies have no sampler",
    )


def _check_staleness(config: RLConfig) -> None:
    if not config.staleness:
        return
    _expect(
        config.sampled > 0,
        "staleness",
        config.staleness,
        "0, since all replies are given and none is sampled",
    )
    cap = config.policy_loss.importance_cap
    _expect(
        cap > 0,
        "policy_loss.importance_cap",
        cap,
        f"more than 0 (2.0 is usual) with staleness={config.staleness}, since replies of an older policy are learned "
        "from by their importance weights",
    )
    _expect(
        config.samples.refresh_every == 1,
        "samples.refresh_every",
        config.samples.refresh_every,
        f"1 with staleness={config.staleness}, which says itself how old the sampler's policy is",
    )


def _check_kl(config: RLConfig) -> None:
    loss, reference = config.policy_loss, config.reference
    _expect(
        config.has_kl or reference.model == "base",
        "reference.model",
        reference.model,
        "'base' while policy_loss.kl_coefficient is 0, since there is nothing to compare with",
    )
    _expect(
        (reference.model == "teacher") == bool(reference.teacher),
        "reference.teacher",
        reference.teacher,
        "a model's folder or hub name with reference.model='teacher', and '' otherwise",
    )
    _expect(
        loss.kl_place == "loss" or loss.kl_estimator != "full",
        "policy_loss.kl_estimator",
        loss.kl_estimator,
        f"k1, k2 or k3 with kl_place={loss.kl_place!r}: a reply has one reward, for the tokens that it has",
    )
    _expect(
        loss.kl_place != "reward" or config.advantage in ADVANTAGES,
        "policy_loss.kl_place",
        loss.kl_place,
        f"'loss' or 'advantage' with advantage={config.advantage!r}, which does not weigh every reply by its reward",
    )
    _expect(
        config.has_kl or loss.kl_place == "loss",
        "policy_loss.kl_place",
        loss.kl_place,
        "'loss' while policy_loss.kl_coefficient is 0",
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
