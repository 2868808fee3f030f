"""What followed runs say: curves over the steps, arms at equal math, and forgetting against drift."""

import dataclasses
from typing import Any

from jaxreason.report.files import Reader, Study
from jaxreason.report.forgetting_rows import forgetting_rows
from jaxreason.report.matched_rows import matched_rows
from jaxreason.report.scores import Resampling
from jaxreason.report.steps import read_progress, read_runs
from jaxreason.report.trajectory_rows import curve_rows
from jaxreason.results.groups import REST


def over_training(reader: Reader, study: Study, how: Resampling) -> dict[str, Any]:
    """`curves` and `matched` of followed runs, `forgetting` of all; empty where there is nothing to say.

    Raises:
      UserError: a file is broken.
    """
    runs = read_runs(reader, study)
    followed = [run for run in runs if run.trajectory is not None and run.steps()]
    found = {
        "decoding": None,
        "curves": [],
        "matched": [],
        "forgetting": None,
        "missed": _missed(followed),
    }
    if followed and (progress := read_progress(reader, study, followed, how)) is not None:
        found["decoding"] = progress.decoding
        found["curves"] = curve_rows(reader, study, progress, how)
        found["matched"] = matched_rows(reader, study, progress, how)
    once = dataclasses.replace(how, resamples=1)  # of the scores of points there is no interval
    progress = read_progress(reader, study, runs, once)
    if progress is not None and REST in progress.levels:
        fitted = forgetting_rows(reader, study, progress, how)
        found["forgetting"] = fitted if fitted["fits"] else None
    return found


def missed_steps(study: Study, found: dict[str, Any]) -> list[str]:
    """Which steps of followed runs are not there, and why, in words."""
    labels = {arm.name: arm.label for arm in study.arms}
    return [f"{labels[row['arm']]}, seed {row['seed']}: {row['said']}." for row in found["missed"]]


def _missed(runs) -> list[dict[str, Any]]:
    """Of each run what its trajectory has not, and whether more will come."""
    found = []
    for run in runs:
        steps = [
            f"step {row['step']} was not evaluated, since {row['why']}"
            for row in run.trajectory["missed"]
        ]
        going_on = (
            [] if run.trajectory.get("complete") else ["the run was not followed to its end yet"]
        )
        about = {"arm": run.arm.name, "seed": run.seed}
        found += [about | {"said": said} for said in (*steps, *going_on)]
    return found
