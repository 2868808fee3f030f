"""Every arm over the one objective equals the published formula, value and gradient, on arrays made by hand.

An arm's own loss is its formula in numpy, in float64, as a function of the policy's logits; what the paper keeps out of
the gradient (weights, advantages, an old policy) is made once from LOGITS. Its gradient is by central differences. Ours
goes from the same logits through `logprobs`, the weights of replies and tokens and the policy loss, in float32.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.logprobs import full_kl, logprobs, top_entropy
from jaxreason.rl.advantages import reply_weights, scaled
from jaxreason.rl.policy_losses import (
    POLICY_LOSSES,
    PolicyLossConfig,
    kl_to_reference,
    policy_loss,
)
from jaxreason.training.token_weights import TOKEN_WEIGHTS, needs_top_entropy

P, G, T, V = 2, 3, 6, 7  # questions, replies to each, tokens of a row, vocabulary
TOP = 3  # tokens of EAFT's entropy
BETA = 0.3
PLAIN = PolicyLossConfig("reinforce", 0.2, 0.28, 0.0, "token_mean", 0, 0.0, 0.0, 0.0)

PAGE = Path(__file__).parents[2] / "docs" / "objective.md"

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, V, (P * G, T))
# The policy, as it was when it sampled, the base model and a teacher.
LOGITS, OLD, BASE, TEACHER = RNG.normal(size=(4, P * G, T, V))
LENGTHS = np.array(
    [3, 5, 2, 4, 5, 1]
)  # of the replies; one prompt token, or more where a reply is short
REPLY = (np.arange(T) >= T - LENGTHS[:, None]) & np.ones((P * G, 1), bool)
REWARDS = np.array(
    [[1.0, -1.0, -1.0], [1.0, 0.25, -1.0]]
)  # the fifth reply is right, but punished for its length
CORRECT = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])


def log_p(logits):
    """log p of the token after each position, [N, T - 1, V]."""
    scores = logits[:, :-1]
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def of_tokens(logits):
    """log p(y_t), [N, T], 0 for the first."""
    found = np.take_along_axis(log_p(logits), TOKENS[:, 1:, None], -1)[..., 0]
    return np.pad(found, ((0, 0), (1, 0)))


def kl(logits, other):
    """KL(p || q) at each token, summed over the vocabulary, [N, T]."""
    p, q = log_p(logits), log_p(other)
    return np.pad((np.exp(p) * (p - q)).sum(-1), ((0, 0), (1, 0)))


def mean(losses, kept=None):
    """Over the tokens of the replies that are trained on."""
    return losses[REPLY if kept is None else REPLY & kept[:, None]].mean()


def grpo(rewards=REWARDS):
    """(r - mean) / (std + 1e-6) of each reply, [N, 1]."""
    deviation = rewards - rewards.mean(1, keepdims=True)
    return (deviation / (rewards.std(1, ddof=1, keepdims=True) + 1e-6)).reshape(-1, 1)


def clipped(logits, advantages):
    """PPO's loss of each token with DAPO's two clips."""
    ratio = np.exp(of_tokens(logits) - of_tokens(OLD))
    return -np.minimum(ratio * advantages, np.clip(ratio, 0.8, 1.28) * advantages)


def k3(logits):
    log_ratio = of_tokens(BASE) - of_tokens(logits)
    return np.exp(log_ratio) - 1 - log_ratio


RIGHT = CORRECT.reshape(-1) == 1
BEST = np.array([True, False, False, True, False, False])


def loo():
    """r - mean of the others."""
    others = (REWARDS.sum(1, keepdims=True) - REWARDS) / (G - 1)
    return (REWARDS - others).reshape(-1, 1)


def kl_in_reward():
    """Rewards less beta times the sum over the reply of log p_old - log q."""
    penalty = ((of_tokens(OLD) - of_tokens(BASE)) * REPLY).sum(1)
    return grpo(REWARDS - BETA * penalty.reshape(P, G))


def eaft_weight():
    """Entropy of the likeliest tokens alone over its largest value."""
    top = np.sort(np.exp(log_p(LOGITS)), -1)[..., -TOP:]
    p = top / top.sum(-1, keepdims=True)
    return np.pad(-(p * np.log(p)).sum(-1) / np.log(TOP), ((0, 0), (1, 0)))


@dataclasses.dataclass(frozen=True)
class Arm:
    """The fields that make an arm, and its published loss."""

    formula: Callable[[np.ndarray], float]
    advantage: str
    negatives: float = 1.0
    reference: np.ndarray | None = None
    loss: dict = dataclasses.field(default_factory=dict)


PPO = {"name": "clipped"}
KL_LOSS = {"kl_coefficient": BETA}
FULL = KL_LOSS | {"kl_estimator": "full"}
REVERSE_KL = KL_LOSS | {"kl_estimator": "k1", "kl_place": "advantage"}

ARMS = {
    "off-policy SFT": Arm(lambda x: mean(-of_tokens(x)), "one"),
    "on-policy SFT": Arm(lambda x: mean(-of_tokens(x), RIGHT), "right"),
    "self-SFT": Arm(lambda x: mean(-of_tokens(x), RIGHT), "right"),
    "iterative SFT": Arm(lambda x: mean(-of_tokens(x), RIGHT), "right"),
    "off-policy RL": Arm(lambda x: mean(-grpo() * of_tokens(x), BEST), "best"),
    "off-policy RL, whole group": Arm(lambda x: mean(-grpo() * of_tokens(x)), "grpo"),
    "on-policy RL, no KL": Arm(lambda x: mean(clipped(x, grpo())), "grpo", loss=PPO),
    "on-policy RL": Arm(
        lambda x: mean(clipped(x, grpo()) + BETA * k3(x)), "grpo", 1.0, BASE, PPO | KL_LOSS
    ),
    "on-policy RL, KL in reward": Arm(
        lambda x: mean(clipped(x, kl_in_reward())),
        "grpo",
        1.0,
        BASE,
        PPO | REVERSE_KL | {"kl_place": "reward"},
    ),
    "positive-only RL": Arm(
        lambda x: mean(clipped(x, np.maximum(grpo(), 0))), "grpo", 0.0, loss=PPO
    ),
    "scaled negatives": Arm(
        lambda x: mean(clipped(x, np.maximum(grpo(), 0) + 0.5 * np.minimum(grpo(), 0))),
        "grpo",
        0.5,
        loss=PPO,
    ),
    "leave-one-out": Arm(lambda x: mean(-loo() * of_tokens(x)), "rloo"),
    "SFT with KL to the base": Arm(
        lambda x: mean(-of_tokens(x) + BETA * kl(x, BASE)), "one", 1.0, BASE, FULL
    ),
    "on-policy distillation, sampled": Arm(
        lambda x: mean(clipped(x, BETA * (of_tokens(TEACHER) - of_tokens(OLD)))),
        "zero",
        1.0,
        TEACHER,
        PPO | REVERSE_KL,
    ),
    "on-policy distillation, full vocabulary": Arm(
        lambda x: mean(BETA * kl(x, TEACHER)), "zero", 1.0, TEACHER, FULL
    ),
    "self-distillation": Arm(lambda x: mean(BETA * kl(x, BASE)), "zero", 1.0, BASE, FULL),
    "DFT": Arm(
        lambda x: mean(-np.exp(of_tokens(LOGITS)) * of_tokens(x)),
        "one",
        loss={"token_weight": "dft"},
    ),
    "EAFT": Arm(
        lambda x: mean(-eaft_weight() * of_tokens(x)), "one", loss={"token_weight": "eaft"}
    ),
}


def ours(logits, arm: Arm):
    """The mean loss of an arm by the functions that train: the head is the identity, so states are logits."""
    head, tokens = jnp.eye(V), jnp.asarray(TOKENS, jnp.int32)
    config = dataclasses.replace(PLAIN, **arm.loss)
    found = logprobs(logits, head, tokens, chunk=2).logprobs
    old, ref = jnp.float32(of_tokens(OLD)), None
    if config.name == "reinforce":
        old = jax.lax.stop_gradient(found)
    rewards, mask, extra, penalty = REWARDS, jnp.float32(REPLY), {}, 0.0
    if arm.reference is not None:
        reference = jnp.float32(arm.reference)
        ref = logprobs(reference, head, tokens, chunk=2).logprobs
    if config.kl_estimator == "full":
        extra["full_kl"] = full_kl(logits, head, reference, head, tokens, chunk=2)
    elif config.kl_place != "loss":
        penalty = config.kl_coefficient * kl_to_reference(config, old, ref, mask)
    if config.kl_place == "reward":
        rewards, penalty = rewards - np.asarray(penalty.sum(1)).reshape(P, G), 0.0
    if config.token_weight != "one":
        top = None
        if needs_top_entropy(config.token_weight):
            top = top_entropy(logits, head, tokens, k=TOP, chunk=2)
        extra["token_weights"] = TOKEN_WEIGHTS[config.token_weight](found, top)
    weights = scaled(reply_weights(arm.advantage, rewards, CORRECT), arm.negatives).reshape(-1, 1)
    mask *= ~np.isnan(weights)
    advantages = jnp.float32(np.nan_to_num(weights)) * jnp.ones((1, T)) - penalty
    loss_sum, count, _ = policy_loss(
        POLICY_LOSSES[config.name], found, old, advantages, mask, config, ref_logprobs=ref, **extra
    )
    return loss_sum / count


def central_differences(formula, logits, step=1e-5):
    """The gradient of a function of logits, in float64."""
    slopes = np.zeros(logits.size)
    for i in range(logits.size):
        moved = np.zeros(logits.size)
        moved[i] = step
        moved = moved.reshape(logits.shape)
        slopes[i] = (formula(logits + moved) - formula(logits - moved)) / (2 * step)
    return slopes.reshape(logits.shape)


@pytest.mark.parametrize("name", ARMS)
def test_loss_and_gradient_of_an_arm_equal_its_published_formula(name):
    arm = ARMS[name]
    value, gradient = jax.value_and_grad(ours)(jnp.float32(LOGITS), arm)
    expected = central_differences(arm.formula, LOGITS)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(value, arm.formula(LOGITS), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-6, rtol=1e-4)


def test_the_page_names_the_fields_of_every_arm_that_is_tested():
    lines = PAGE.read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    table = {row[0]: row for row in rows if len(row) == 7 and row[4].startswith("`name=")}
    assert table.keys() == ARMS.keys()
    for name, (_, _, advantage, negatives, fields, reference, _) in table.items():
        arm = ARMS[name]
        config = dataclasses.replace(PLAIN, **arm.loss)
        written = {key: value for key, value in re.findall(r'(\w+)="(\w+)"', fields)}
        assert advantage.strip("`") == arm.advantage and float(negatives) == arm.negatives, name
        assert ("β" in fields) == (config.kl_coefficient > 0) == bool(reference), name
        assert dataclasses.replace(PLAIN, kl_coefficient=config.kl_coefficient, **written) == config
