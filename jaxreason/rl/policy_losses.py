"""The objective -E_q[w log p] + beta KL(p || reference) on arrays: no model, no text.

A new algorithm is a new surrogate in POLICY_LOSSES; a new KL estimator is a new entry of KL_ESTIMATORS.
docs/objective.md explains the four fields and lists the settings that give each published algorithm.

Arrays are `[B, T]`, aligned with the tokens. A row may hold several sequences, which `segment_ids` tells apart, so
packing replies changes nothing. Every loss returns sums over the given rows, `(loss_sum, weight, measurements)`: the
step adds them over micro-batches and divides once.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreason.config import LEARNED, above, at_least, within
from jaxreason.errors import UserError
from jaxreason.training.token_weights import Sequences

# In nats: beyond this a ratio continues as its tangent (see `exp`), and k1 and k2 stop growing.
MAX_LOG_RATIO = 20.0
# Where k3 is 10, the largest value that verl allows: the two solutions of exp(x) - 1 - x = 10.
K3_LOWEST, K3_HIGHEST = -10.999983298020256, 2.610868638149876


@dataclasses.dataclass(frozen=True)
class PolicyLossConfig:
    """The `policy_loss` section of a recipe."""

    name: Annotated[str, LEARNED] = "clipped"
    """A key of POLICY_LOSSES."""
    clip_low: Annotated[float, within(0, 1), LEARNED] = 0.2
    """The ratio is clipped below at `1 - clip_low`; not read by `reinforce`."""
    clip_high: Annotated[float, at_least(0), LEARNED] = 0.28
    """The ratio is clipped above at `1 + clip_high` (DAPO's clip-higher when larger than `clip_low`); not read by
    `reinforce`.
    """
    dual_clip: Annotated[float, above(1, 0), LEARNED] = 10.0
    """For negative advantages the surrogate is at least `dual_clip * advantage` (Ye et al. 2020); 0 = off. Read by
    `clipped` and `gspo` only.
    """
    aggregation: Annotated[Literal["token_mean", "sequence_mean", "fixed_length"], LEARNED] = (
        "token_mean"
    )
    """`token_mean` gives every token of the batch the same weight (DAPO); `sequence_mean` averages within each sequence
    and then over sequences (GRPO); `fixed_length` divides each sequence's sum by the field `fixed_length` (Dr. GRPO).
    """
    fixed_length: Annotated[int, at_least(0), LEARNED] = 0
    """The divisor for `fixed_length`, in tokens; ignored otherwise."""
    kl_coefficient: Annotated[float, at_least(0), LEARNED] = 0.0
    """Weight of KL(policy || reference), the beta of the objective; 0 = no reference model exists."""
    entropy_coefficient: Annotated[float, LEARNED] = 0.0
    """Weight of the entropy bonus; 0 = entropy is only measured."""
    importance_cap: Annotated[float, at_least(0), LEARNED] = 0.0
    """Tokens are weighted by `min(p_trainer / p_sampler, cap)` (truncated importance sampling, which corrects for a
    sampler that computes differently); 0 = off.
    """
    kl_estimator: Annotated[Literal["k1", "k2", "k3", "full"], LEARNED] = "k3"
    """A key of KL_ESTIMATORS, which use the sampled token only; or `full`: the exact sum over the vocabulary, which
    needs the reference's logits in every update. Not read while `kl_coefficient` is 0.
    """
    kl_place: Annotated[Literal["loss", "reward", "advantage"], LEARNED] = "loss"
    """`loss` adds the KL to the loss, with a gradient through the estimator. `reward` subtracts it from the reward of
    its reply, `advantage` from the advantage of its token; there it has no gradient (see `kl_to_reference`).
    """
    token_weight: Annotated[str, LEARNED] = "one"
    """Key of TOKEN_WEIGHTS (`training.token_weights`): a factor of each token's part of the surrogate."""


class Surrogate(NamedTuple):
    """The surrogate objective of an algorithm, which is maximised, and where clipping took effect."""

    objective: Float[Array, "B T"]
    clipped: Float[Array, "B T"]


def clipped(
    log_ratio: Float[Array, "B T"],
    logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    sequences: Sequences,
    config: PolicyLossConfig,
) -> Surrogate:
    """PPO's surrogate, as in GRPO and DAPO: `min(r A, clip(r, 1 - low, 1 + high) A)`, dual-clipped.

    Sources: Schulman et al. 2017 (1707.06347); Yu et al. 2025 (DAPO, 2503.14476): asymmetric range.
    """
    ratio = exp(log_ratio)
    bounded = jnp.clip(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high)
    objective = jnp.minimum(ratio * advantages, bounded * advantages)
    if config.dual_clip > 0.0:
        floor = config.dual_clip * advantages
        objective = jnp.where(advantages < 0.0, jnp.maximum(objective, floor), objective)
    return Surrogate(objective, (objective != ratio * advantages).astype(jnp.float32))


def reinforce(
    log_ratio: Float[Array, "B T"],
    logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    sequences: Sequences,
    config: PolicyLossConfig,
) -> Surrogate:
    """`A log p`: no ratio, no clip; on-policy only with one update per batch of rollouts."""
    return Surrogate(logprobs * advantages, jnp.zeros_like(logprobs))


def gspo(
    log_ratio: Float[Array, "B T"],
    logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    sequences: Sequences,
    config: PolicyLossConfig,
) -> Surrogate:
    """Clips the sequence's length-normalised ratio; the gradient is spread over the tokens.

    Source: Zheng et al. 2025 (2507.18071), GSPO-token; the paper's objective with `sequence_mean`.
    """
    sequence = jax.lax.stop_gradient(sequences.mean(log_ratio))
    # The value is the sequence's ratio. `logprobs - stop_gradient(logprobs)` is 0 but carries the gradient.
    return clipped(
        sequence + logprobs - jax.lax.stop_gradient(logprobs),
        logprobs,
        advantages,
        sequences,
        config,
    )


def cispo(
    log_ratio: Float[Array, "B T"],
    logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    sequences: Sequences,
    config: PolicyLossConfig,
) -> Surrogate:
    """`stop_gradient(clip(r)) A log p`: the clip limits the weight but never removes a token's gradient.

    Source: MiniMax 2025 (2506.13585).
    """
    ratio = jax.lax.stop_gradient(exp(log_ratio))
    bounded = jnp.clip(ratio, 1.0 - config.clip_low, 1.0 + config.clip_high)
    return Surrogate(bounded * advantages * logprobs, (bounded != ratio).astype(jnp.float32))


def policy_loss(
    surrogate: Callable[..., Surrogate],
    logprobs: Float[Array, "B T"],
    old_logprobs: Float[Array, "B T"],
    advantages: Float[Array, "B T"] | Float[Array, "B"],
    mask: Float[Array, "B T"],
    config: PolicyLossConfig,
    sampler_logprobs: Float[Array, "B T"] | None = None,
    ref_logprobs: Float[Array, "B T"] | None = None,
    entropy: Float[Array, "B T"] | None = None,
    segment_ids: Int[Array, "B T"] | None = None,
    *,
    full_kl: Float[Array, "B T"] | None = None,
    token_weights: Float[Array, "B T"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The loss of one surrogate with its KL and entropy terms, as sums over the rows given.

    Args:
      surrogate: an entry of POLICY_LOSSES.
      logprobs: of the policy being trained; the gradient flows through these (and `entropy`).
      old_logprobs: of the policy at the start of the batch of rollouts, by the trainer.
      advantages: per token (constant over a sequence), or per row if a row is one sequence.
      mask: 1 at the reply's tokens, 0 elsewhere; values there may be anything finite.
      config: the algorithm's numbers.
      sampler_logprobs: as reported by the sampler; needed for `importance_cap`.
      ref_logprobs: of the reference; needed by a KL in the loss, unless it is `full`.
      entropy: of the policy at each position; needed by `entropy_coefficient`.
      segment_ids: the sequences of a row, 0 = padding; None = one sequence per row.
      full_kl: exact KL(policy || reference) at each position (`models.logprobs.full_kl`); needed
        by `kl_estimator="full"`.
      token_weights: by `config.token_weight`, which needs them unless it is `one`. A factor of the surrogate's part
        alone: neither of the KL nor of the entropy, nor of what the loss is divided by. No gradient goes through it.

    Returns:
      The summed loss, its weight (tokens or sequences, by `aggregation`), and sums over tokens by name; the others are
      to be divided by the count `tokens`.

    Raises:
      UserError: the surrogate, which a user may have added, returns something else.
    """
    if advantages.ndim == 1:
        advantages = jnp.broadcast_to(advantages[:, None], mask.shape)
    segment_ids = jnp.ones(mask.shape, jnp.int32) if segment_ids is None else segment_ids
    sequences = Sequences(mask, segment_ids)
    log_ratio = _log_ratio(logprobs, old_logprobs, mask)
    result = _checked(
        surrogate(log_ratio, logprobs, advantages, sequences, config), config, mask.shape
    )
    losses = -result.objective * _importance(
        old_logprobs, sampler_logprobs, mask, config.importance_cap
    )
    assert (token_weights is not None) or config.token_weight == "one", "token_weights are needed"
    if token_weights is not None:
        losses *= jax.lax.stop_gradient(token_weights)
    # KL and entropy are added after the surrogate and its token weights, so they act on every token alike.
    if config.kl_coefficient > 0.0 and config.kl_place == "loss":
        losses += config.kl_coefficient * _kl(config, logprobs, ref_logprobs, full_kl, mask)
    if config.entropy_coefficient != 0.0:
        losses -= config.entropy_coefficient * entropy
    loss_sum, weight = _aggregate(losses, sequences, config)
    terms = _measure(log_ratio, result.clipped, logprobs, ref_logprobs, full_kl, entropy, mask)
    return loss_sum, weight, {name: jnp.sum(value * mask) for name, value in terms.items()}


def _checked(made: Any, config: PolicyLossConfig, shape: tuple[int, ...]) -> Surrogate:
    shapes = [jnp.shape(array) for array in made] if isinstance(made, Surrogate) else []
    if shapes != [shape, shape]:
        got = f"arrays of shapes {shapes[0]} and {shapes[1]}" if shapes else f"{made!r:.80}"
        raise UserError(
            f"rl.policy_loss.name={config.name!r}: expected Surrogate of two arrays of shape {shape}, one number for "
            f"each token, got {got}. See docs/adding_algorithms.md."
        )
    return made


def k1(log_ratio: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """`log p - log q`: unbiased, but noisy and negative for many tokens. Limited to +-20 nats.

    In the loss its gradient is that of log p, whose mean over samples of p is 0, so it is only noise. In the reward or
    the advantage it gives the gradient of the KL (arXiv 2512.21852).

    Args:
      log_ratio: `log q(x) - log p(x)`, x a sample of p.
    """
    return -_within(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def k2(log_ratio: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """`(log p - log q)^2 / 2`: biased as a value, never negative; at most 200, since the log-ratio is limited to +-20.

    In the loss the mean of its gradient over samples of p is that of the KL, as long as no log-ratio was limited.
    """
    return jnp.square(_within(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO)) / 2


def k3(log_ratio: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """`q/p - 1 - log(q/p)`: unbiased, never negative, less noisy than k1; at most 10, as in verl.

    In the loss the mean of its gradient over samples of p is that of KL(q || p), the other direction, which agrees with
    KL(p || q) only near q (arXiv 2512.21852).
    """
    x = _within(log_ratio, K3_LOWEST, K3_HIGHEST)
    return jnp.expm1(x) - x


KL_ESTIMATORS: dict[str, Callable[[jax.Array], jax.Array]] = {"k1": k1, "k2": k2, "k3": k3}


def kl_to_reference(
    config: PolicyLossConfig,
    logprobs: Float[Array, "B T"],
    ref_logprobs: Float[Array, "B T"],
    mask: Float[Array, "B T"],
) -> Float[Array, "B T"]:
    """Returns the estimate of KL(policy || reference) at each counted token, 0 elsewhere, without gradient.

    With `kl_place` reward or advantage, `kl_coefficient` times this is subtracted.

    Args:
      config: the algorithm's numbers.
      logprobs: of the policy that sampled the tokens.
      ref_logprobs: of the reference.
      mask: 1 at the reply's tokens.

    Raises:
      UserError: the estimator is `full`. The exact KL of a position does not depend on the sampled token, so in the
        reward or the advantage the KL's own gradient would be missing.
    """
    if config.kl_estimator == "full":
        raise UserError(
            f"kl_estimator='full' with kl_place={config.kl_place!r}: expected kl_place='loss', or one of "
            f"{sorted(KL_ESTIMATORS)} as kl_estimator."
        )
    return jax.lax.stop_gradient(_kl(config, logprobs, ref_logprobs, None, mask))


def _kl(config: PolicyLossConfig, logprobs, ref_logprobs, full_kl, mask) -> jax.Array:
    if config.kl_estimator == "full":
        assert full_kl is not None, "kl_estimator='full' needs full_kl"
        return full_kl
    return KL_ESTIMATORS[config.kl_estimator](_log_ratio(ref_logprobs, logprobs, mask))


def _within(x: jax.Array, low: float, high: float) -> jax.Array:
    """Limits x to bounds; the gradient passes as if x were not limited.

    What is computed from x is bounded, and so is its gradient, which is the one at the bound. So a policy that has gone
    too far is pulled back; a plain clip would have gradient 0 there.
    """
    # Straight-through: the second term is 0 but has the gradient of x.
    return jnp.clip(jax.lax.stop_gradient(x), low, high) + (x - jax.lax.stop_gradient(x))


def exp(log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the ratio. Beyond MAX_LOG_RATIO it continues as its tangent, which is finite and,
    unlike a clip, has a slope.
    """
    low = jnp.minimum(log_ratio, MAX_LOG_RATIO)
    return jnp.exp(low) * (1.0 + (log_ratio - low))


def _log_ratio(new: jax.Array, old: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns `new - old` where the mask is on, else 0: padding can never produce an infinity."""
    return jnp.where(mask > 0, new - old, 0.0)


def _importance(old_logprobs, sampler_logprobs, mask, cap: float) -> jax.Array | float:
    if cap <= 0.0:
        return 1.0
    ratio = exp(_log_ratio(old_logprobs, sampler_logprobs, mask))
    return jax.lax.stop_gradient(jnp.minimum(ratio, cap))


def _aggregate(
    losses, sequences: Sequences, config: PolicyLossConfig
) -> tuple[jax.Array, jax.Array]:
    mask = sequences.mask
    if config.aggregation == "token_mean":
        return jnp.sum(losses * mask), jnp.sum(mask)
    share = sequences.shares()
    if config.aggregation == "sequence_mean":
        return jnp.sum(losses * share), jnp.sum(share)
    return jnp.sum(losses * mask) / config.fixed_length, jnp.sum(share)


def _measure(
    log_ratio, was_clipped, logprobs, ref_logprobs, full_kl, entropy, mask
) -> dict[str, jax.Array]:
    """Measures the loss's terms. `kl_old` and `kl_ref` always use k3, so that runs can be compared.

    With `full_kl`, `kl_ref` is exact.
    """
    terms = {
        "tokens": jnp.ones_like(mask),
        "clip_fraction": was_clipped,
        "ratio": exp(log_ratio),
        "kl_old": k3(log_ratio),
    }
    if full_kl is not None:
        terms["kl_ref"] = full_kl
    elif ref_logprobs is not None:
        terms["kl_ref"] = k3(_log_ratio(ref_logprobs, logprobs, mask))
    if entropy is not None:
        terms["entropy"] = entropy
    return jax.lax.stop_gradient(terms)


# Each takes log(p / p_old), log p and the advantage at every token; outside the mask only the first one is surely 0.
POLICY_LOSSES: dict[str, Callable[..., Surrogate]] = {
    "clipped": clipped,
    "reinforce": reinforce,
    "gspo": gspo,
    "cispo": cispo,
}
