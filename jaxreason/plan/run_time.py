"""Estimates tokens and chip-hours of a whole run from the times of its programs."""

import math
from dataclasses import dataclass

from jaxreason.data.packing import make_layout
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.programs import REFERENCE_PASS
from jaxreason.plan.roofline import Timed
from jaxreason.plan.slices import Slice
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.update import needs_old, needs_reference
from jaxreason.training.sft_config import SFTConfig

SHARES = (1.0, 0.125)  # Shares of the longest reply for which RL's time is given.


@dataclass(frozen=True)
class RunTime:
    """The estimate of a run.

    Attributes:
      what: the assumption behind it.
      steps: steps of the run.
      tokens: tokens that it trains on, without padding; for RL, tokens that it generates.
      chip_hours: at best and at worst.
      parts: hours on the slice at best, by program.
    """

    what: str
    steps: int
    tokens: float
    chip_hours: tuple[float, float]
    parts: dict[str, float]


def sft_time(config: SFTConfig, plan: PlanConfig, timed: Timed, slice_: Slice) -> list[RunTime]:
    """Estimates a run of SFT; empty if the number of examples is unknown."""
    if not plan.examples:
        return []
    examples = plan.examples * config.epochs
    steps = math.ceil(examples / config.batch_size)
    mean = min(plan.example_tokens or config.length, config.length)
    what = f"{plan.examples:,} examples of {mean:,} tokens, {config.epochs:g} epochs"
    what += ", packed" if config.pack else ", a row each"
    what += "" if plan.example_tokens else " (plan.example_tokens is not known: full rows)"
    hours = tuple(steps * seconds / 3600 * slice_.chips for seconds in (timed.best, timed.worst))
    parts = {"SFT step": steps * timed.best / 3600}
    return [RunTime(what, steps, examples * mean, hours, parts)]


def rl_time(
    config: RLConfig, plan: PlanConfig, timed: dict[str, Timed], slice_: Slice
) -> list[RunTime]:
    """Estimates a run of RL with one generation batch per step, for replies of the mean length or as SHARES says."""
    if not plan.reply_tokens:
        return []
    longest = min(plan.reply_tokens, config.decoding.max_tokens)
    return [
        _rl_time(config, int(longest * share), plan.prompt_tokens, timed, slice_)
        for share in SHARES
    ]


def _rl_time(
    config: RLConfig, reply: int, prompt_tokens: int, timed: dict[str, Timed], slice_: Slice
) -> RunTime:
    prompts, sizes = config.prompts_per_batch, config.sampler
    replies = prompts * config.sampled
    longest = sizes.max_length - config.decoding.max_tokens
    prompt = min(prompt_tokens or longest, longest)
    # Rows hold as many replies as fit, and steps skip rows that are not needed.
    number = config.mini_batch_prompts * config.group_size
    rows = make_layout(
        number, sizes.max_length, config.row_length, config.micro_batch_rows
    ).num_rows
    filled = min(number * (prompt + reply) / config.row_length / rows, 1.0)
    batches = config.updates_per_step / config.epochs_per_batch
    # A reference that is the policy's own model is read by the policy's program.
    passes = needs_old(config) + (needs_reference(config) and REFERENCE_PASS not in timed)
    times = {
        "RL policy step": config.updates_per_step * filled,
        "log-prob pass": batches * passes * filled,
        REFERENCE_PASS: batches * filled,
        "weights to the sampler": 1,
        "prefill": prompts * math.ceil(prompt / sizes.prefill_block) / sizes.prefill_blocks,
        "decode, one token": replies * reply / sizes.slots,
    }
    # Sequences of all ages are decoded together, so half of a reply is there on average.
    name, share = "decode, one token", (prompt + reply / 2) / sizes.max_length
    timed = timed | ({name: timed[name].filled(share)} if name in timed else {})
    best = {name: t.best * times[name] for name, t in timed.items()}
    worst = [t.worst * times[name] for name, t in timed.items()]
    steps = config.num_steps
    hours = tuple(steps * sum(each) / 3600 * slice_.chips for each in (list(best.values()), worst))
    what = f"replies of {reply:,} tokens, {prompts:,} prompts x {config.sampled} a step, "
    what += f"prompts of {prompt:,} tokens" if prompt_tokens else "longest prompts"
    parts = {name: steps * seconds / 3600 for name, seconds in best.items()}
    return RunTime(what, steps, float(steps * replies * reply), hours, parts)
