"""The table and the figure of the ablation grid: the arms after the same steps, and at the same score in math.

    python scripts/grid.py runs/grid --png docs/images/grid_ablation.png

Reads the trajectories of the study in `<folder>/study`. Scores are group means in percent.
At matched math a run's scores are read where its math, interpolated between evaluated steps, first reaches a target.
Intervals are Student's, 95 %, over the seeds alone.
"""

import argparse
import collections
import pathlib
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats

from configs.grid_ablation import ARMS
from jaxreason.results.study_files import read_trajectory

SHORT = ("other", "non-reasoning")
GROUPS = {"math": "math", "other": "other reasoning", "non_reasoning": "non-reasoning"}
# Math scores: nearly all arms reach the first, and those that learn well the second.
TARGETS = (32.0, 75.0)
Run = np.ndarray  # [steps, 3]: the score of each group, the base first.


def read_runs(folder: pathlib.Path) -> dict[str, dict[str, Run]]:
    """Reads the runs of every arm by seed."""
    runs: dict[str, dict[str, Run]] = collections.defaultdict(dict)
    for path in sorted(folder.glob("study/*/seed_*/trajectory/trajectory.json")):
        found = read_trajectory(path.parent)
        if not found["complete"]:
            raise SystemExit(
                f"{path}: the run was not followed to its end; run scripts/grid.sh again."
            )
        run = path.parent.parent
        runs[run.parent.name][run.name] = np.array(
            [[100 * _mean(step, group) for group in GROUPS] for step in found["steps"]]
        )
    if not runs:
        raise SystemExit(f"{folder}/study: no trajectory is here; scripts/grid.sh makes them.")
    return {name: runs[name] for name in ARMS if name in runs}


def _mean(step: dict, group: str) -> float:
    return next(row["mean"] for row in step["groups"] if row["group"] == group)


def at_math(run: Run, target: float) -> np.ndarray:
    """Returns the scores of a run where its math first reaches `target`, interpolated between two evaluated steps."""
    step = int(np.argmax(run[:, 0] >= target))
    if step == 0:
        return run[0]
    before, after = run[step - 1], run[step]
    return before + (target - before[0]) / (after[0] - before[0]) * (after - before)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and half of Student's 95 % interval."""
    values = np.asarray(values)
    spread = scipy.stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean()), float(spread)


def table(runs: dict[str, dict[str, Run]], targets: Sequence[float]) -> str:
    """Returns a Markdown table: the arms after all steps, and at each target that all runs of the arm reach."""
    base = next(iter(next(iter(runs.values())).values()))[0]
    at = [f"{group} at {target:g} math" for target in targets for group in SHORT]
    lines = ["| | " + " | ".join([*GROUPS.values(), *at]) + " |", "|---" * (4 + len(at)) + "|"]
    lines.append("| base | " + " | ".join(f"{x:.1f}" for x in base) + " |" + " |" * len(at))
    for name, by_seed in runs.items():
        last = np.array([run[-1] for run in by_seed.values()])
        cells = [_shown(last[:, i]) for i in range(3)]
        for target in targets:
            cells += _matched(list(by_seed.values()), target)
        lines.append(f"| {ARMS[name][0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _matched(runs: list[Run], target: float) -> list[str]:
    if any(run[:, 0].max() < target for run in runs):
        return ["not reached"] * 2
    scores = np.array([at_math(run, target) for run in runs])
    return [_shown(scores[:, i]) for i in (1, 2)]


def _shown(values: np.ndarray) -> str:
    return "{:.1f} ± {:.1f}".format(*interval(values))


def draw(runs: dict[str, dict[str, Run]], targets: Sequence[float], path: pathlib.Path) -> None:
    """Draws each arm's path from the base: other scores against math, a line per seed, dots at evaluated steps."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.2), sharex=True)
    for axis, (column, label) in zip(
        axes, enumerate(list(GROUPS.values())[1:], start=1), strict=True
    ):
        for number, (name, by_seed) in enumerate(runs.items()):
            for index, run in enumerate(by_seed.values()):
                shown = ARMS[name][0] if index == 0 else None
                axis.plot(
                    *(run[:, 0], run[:, column], "o-"),
                    color=f"C{number}",
                    label=shown,
                    **{"markersize": 3, "linewidth": 1.2, "alpha": 0.8},
                )
        for target in targets:
            axis.axvline(target, color="grey", linewidth=0.8, linestyle=":")
        axis.set(xlabel="math, %", ylabel=f"{label}, %")
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--png", type=pathlib.Path)
    parser.add_argument("--targets", type=float, nargs="*", default=TARGETS)
    given = parser.parse_args()
    runs = read_runs(given.folder)
    print(table(runs, given.targets))
    if given.png is not None:
        draw(runs, given.targets, given.png)


if __name__ == "__main__":
    main()
