"""Our Qwen3-14B train step beside MaxText's at the same work, both compiled for TPU slices without a TPU.

    python scripts/compare_maxtext.py --folder runs/maxtext                # compiles what is missing, prints the table
    python scripts/compare_maxtext.py --folder runs/maxtext --only v5p-64

The work: one sequence of 16,384 tokens a device, all devices on fsdp, flash attention, bfloat16 activations, full
recomputation, cross-entropy 1,024 tokens' worth of logits at a time, and 12 bytes a parameter (float32 weights,
gradients and both AdamW moments). Needs jaxreason[tpu].
"""

import argparse
import dataclasses
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from configs import qwen3  # noqa: E402
from jaxreason.plan.recipe_plan import plan_recipe  # noqa: E402
from jaxreason.plan.slices import GIB, find_slice  # noqa: E402

# Peak GiB a device of MaxText 0.2.5's step (jax 0.11.2, libtpu 0.0.48.1), by its own compiled program's memory
# analysis; and its matrix products, TFLOP a device and step, counted from its jaxpr without the attention kernel.
MAXTEXT_PEAK = {"v5p-64": 18.15, "v6e-64": 14.21, "v6e-256": 11.38, "v5e-256": 11.36}
MAXTEXT_TFLOP = 1717


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="slices, with commas")
    parser.add_argument("--attention", default="splash")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only.split(",") if arguments.only else MAXTEXT_PEAK:
        path = arguments.folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(measure(name, arguments.attention), indent=1))
    print(table(arguments.folder))


def measure(name: str, attention: str) -> dict:
    """Returns peak, products and kernels of one step, compiled for the slice."""
    plan = plan_recipe(recipe(name, attention), find_slice(name), fit=False)
    found = plan.stages[0].measured[0]
    return {
        "slice": name,
        "devices": plan.slice.devices,
        "attention": attention,
        "peak": found.peak,
        "refused": found.refused,
        "held": found.held,
        "work": dataclasses.asdict(found)["work"]._asdict(),
        "seconds": found.seconds,
    }


def recipe(name: str, attention: str):
    """Returns the shipped recipe with MaxText's shapes."""
    config = qwen3.sft("14b", "think", name)
    config.mesh.fsdp, config.mesh.tensor = -1, 1
    config.model.attention = attention
    config.sft.batch_size = config.sft.micro_batch_rows = find_slice(name).devices
    config.sft.pack = False
    config.sft.length = 16384
    config.sft.logprob_chunk = 1024
    return config


def table(folder: pathlib.Path) -> str:
    """Returns the results in the folder as Markdown."""
    lines = [
        "| slice | devices | jaxreason, GiB | MaxText, GiB | ratio | jaxreason, TFLOP | MaxText, TFLOP |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, theirs in MAXTEXT_PEAK.items():
        if (folder / f"{name}.json").exists():
            ours = json.loads((folder / f"{name}.json").read_text())
            peak, devices = ours["peak"] / GIB, ours["devices"]
            shown = f"{'over ' if ours['refused'] else ''}{peak:.2f}"
            products = ours["work"]["weights"] / devices / 1e12
            lines.append(
                f"| {name} | {devices} | {shown} | {theirs} | {peak / theirs:.2f} | "
                f"{products:,.0f} | {MAXTEXT_TFLOP:,} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
