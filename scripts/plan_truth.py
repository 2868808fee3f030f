"""Compares memory and time of a short run with those of its plan, program by program.

    python scripts/plan_truth.py sft --config configs/study_tiny.py --folder runs/truth_sft
    python scripts/plan_truth.py rl --config configs/rl_qwen3.py:0.6b --folder runs/truth_rl    # on a GPU

The run is that of `jaxreason sft` or `rl`, shortened to `--steps` steps. For each call of a planned program, its memory
is the peak of the program as compiled for the run, plus the arrays that exist beside its arguments at that moment. The
plan is made without the run, so its batch shapes, its programs and what it expects beside a program may all differ. A
device that counts memory (GPU, TPU) also reports its own peak for the whole process. On a CPU, `seen` is the arrays
that exist when a program is called plus the growth of the process's resident memory during the call (Linux; a few MiB
cannot be told from the process's own needs).
"""

import argparse
import ctypes
import dataclasses
import json
import os
import pathlib
import statistics
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jaxreason.plan.slices import (  # noqa: E402
    GIB,
    GPU_SHARE,
    Slice,
    find_slice,
    generation_of,
)

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_SHARE))  # As in a run of ours.

import jax  # noqa: E402

from jaxreason.compiling import make_products_exact  # noqa: E402  # noqa: E402
from jaxreason.config import parse  # noqa: E402
from jaxreason.models import sampler_weights  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, static_model  # noqa: E402
from jaxreason.plan.plan_settings import (  # noqa: E402
    PlanConfig,
    with_local_examples,
)
from jaxreason.plan.program_costs import measure_program, peak_bytes  # noqa: E402
from jaxreason.plan.programs import micro_batches, rl_programs, sft_programs  # noqa: E402
from jaxreason.plan.roofline import Timed, estimate  # noqa: E402
from jaxreason.plan.run_time import rl_time  # noqa: E402
from jaxreason.recipes import load_recipe  # noqa: E402
from jaxreason.results.training_files import metrics_path, read_metrics  # noqa: E402
from jaxreason.rl import loop  # noqa: E402
from jaxreason.rl.rl_config import RLConfig  # noqa: E402
from jaxreason.sampling import engine  # noqa: E402
from jaxreason.sharding import MeshConfig, bytes_on_device, make_mesh  # noqa: E402
from jaxreason.studies.question_set import prepare_questions  # noqa: E402  # noqa: E402
from jaxreason.training import sft  # noqa: E402
from jaxreason.training.sft_config import SFTConfig  # noqa: E402

CLEAR = pathlib.Path("/proc/self/clear_refs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["sft", "rl"])
    parser.add_argument("--config", required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=0, help="mean of RL's; 0: the longest")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    recipe = prepare_questions(load_recipe(arguments.config), arguments.folder)
    model = parse(ModelConfig, recipe.model, "config.model")
    mesh = make_mesh(parse(MeshConfig, recipe.mesh, "config.mesh"))
    make_products_exact(model.dtype)
    with jax.set_mesh(mesh):
        rows = compare(arguments, recipe, model, mesh)
    print(shown(rows))
    (arguments.folder / "plan_truth.json").write_text(json.dumps(rows, indent=1) + "\n")


def compare(arguments, recipe, model_config: ModelConfig, mesh) -> dict[str, Any]:
    """Returns the plan's numbers, followed by those of the run."""
    classes = {"sft": SFTConfig, "rl": RLConfig}
    section = parse(classes[arguments.stage], recipe[arguments.stage], "config")
    planned, timed = plan(section, model_config, mesh)
    seen = watch()
    run = {"sft": sft.run_sft, "rl": loop.run_rl}[arguments.stage]
    short = cut(section, recipe, arguments.steps)
    run(short, model_config, mesh, arguments.folder / "run", recipe.seed)
    lines = read_metrics(metrics_path(arguments.folder / "run"))
    stats = jax.local_devices()[0].memory_stats() or {}
    medians = {
        name: statistics.median(line[name] for line in lines[1:])
        for name in lines[-1]
        if name.endswith("_seconds") or name == "response_tokens"
    }
    expected = None
    if timed and arguments.stage == "rl":
        expected = step_range(section, timed, arguments.prompt_tokens, medians["response_tokens"])
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "stage": arguments.stage,
        "config": arguments.config,
        "programs": [row | numbers(seen.get(row["name"])) for row in planned],
        "peak_of_the_device": stats.get("peak_bytes_in_use"),
        "expected_seconds": expected,
        **medians,
    }


def numbers(found: tuple[float, float] | None) -> dict[str, float | None]:
    """Returns the numbers of a program; None for each if it did not run."""
    run, seen = found or (None, None)
    return {"run": run, "seen": seen or None}


def cut(section, recipe, steps: int):
    """Returns the section with so many steps and only the data for them."""
    changes = {"checkpoint_every": 0, "tensorboard": False}
    if isinstance(section, RLConfig):
        changes |= {"num_steps": steps}
    else:
        data = sft.load_data(section, sft.load_tokenizer(section.tokenizer or recipe.model.path))
        changes |= {"epochs": steps * section.batch_size / len(data.sequences)}
    return dataclasses.replace(section, **changes)


def step_range(section, timed: dict[str, Timed], prompt: int, reply: float) -> list[float]:
    """Returns the plan's range for a step of RL with prompts and replies of these mean lengths, in seconds."""
    known = PlanConfig({}, reply_tokens=round(reply), prompt_tokens=prompt)
    run = rl_time(section, known, timed, card())[0]
    return [hours * 3600 / run.steps for hours in run.chip_hours]


def card() -> Slice:
    """Returns the slice of one GPU of this machine's kind."""
    kind = generation_of(jax.devices()[0].device_kind)
    return find_slice("h200" if kind and "H200" in kind.label else "h100")


def plan(section, model_config: ModelConfig, mesh) -> tuple[list[dict[str, Any]], dict[str, Timed]]:
    """Makes the plan as `jaxreason plan` does, for the devices of this machine; also the times, on one GPU."""
    model = static_model(model_config)
    if isinstance(section, SFTConfig):
        known = with_local_examples(PlanConfig({}, 0, 0), section, model_config)
        programs = sft_programs(section, model, mesh, micro_batches(section, known.example_tokens))
    else:
        programs = rl_programs(section, model, mesh)
    times, found = {}, []
    for program in programs:
        measured = measure_program(program, model, mesh, True, section.logprob_chunk)
        row = {"name": program.name, "plan": measured.total}
        if jax.default_backend() == "gpu" and mesh.size == 1:
            timed = estimate(program, measured, model, mesh, card())
            row["seconds"], times[program.name] = [timed.best, timed.worst], timed
        found.append(row)
    return found, times


class Watched:
    """A jitted function that records, for each call, the memory it takes in addition to what exists."""

    def __init__(self, function, name: str, seen: dict[str, tuple[float, float]]):
        self._function, self._name, self._seen = function, name, seen
        self._peaks: dict[str, float] = {}

    def __call__(self, *args):
        """Records the memory and calls the function."""
        own = {id(x) for x in jax.tree.leaves(args)}
        beside = bytes_on_device([x for x in jax.live_arrays() if id(x) not in own])
        shapes = str(jax.tree.map(lambda x: getattr(x, "shape", ()), args))
        if shapes not in self._peaks:
            platform = jax.devices()[0].platform
            self._peaks[shapes] = peak_bytes(self._function.lower(*args).compile(), platform)
        here = self._peaks[shapes] + beside
        ran, seen = self._grown(args, bytes_on_device(jax.live_arrays()))
        before = self._seen.get(self._name, (0.0, 0.0))
        self._seen[self._name] = max(here, before[0]), max(seen, before[1])
        return ran

    def _grown(self, args, there: int):
        """Makes the call; returns its result, and the bytes of arrays plus the growth of the
        process (0 if not a CPU).
        """
        if jax.devices()[0].platform != "cpu":
            return self._function(*args), 0.0
        CLEAR.write_text("5")  # The peak is counted from now on.
        before = resident("VmRSS")
        ran = jax.block_until_ready(self._function(*args))
        return ran, float(there + max(resident("VmHWM") - before, 0))

    def __getattr__(self, name: str):  # Lowering ahead of time uses the function itself.
        return getattr(self._function, name)


def resident(name: str) -> int:
    """Returns the bytes of this process's memory from a line of /proc/self/status."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def watch() -> dict[str, tuple[float, float]]:
    """Makes runs in this process use watched programs; returns the largest bytes of each, updated as they run."""
    if jax.devices()[0].platform == "cpu":  # Freed memory is returned to the system at once.
        ctypes.CDLL(None).mallopt(-3, 65536)
    seen: dict[str, tuple[float, float]] = {}
    step, update, slots = sft.make_step, loop.make_update_programs, engine.make_device_programs
    copies = sampler_weights.copy_program

    def make_update(*args):
        made = update(*args)
        return made._replace(
            train_step=Watched(made.train_step, "RL policy step", seen),
            logprob_pass=Watched(made.logprob_pass, "log-prob pass", seen),
        )

    def make_slots(*args):
        made = slots(*args)
        return made._replace(
            prefill=Watched(made.prefill, "prefill", seen),
            decode=Watched(made.decode, "decode, one token", seen),
        )

    sft.make_step = lambda *args: Watched(step(*args), "SFT step", seen)
    loop.make_update_programs, engine.make_device_programs = make_update, make_slots
    name = "weights to the sampler"
    sampler_weights.copy_program = lambda *args: Watched(copies(*args), name, seen)
    return seen


def shown(result: dict[str, Any]) -> str:
    """Returns a table for people, in MiB if programs are small."""
    rows = result["programs"]
    unit, name = (GIB, "GiB") if max(row["plan"] for row in rows) > GIB else (2**20, "MiB")
    lines = [f"{result['stage']} of {result['config']}, {result['device']}, jax {result['jax']}"]
    lines.append(
        f"{'program':24} {f'plan, {name}':>12} {f'run, {name}':>12} {'plan / run':>10} {'seen':>12}"
    )
    for row in rows:
        run = row["run"]
        told = f"{run / unit:12.3f} {row['plan'] / run:10.3f}" if run else "  did not run"
        told += f" {row['seen'] / unit:12.3f}" if row["seen"] else ""
        seconds = "{:.4g} to {:.4g} s".format(*row["seconds"]) if "seconds" in row else ""
        lines.append(f"{row['name']:24} {row['plan'] / unit:12.3f} {told} {seconds}".rstrip())
    planned, ran = (max(row[k] or 0 for row in rows) for k in ("plan", "run"))
    lines.append(
        f"{'the largest':24} {planned / unit:12.3f} {ran / unit:12.3f} {planned / ran:10.3f}"
    )
    if result["peak_of_the_device"]:
        lines.append(f"the device counted {result['peak_of_the_device'] / unit:.3f} {name} at most")
    lines.append(f"a step took {result['step_seconds']:.4g} s (median, without the first)")
    if result["expected_seconds"]:
        told = "expected {:.4g} to {:.4g} s".format(*result["expected_seconds"])
        parts = [f"{name} {result[f'{name}_seconds']:.4g} s" for name in ("generate", "update")]
        lines.append(f"{told}; {', '.join(parts)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
