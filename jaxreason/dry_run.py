"""What a study would do, about how long it would take here and how much disk it would need; nothing is run.

Time is work over rate: 6 floating-point operations a parameter for a trained token, 2 for a read or written one, and a
share of the rate of a large matrix product, measured now. Replies are taken to be half as long as they may be, and half
of RL's groups to be alike where such are replaced. Small models are slowed by other things than products.
"""

import math
import tempfile
import time

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from jaxreason.arms import StudyConfig, arm_section
from jaxreason.config import parse
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.evaluation.parts import asked_parts
from jaxreason.evaluation.settings import EvalConfig
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig
from jaxreason.questions import prepare
from jaxreason.rl.loop import RLConfig
from jaxreason.training.sft import SFTConfig, load_data, make_batches
from jaxreason.training.state import static_model

# Of the rate of a large matrix product, on CPU: between what a model of 0.5M parameters reaches and one of 135M.
SHARE_TRAINING, SHARE_SAMPLING = 0.35, 0.1
REPLY_LENGTH = 0.5  # of the most tokens that one may have
CHARACTERS = 4  # of a token, about


def describe_study(config: ml_collections.ConfigDict) -> str:
    """The stages of a study with estimated minutes and disk, as a text.

    Raises:
      ValueError: for data or a model that cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        config = prepare(config, epath.Path(scratch))
        study = parse(StudyConfig, config.study, "config.study")
        model = parse(ModelConfig, config.model, "config.model")
        size = sum(
            math.prod(x.shape) for x in jax.tree.leaves(abstract_params(static_model(model)))
        )
        rate = matmul_rate()
        evaluate = 2 * size * evaluation_tokens(parse(EvalConfig, config.eval, "config.eval"))
        evaluate /= rate * SHARE_SAMPLING
        rows = [("evaluate base", evaluate, 0)]
        for name, arm in study.arms.items():
            seeds = study.seeds if arm.method != "given" else study.seeds[:1]
            seconds, disk = 0.0, 0
            if arm.method != "given":
                section = arm_section(config, name, arm)
                seconds = size * _training(section, model) / rate
                disk = size * (4 + 12 * max(section.keep, 1))
            for seed in seeds:
                rows.append(
                    (f"train, evaluate, compare {name} seed {seed}", seconds + evaluate, disk)
                )
    return _table(rows, size, rate)


def _training(section: SFTConfig | RLConfig, model: ModelConfig) -> float:
    """Floating-point operations a parameter, each divided by its share of the rate."""
    if isinstance(section, SFTConfig):
        tokenizer = load_tokenizer(section.tokenizer or model.path)
        data = load_data(section, tokenizer)
        steps = make_batches(section, data, (0, 1), seed=0).num_steps
        return 6 * steps * section.batch_size * section.length / SHARE_TRAINING
    replies = section.num_steps * section.prompts_per_step * section.group_size
    tokens = replies * section.decoding.max_tokens * REPLY_LENGTH
    batches = min(2, section.dynamic_sampling.max_batches)
    return 2 * tokens * batches / SHARE_SAMPLING + 6 * tokens / SHARE_TRAINING


def evaluation_tokens(config: EvalConfig) -> float:
    """About how many tokens an evaluation writes, or reads to choose between given replies."""
    total = 0.0
    for part in asked_parts(config):
        if part.kind == "choose":
            messages = (m["content"] for item in part.items for m in item.example.messages)
            total += sum(map(len, messages)) / CHARACTERS
        else:
            replies = len(part.items) * part.num_samples
            total += replies * part.decoding.max_tokens * REPLY_LENGTH
    return total


def matmul_rate() -> float:
    """Floating-point operations a second of a 2,048 x 2,048 float32 product, over all devices; the best of three."""
    x = jnp.ones((2048, 2048))
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        product(x).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times) * jax.device_count()


def _table(rows: list[tuple[str, float, int]], size: int, rate: float) -> str:
    rows = [*rows, ("transfer, report", 5.0, 0)]
    rows.append(("all", sum(r[1] for r in rows), sum(r[2] for r in rows)))
    width = max(len(name) for name, _, _ in rows)
    lines = [
        f"{name:<{width}}  {seconds / 60:8.1f} min  {disk / 2**20:10.1f} MiB"
        for name, seconds, disk in rows
    ]
    head = f"{size:,} parameters; estimated from {rate / 1e9:,.0f} GFLOP/s measured here:"
    return "\n".join([head, *lines])
