"""How the cost of a decoded token grows with the number of slots and with the length of what they hold, as a figure.

    python scripts/decode_cost.py smollm2 --out docs/images/decode_cost.png

Every slot stands at the same length; a dispatch of the engine's own decode program makes `--steps` tokens of each.
Medians of `--repeats` dispatches, by turns over all lengths of a slot count, so that a slow minute of the machine meets
all. Left: milliseconds of a step; right: tokens a second relative to the fewest slots at the shortest length. The
numbers go to a JSON file beside the figure.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import matplotlib  # noqa: E402
import numpy as np  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

from jaxreason.models.huggingface import ModelConfig, open_model  # noqa: E402
from jaxreason.models.sampling_layout import lay_out, sampling_model  # noqa: E402
from jaxreason.sampling.slots import NEVER, Sizes, make_programs  # noqa: E402
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

PAGE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="folder or hub name of a model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--unroll", type=int, default=30, help="layers per iteration of the scan")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128, 512, 1024, 2000])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    layout = {"remat": "none", "attention": "blockwise", "unroll": arguments.unroll}
    stored = {"dtype": arguments.dtype, "param_dtype": arguments.dtype}
    config = ModelConfig(arguments.path, "pretrained", {}, **stored, **layout)
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        model, params = open_model(config, mesh)
        params, model = lay_out(model, mesh, params), sampling_model(model, mesh)
        times = {n: step_times(arguments, model, params, mesh, n) for n in arguments.slots}
    draw(times, arguments.out)
    about = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "dtype": arguments.dtype,
    }
    arguments.out.with_suffix(".json").write_text(
        json.dumps(about | {"milliseconds": times}, indent=1) + "\n"
    )


def step_times(arguments, model, params, mesh, slots: int) -> dict[int, float]:
    """Milliseconds of a step at each length."""
    longest = max(arguments.lengths) + arguments.steps + 1
    columns = -(-longest // PAGE)
    sizes = Sizes(slots, longest, arguments.steps, PAGE, 1 + slots * columns)
    programs = make_programs(model, mesh, sizes, ())
    state = programs.make_state(params)
    mixed = np.random.default_rng(0).permutation(np.arange(1, sizes.pages, dtype=np.int32))
    tables, until = mixed.reshape(slots, columns), np.full(slots, columns * PAGE, np.int32)
    found: dict[int, list[float]] = {length: [] for length in arguments.lengths}
    for turn in range(arguments.repeats + 1):
        for length in arguments.lengths:
            everywhere = lambda value: jnp.full(slots, value, jnp.int32)  # noqa: E731
            state = state._replace(
                position=everywhere(length), last=everywhere(longest), close_at=everywhere(NEVER)
            )
            began = time.perf_counter()
            state, block = programs.decode(params, state, tables, until, np.int32(0))
            assert (np.asarray(block.count) == arguments.steps).all()
            if turn:  # the first compiles
                found[length].append((time.perf_counter() - began) / arguments.steps * 1e3)
    medians = {length: statistics.median(values) for length, values in found.items()}
    print(
        f"{slots} slots: " + ", ".join(f"{k}: {v:.0f} ms" for k, v in medians.items()), flush=True
    )
    return medians


def draw(times: dict[int, dict[int, float]], out: pathlib.Path) -> None:
    """Both panels, a line a slot count."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    least = min(times), min(next(iter(times.values())))
    one = least[0] / times[least[0]][least[1]]
    for slots, medians in times.items():
        lengths, costs = list(medians), list(medians.values())
        left.plot(lengths, costs, marker="o", label=f"{slots} slots")
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
