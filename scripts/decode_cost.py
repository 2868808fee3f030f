"""How the cost of a decoded token grows with the number of slots and with the length of what they hold, as a figure.

    python scripts/decode_cost.py smollm2 --out docs/images/decode_cost.png
    python scripts/decode_cost.py 14b --dtype bfloat16 --out runs/decode_14b.png    # Qwen3's size, random weights

All slots hold the same length; a dispatch of the engine's own decode program makes `--steps` tokens for each slot. The
numbers are medians of `--repeats` dispatches. All lengths of a slot count take turns, so that a slow minute of the
machine affects all. Left: milliseconds of a step. Right: tokens per second relative to the fewest slots at the shortest
length. The numbers are written to a JSON file beside the figure. If the device's memory bandwidth is known, they
include the share of the roofline: the bytes that a step must read (the weights without the token embedding, and the
cache up to the slots' length) divided by its time, divided by the maker's bandwidth.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from typing import get_args

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import matplotlib  # noqa: E402
import numpy as np  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from configs import qwen3  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, open_model  # noqa: E402
from jaxreason.models.sampler_weights import WeightDtype, WeightLayout, lay_out, sampling_model  # noqa: E402
from jaxreason.plan.slices import generation_of  # noqa: E402
from jaxreason.sampling.cache_engine import CacheDtype  # noqa: E402
from jaxreason.sampling.device_programs import make_device_programs  # noqa: E402
from jaxreason.sampling.engine_config import EngineSizes  # noqa: E402
from jaxreason.sampling.sequences import NEVER  # noqa: E402
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="folder or hub name of a model, or one of Qwen3's sizes")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--unroll", type=int, default=30, help="layers per iteration of the scan")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128, 512, 1024, 2000])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--cache-dtype", default="auto", choices=get_args(CacheDtype))
    parser.add_argument("--weight-dtype", default="auto", choices=get_args(WeightDtype))
    parser.add_argument("--page-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trace", help="folder for a profile of the last dispatch")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        model, params = open_model(model_config(arguments), mesh, jax.random.key(0))
        kind = arguments.weight_dtype
        params, model = (
            lay_out(model, mesh, params, WeightLayout(kind)),
            sampling_model(model, mesh, kind),
        )
        rows = []
        for n in arguments.slots:
            times = step_times(arguments, model, params, mesh, n)
            rows.append(report(arguments, params, model, n, times))
    draw({row["slots"]: row["milliseconds"] for row in rows}, arguments.out)
    about = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    about |= {"model": pathlib.Path(arguments.path).name, "rows": rows}
    for name in ("dtype", "cache_dtype", "weight_dtype", "page_size", "unroll", "steps", "repeats"):
        about[name] = getattr(arguments, name)
    arguments.out.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


def report(arguments, params, model, slots: int, times: dict[int, float]) -> dict:
    """Prints the steps of a slot count; returns their milliseconds and shares of the roofline by length."""
    rate, dtype = peak_rate(), arguments.cache_dtype
    read = {n: read_bytes(model, params, slots, n, dtype) for n in times}
    shares = {n: read[n] / rate / t * 1e3 for n, t in times.items()} if rate else {}
    shown = [
        f"{n}: {t:.2f} ms" + (f" ({shares[n]:.0%} of the roofline)" if rate else "")
        for n, t in times.items()
    ]
    print(f"{slots} slots: {', '.join(shown)}", flush=True)
    return {"slots": slots, "milliseconds": times, "roofline": shares}


def model_config(arguments) -> ModelConfig:
    layout = {"remat": "none", "attention": "blockwise", "unroll": arguments.unroll}
    stored = {"dtype": arguments.dtype, "param_dtype": arguments.dtype}
    if arguments.path in qwen3.SIZES:
        settings = qwen3.architecture(arguments.path)
        return ModelConfig("", "random", settings, **stored, **layout)
    return ModelConfig(arguments.path, "pretrained", {}, **stored, **layout)


def peak_rate() -> float | None:
    """Returns the memory bandwidth of this device by its maker, in bytes per second; None if it is not known."""
    device = generation_of(jax.devices()[0].device_kind)
    return device.hbm_speed if device else None


def step_times(arguments, model, params, mesh, slots: int) -> dict[int, float]:
    """Returns the milliseconds of a step at each length."""
    size, longest = arguments.page_size, max(arguments.lengths) + arguments.steps + 1
    columns = -(-longest // size)
    shape = (slots, longest, arguments.steps, size, 1 + slots * columns)
    sizes = EngineSizes(*shape, cache_dtype=arguments.cache_dtype)
    programs = make_device_programs(model, mesh, sizes, ())
    state = programs.make_state(params)
    mixed = np.random.default_rng(0).permutation(np.arange(1, sizes.pages, dtype=np.int32))
    tables, until = mixed.reshape(slots, columns), np.full(slots, columns * size, np.int32)

    def dispatch(length: int) -> float:
        nonlocal state
        everywhere = lambda value: jnp.full(slots, value, jnp.int32)  # noqa: E731
        state = state._replace(
            position=everywhere(length), last=everywhere(longest), close_at=everywhere(NEVER)
        )
        began = time.perf_counter()
        state, block = programs.decode(params, state, tables, until, np.int32(0))
        assert (np.asarray(block.count) == arguments.steps).all()
        return (time.perf_counter() - began) / arguments.steps * 1e3

    dispatch(min(arguments.lengths))  # The first dispatch compiles.
    turns = [{n: dispatch(n) for n in arguments.lengths} for _ in range(arguments.repeats)]
    if arguments.trace:
        with jax.profiler.trace(f"{arguments.trace}/{slots}"):
            dispatch(max(arguments.lengths))
    medians = {n: statistics.median(turn[n] for turn in turns) for n in arguments.lengths}
    return medians


def read_bytes(model, params, slots: int, length: int, cache_dtype: CacheDtype) -> int:
    """Returns the bytes that a step must read: the cache and the weights, with the embedding
    only if it is the head too.
    """
    arch = model.architecture
    skipped = () if arch.tie_word_embeddings else ("embed_tokens",)
    weights = jax.tree.leaves({name: x for name, x in params.items() if name not in skipped})
    numbers = 2 * arch.num_hidden_layers * arch.num_key_value_heads * arch.head_dim
    dtype = model.dtype if cache_dtype == "auto" else cache_dtype
    cache = slots * length * numbers * jnp.dtype(dtype).itemsize
    return sum(x.nbytes for x in weights) + cache


def draw(times: dict[int, dict[int, float]], out: pathlib.Path) -> None:
    """Draws both panels, with a line for each slot count."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    least = min(times), min(next(iter(times.values())))
    one = least[0] / times[least[0]][least[1]]
    for slots, medians in times.items():
        lengths, costs = list(medians), list(medians.values())
        left.plot(lengths, costs, marker="o", label=f"{slots} slot" + "s" * (slots > 1))
        right.plot(lengths, [slots / cost / one for cost in costs], marker="o")
    left.set(xlabel="tokens in each slot", ylabel="milliseconds a step", xscale="log", yscale="log")
    title = f"tokens/s, times those of {least[0]} at {least[1]}"
    right.set(xlabel="tokens in each slot", ylabel=title, xscale="log", yscale="log")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main()
