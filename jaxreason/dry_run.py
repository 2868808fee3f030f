"""What a study would do, about how long it would take here and how much disk it would need; nothing is run.

Time is work over rate: 6 floating-point operations a parameter for a trained token, 2 for a read or written one, and a
share of the rate of a large matrix product, measured now. Replies are counted at their full length, so
sampling is overestimated where they end early. Small models are slowed by other things than products.
"""

import math
import tempfile
import time

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from jaxreason.config import parse
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.evaluation.benchmarks import load_items
from jaxreason.evaluation.settings import EvalConfig, find_benchmarks
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelConfig
from jaxreason.questions import prepare
from jaxreason.rl.loop import RLConfig
from jaxreason.study import StudyConfig, arm_section
from jaxreason.training.sft import SFTConfig, load_batches
from jaxreason.training.state import static_model

SHARE_TRAINING, SHARE_SAMPLING = 0.2, 0.05  # of the rate of a large matrix product


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
                seconds = size * _training(section, model, epath.Path(scratch)) / rate
                disk = size * (4 + 12 * max(section.keep, 1))
            for seed in seeds:
                rows.append(
                    (f"train, evaluate, compare {name} seed {seed}", seconds + evaluate, disk)
                )
    return _table(rows, size, rate)


def _training(section: SFTConfig | RLConfig, model: ModelConfig, scratch: epath.Path) -> float:
    """Floating-point operations a parameter, each divided by its share of the rate."""
    if isinstance(section, SFTConfig):
        tokenizer = load_tokenizer(section.tokenizer or model.path)
        whole = (0, 1)
        steps = load_batches(section, tokenizer, whole, scratch, 0).num_steps
        return 6 * steps * section.batch_size * section.length / SHARE_TRAINING
    replies = section.num_steps * section.prompts_per_step * section.group_size
    sampled = replies * section.dynamic_sampling.max_batches * section.decoding.max_tokens
    trained = replies * section.sampler.max_length
    return 2 * sampled / SHARE_SAMPLING + 6 * trained / SHARE_TRAINING


def evaluation_tokens(config: EvalConfig) -> int:
    """Tokens of all replies of an evaluation, each at its full length."""
    total = 0
    for name, benchmark in find_benchmarks(config).items():
        run = config.benchmarks[name]
        items = load_items(
            benchmark, config.source, config.data_folder, run.limit, config.items_seed
        )
        for decoding, samples in run.samples.items():
            total += len(items) * samples * config.decodings[decoding].max_tokens
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
    head = f"{size:,} parameters; estimated from {rate / 1e9:,.0f} GFLOP/s measured here, replies at full length:"
    return "\n".join([head, *lines])
