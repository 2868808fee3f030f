"""Useful tokens per second of SFT, with one example per row and with packed rows: planned at 14B, and measured here.

    python scripts/packing_speed.py plan --slice h200-8      # Qwen3-14B, 512 examples a step, rows of 16,384 tokens
    python scripts/packing_speed.py plan --slice v5p-64      # needs jaxreason[tpu]; minutes a row
    python scripts/packing_speed.py measure                  # a small model here, lengths and rows a 32nd of those

Useful tokens are those that are not padding. Lengths are log-normal around the mean; `measure` runs both ways in turns
and prints medians and ranges.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys
import time

if "plan" in sys.argv:  # Stands for the cards of a slice.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import numpy as np  # noqa: E402

from configs import base_tiny, sections  # noqa: E402
from jaxreason.config import parse  # noqa: E402
from jaxreason.models.decoder import init_params, param_axes  # noqa: E402
from jaxreason.models.hf_config import architecture_from_hf  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, make_model  # noqa: E402
from jaxreason.plan.recipe_plan import plan_recipe  # noqa: E402
from jaxreason.plan.slices import find_slice  # noqa: E402
from jaxreason.recipes import load_recipe  # noqa: E402
from jaxreason.sharding import MeshConfig, make_mesh, place_rows  # noqa: E402
from jaxreason.training.optimizer import make_optimizer  # noqa: E402
from jaxreason.training.sft import make_step  # noqa: E402
from jaxreason.training.sft_config import SFTConfig  # noqa: E402
from jaxreason.training.sft_data import TrainingData, make_batches  # noqa: E402
from jaxreason.training.state import init_state, state_shardings  # noqa: E402

MEANS = {"no-think": 800, "think": 5000}
LENGTH, SMALLER, SPREAD = 16384, 32, 0.6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("how", choices=("plan", "measure"))
    parser.add_argument("--slice", default="h200-8")
    parser.add_argument("--examples", type=int, default=64, help="of a measured step")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.how == "plan":
        print(planned(arguments.slice))
    else:
        print(measured(arguments.examples, arguments.turns))


def planned(slice_name: str) -> str:
    """Returns the step of the 14B recipes on a slice as Markdown."""
    lines = [
        "| examples | rows | positions a step | step, s | useful tokens/s |",
        "|---|---|---|---|---|",
    ]
    for kind, mean in MEANS.items():
        for pack in (False, True):
            config = load_recipe(f"configs/sft_qwen3_14b_{kind.replace('-', '_')}.py:{slice_name}")
            config.sft.pack, config.plan.example_tokens = pack, mean
            (stage,) = plan_recipe(config, find_slice(slice_name), fit=False).stages
            program, timed = stage.programs[0], stage.timed[0]
            tokens = config.sft.batch_size * mean
            rates = [f"{tokens / seconds:,.0f}" for seconds in (timed.worst, timed.best)]
            lines.append(
                f"| {kind}, mean {mean:,} | {'packed' if pack else 'one each'} | {program.tokens:,} | "
                f"{timed.best:.1f} to {timed.worst:.1f} | {' to '.join(rates)} |"
            )
    return "\n".join(lines)


def measured(examples: int, turns: int) -> str:
    """Returns the steps of a small model here as Markdown."""
    lines = ["| examples | rows | useful share | useful tokens/s |", "|---|---|---|---|"]
    for kind, mean in MEANS.items():
        data = made(examples, mean / SMALLER)
        runs = {pack: Run(data, examples, pack) for pack in (False, True)}
        found = {pack: [] for pack in runs}
        for _ in range(turns):
            for pack, run in runs.items():
                found[pack].append(run.tokens / run.seconds())
        for pack, run in runs.items():
            rates = found[pack]
            lines.append(
                f"| {kind}, mean {mean / SMALLER:.0f} | {'packed' if pack else 'one each'} | "
                f"{run.tokens / run.positions:.0%} | {statistics.median(rates):,.0f} "
                f"({min(rates):,.0f} to {max(rates):,.0f}) |"
            )
    return "\n".join(lines)


def made(examples: int, mean: float) -> TrainingData:
    """Makes examples of random tokens with log-normal lengths."""
    random = np.random.default_rng(0)
    lengths = np.exp(random.normal(np.log(mean) - SPREAD**2 / 2, SPREAD, examples))
    lengths = np.clip(lengths, 4, LENGTH // SMALLER).astype(int)
    sequences = [(random.integers(4, 88, n).tolist(), [0, 0] + [1] * (n - 2)) for n in lengths]
    return TrainingData(sequences, {}, {}, [])


class Run:
    """One way of training on the examples, compiled; all examples are one step."""

    def __init__(self, data: TrainingData, examples: int, pack: bool):
        recipe = base_tiny.get_config()
        length = LENGTH // SMALLER
        recipe.sft.update({"pack": pack, "batch_size": examples, "length": length, "epochs": 1.0})
        recipe.sft.update({"micro_batch_rows": 2, "logprob_chunk": length})
        recipe.sft.optimizer = sections.optimizer(1e-4)
        architecture = recipe.model.architecture.to_dict() | {"max_position_embeddings": length}
        config = parse(SFTConfig, recipe.sft, "sft")
        model_config = dataclasses.replace(
            parse(ModelConfig, recipe.model, "model"), attention="blockwise"
        )
        model = make_model(model_config, architecture_from_hf(architecture))
        self._mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
        batches = make_batches(config, data, (0, 1), seed=0)
        self.tokens, self.positions = batches.num_tokens(0), batches.num_positions(0)
        with jax.set_mesh(self._mesh):
            optimizer = make_optimizer(config.optimizer, 1000, param_axes(model))
            self._state = init_state(optimizer, init_params(model, jax.random.key(0)), self._mesh)
            pieces = batches.layout.num_micro_batches
            self._step = make_step(config, model, optimizer, state_shardings(self._state), pieces)
            self._batch = place_rows(self._mesh, batches.batch(0))
        self.seconds()  # The first step compiles.

    def seconds(self) -> float:
        """Returns the seconds of one step."""
        began = time.perf_counter()
        with jax.set_mesh(self._mesh):
            self._state, found = self._step(self._state, self._batch)
            jax.block_until_ready(found)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
