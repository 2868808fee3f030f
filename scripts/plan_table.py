"""The smallest slice of each TPU generation on which the Qwen3-14B recipes fit, as the table of docs/plan.md.

    python scripts/plan_table.py --folder runs/plans                 # hours: every plan is compiled for its slice
    python scripts/plan_table.py --folder runs/plans --only v5p-64   # these slices only
    python scripts/plan_table.py --folder runs/plans --print         # the table of the plans that are there

The slices of a generation are tried from the smallest that can hold parameters and optimizer state, until one fits.
Plans are kept in the folder (one plan.json per recipe and slice) and not made again. Needs jaxreason[tpu].
"""

import argparse
import json
import pathlib
import subprocess
import sys

from jaxreason.plan.slices import GIB, SLICES, TOPOLOGIES

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPES = {"sft": "configs/sft_qwen3_14b_think.py", "rl": "configs/rl_qwen3_14b.py"}
ALWAYS = ("v5p-64", "v6e-64")
STATE = 12 * 14_768_307_200  # Bytes of float32 parameters and two moments.


def main():
    arguments = _arguments()
    for stage, recipe in {} if arguments.print else RECIPES.items():
        if arguments.stage in ("", stage):
            _plan_stage(stage, recipe, arguments)
    print(table(arguments.folder))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="slices, with commas")
    parser.add_argument("--stage", default="", choices=("", *RECIPES))
    parser.add_argument("--print", action="store_true")
    return parser.parse_args()


def _plan_stage(stage: str, recipe: str, arguments) -> None:
    if arguments.only:
        for name in arguments.only.split(","):
            plan(arguments.folder, stage, recipe, name)
        return
    for name in ALWAYS:
        plan(arguments.folder, stage, recipe, name)
    for generation in TOPOLOGIES:
        for name in candidates(generation):
            found = plan(arguments.folder, stage, recipe, name)
            if found and found["stages"][0]["fits"]:
                break


def candidates(generation: str) -> list[str]:
    """Returns the slices of a generation that can hold the state, smallest first."""
    slices = [s for s in SLICES.values() if s.generation == generation]
    return [s.name for s in slices if STATE / s.devices < s.kind.hbm]


def plan(folder: pathlib.Path, stage: str, recipe: str, name: str) -> dict | None:
    """Returns the plan of a recipe on a slice; makes it if it does not exist. None if the recipe cannot run there."""
    workdir = folder / f"{stage}_{name}"
    if not (workdir / "plan.json").exists():
        workdir.mkdir(parents=True, exist_ok=True)
        fit = "--fit" if name in ALWAYS else "--nofit"
        code = "from jaxreason.__main__ import main; main()"
        command = [sys.executable, "-c", code, "plan", "--config", recipe, "--slice", name, fit]
        with (workdir / "plan.txt").open("w") as log:
            result = subprocess.run(
                [*command, "--workdir", str(workdir)], cwd=ROOT, stdout=log, check=False
            )
        print(f"{stage} {name}: exit code {result.returncode}", file=sys.stderr, flush=True)
        if result.returncode:
            return None
    return json.loads((workdir / "plan.json").read_text())


def table(folder: pathlib.Path) -> str:
    """Returns all plans of the folder as Markdown."""
    lines = [
        "| recipe | slice | chips | devices | mesh | GiB a device: peak of each program | of | fits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    order = list(SLICES)
    plans = [json.loads(p.read_text()) for p in folder.glob("*/plan.json")]
    for found in sorted(
        plans, key=lambda p: (p["stages"][0]["name"] != "sft", order.index(p["slice"]["name"]))
    ):
        stage, slice_ = found["stages"][0], found["slice"]
        mesh = ", ".join(f"{axis} {size}" for axis, size in found["mesh"].items() if size > 1)
        peaks = ", ".join(_peak(program) for program in stage["programs"])
        lines.append(
            f"| {stage['name']} | {slice_['name']} | {slice_['chips']} | {slice_['devices']} | {mesh} | {peaks} | "
            f"{found['hbm'] / GIB:.2f} | {'yes' if stage['fits'] else 'no'} |"
        )
    return "\n".join(lines)


def _peak(program: dict) -> str:
    size = f"{program['total'] / GIB:.1f}"
    return f"{program['name']} {'over ' if program['refused'] else ''}{size}"


if __name__ == "__main__":
    main()
