"""A whole run of RL, its weights computed again by torch and transformers from nothing but its rollouts files.

Everything that a step can have is on at once: sampling a step ahead, a KL in the reward, several mini-batches and
passes, packed rows in micro-batches, two kinds of clipping, importance weights, an entropy term and eight devices.
"""

import dataclasses
import math

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_rl import (
    LOSS,
    OPTIMIZER,
    mesh_of,
    metrics_of,
    rl_config,
    rollouts_of,
    run,
    save_base,
    save_questions,
)
from transformers import AutoModelForCausalLM

from jaxreason.rl.rewards import RewardConfig
from jaxreason.rl.rl_config import DynamicSamplingConfig
from jaxreason.sampling.sampling_params import SamplingParams

torch = pytest.importorskip("torch", reason="computes the run again")

STEPS, EPOCHS, MINI_BATCH, TEMPERATURE = 3, 2, 2, 0.8
BETA, ENTROPY, CAP = 0.05, 0.01, 1.2
OPTIONS = dataclasses.replace(
    OPTIMIZER,
    schedule="cosine",
    warmup_steps=2,
    final_fraction=0.1,
    weight_decay=0.1,
    clip_norm=0.5,
)
POLICY_LOSS = dataclasses.replace(
    LOSS,
    importance_cap=CAP,
    kl_coefficient=BETA,
    kl_place="reward",
    kl_estimator="k1",
    aggregation="sequence_mean",
    entropy_coefficient=ENTROPY,
    dual_clip=2.0,
)


def recipe(questions):
    return rl_config(
        questions,
        num_steps=STEPS,
        staleness=1,
        epochs_per_batch=EPOCHS,
        mini_batch_prompts=MINI_BATCH,
        group_size=4,
        optimizer=OPTIONS,
        policy_loss=POLICY_LOSS,
        decoding=SamplingParams(TEMPERATURE, top_k=0, top_p=1.0, max_tokens=8, stop=()),
        rewards=RewardConfig(
            num_workers=1, timeout_s=20.0, overlong_buffer=4, overlong_penalty=1.0
        ),
        dynamic_sampling=DynamicSamplingConfig(True, 5, 2, "reward"),
    )


def load(folder):
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def of_reply(model, line):
    """Log-probs of a reply's tokens, and entropies."""
    tokens, start = line["prompt_tokens"] + line["tokens"], len(line["prompt_tokens"]) - 1
    logprobs = torch.log_softmax(model(torch.tensor([tokens])).logits[0, :-1] / TEMPERATURE, -1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs[range(len(tokens) - 1), tokens[1:]][start:], entropy[start:]


def groups_of(lines):
    """The lines of the questions that the step learned from."""
    found = {}
    for line in lines:
        found.setdefault((line["batch"], line["id"]), []).append(line)
    return [group for group in found.values() if group[0]["trained"]]


@torch.no_grad()
def scored(group, policy, sampler, base):
    """Of each reply: the line, the old log-probs, the importance weights and the advantage."""
    old = [of_reply(policy, line)[0] for line in group]
    drawn = [of_reply(sampler if x["staleness"] else policy, x)[0] for x in group]
    far = [float((a - of_reply(base, x)[0]).sum()) for a, x in zip(old, group, strict=True)]
    rewards = np.array([x["reward"] for x in group]) - BETA * np.array(far)
    advantages = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
    weights = [(a - b).exp().clamp(max=CAP) for a, b in zip(old, drawn, strict=True)]
    return list(zip(group, old, weights, advantages.tolist(), strict=True))


def loss_of(policy, replies):
    parts = []
    for line, old, weights, advantage in replies:
        new, entropy = of_reply(policy, line)
        ratio = (new - old).exp()
        objective = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
        if advantage < 0:
            objective = objective.clamp(min=2.0 * advantage)
        parts.append((-objective * weights - ENTROPY * entropy).mean())
    return sum(parts) / len(parts)


def rate(update, number):
    if update < 2:
        return OPTIONS.learning_rate * (update + 1) / 2
    share = (update - 2) / (number - 2)
    return OPTIONS.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


class AdamW(torch.optim.AdamW):
    """Torch's own; it decays matrices alone, and clips."""

    def __init__(self, policy):
        named = list(policy.parameters())
        kinds = [[p for p in named if (p.ndim == 2) == matrix] for matrix in (True, False)]
        sets = [{"params": p, "weight_decay": d} for p, d in zip(kinds, (0.1, 0.0), strict=True)]
        super().__init__(sets, betas=(OPTIONS.b1, OPTIONS.b2), eps=OPTIONS.eps)

    def update(self, loss, learning_rate):
        self.zero_grad()
        loss.backward()
        for kind in self.param_groups:
            kind["lr"] = learning_rate
        every = [p for kind in self.param_groups for p in kind["params"]]
        torch.nn.utils.clip_grad_norm_(every, OPTIONS.clip_norm)
        self.step()


@pytest.mark.slow
def test_a_run_has_the_weights_that_torch_computes_from_its_rollouts(tmp_path):
    folder = save_base(tmp_path)
    workdir = run(recipe(save_questions(tmp_path)), folder, tmp_path / "run", mesh=mesh_of(8))

    policy, sampler, base = (load(folder) for _ in range(3))
    optimizer, made = AdamW(policy), 0
    for step in range(1, STEPS + 1):
        groups = [scored(g, policy, sampler, base) for g in groups_of(rollouts_of(workdir, step))]
        sampler.load_state_dict(policy.state_dict())
        shares = np.array_split(np.arange(len(groups)), -(-len(groups) // MINI_BATCH))
        for share in shares * EPOCHS:
            replies = [reply for place in share for reply in groups[place]]
            optimizer.update(loss_of(policy, replies), rate(made, 4 * STEPS))
            made += 1

    metrics = metrics_of(workdir)
    assert sum(row["updates"] for row in metrics) == made
    assert max(row["clip_fraction"] for row in metrics) > 0.1  # so that what is compared occurs
    found, start = (load_file(x / "model.safetensors") for x in (workdir / "model", folder))
    expected = {name: x.detach().numpy() for name, x in policy.state_dict().items()}
    apart, moved = (
        math.sqrt(sum(float(np.square(x - other[name]).sum()) for name, x in found.items()))
        for other in (expected, start)
    )
    assert apart < 1e-4 * moved
