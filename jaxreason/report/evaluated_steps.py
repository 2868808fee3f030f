"""The evaluated steps of every run: their folders, scores and drift."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.report.group_drift import HEADLINE_KL, QUANTITIES, REVERSE_KL, Quantity
from jaxreason.report.score_rows import Level, Resampling, levels
from jaxreason.report.study_reader import Arm, Evaluation, Reader, Study, read_evaluation
from jaxreason.results.claims import DONE
from jaxreason.results.clusters import means
from jaxreason.results.drift_files import read_drift
from jaxreason.results.groups import REST, TRAINING
from jaxreason.results.study_files import read_trajectory, step_folder, trajectory_path

ALL = "all"  # The mean over the groups of benchmarks.
ROUNDED = 9  # Decimals of a score: the rest is rounding, of which a fit would have an R².
WEIGHTS = ("relative_l2", "changed_share")
Values = dict[tuple[str, str, str | None, str | None], float]  # By metric, name, source and group.


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """A run of an arm, with the folders of its evaluated steps, relative to the study; the base is step 0.

    Attributes:
      arm, seed: of the run.
      places: step -> folder, in order.
      trajectory: trajectory.json; None if only the last step was evaluated.
    """

    arm: Arm
    seed: int
    places: dict[int, str]
    trajectory: dict[str, Any] | None

    def steps(self) -> list[int]:
        """Returns the steps after the base."""
        return list(self.places)[1:]


def read_runs(reader: Reader, study: Study) -> list[EvaluatedRun]:
    """Returns every run of the study that was begun, whether its steps were evaluated or not.

    Raises:
      UserError: a file is broken.
    """
    return [_run(reader, arm, seed) for arm, seed in study.runs()]


def _run(reader: Reader, arm: Arm, seed: int) -> EvaluatedRun:
    inside = arm.trajectory_folder(seed)
    if not reader.exists(trajectory_path(reader.folder / inside)):
        done = reader.object(f"{arm.folder(seed)}/{DONE}", {"num_steps": int})
        last = max(done["num_steps"], 1) if done else 1
        return EvaluatedRun(arm, seed, {0: arm.base, last: arm.folder(seed)}, None)
    found = read_trajectory(reader.folder / inside, reader)
    places = {0: arm.base}
    for step in (row["step"] for row in found["steps"] if row["step"]):
        # In a study the last step is the run itself, whose folder may have another name where studies are joined.
        last = str(step) in found["elsewhere"]
        places[step] = (
            arm.folder(seed) if last else str(step_folder(inside, step)).removeprefix("./")
        )
    return EvaluatedRun(arm, seed, places, found)


@dataclasses.dataclass(frozen=True)
class StepScores:
    """Scores of the steps of some runs, with one decoding.

    Attributes:
      runs: the runs that have scores, with the steps that have some.
      levels: group -> its scores; `rest` is the mean of all groups but math.
    """

    runs: tuple[EvaluatedRun, ...]
    decoding: str
    levels: dict[str, Level]

    def evaluated(self) -> dict[Any, int]:
        """Returns the column of each base and of each step that has samples of every benchmark."""
        return next(iter(self.levels.values())).columns

    def columns(self, run: EvaluatedRun) -> list[int]:
        """Returns the base's column and those of the run's steps."""
        columns = self.evaluated()
        return [columns[run.arm.base], *(columns[_name(run, s), run.seed] for s in run.steps())]

    def scores(self, run: EvaluatedRun, group: str) -> Float[np.ndarray, " S"]:
        """Returns the scores of the base and each step, in points; equal ones are equal numbers."""
        return np.round(100 * means(self.levels[group].found.scores)[self.columns(run)], ROUNDED)

    def draws(self, run: EvaluatedRun, group: str) -> Float[np.ndarray, "R S"]:
        """Returns the `scores` in each resample of the questions, with the same questions for all."""
        return 100 * self.levels[group].found.draws[:, self.columns(run)]

    def loss(self, run: EvaluatedRun) -> Float[np.ndarray, " S"]:
        """Returns the points lost outside math: the base's mean of all other groups minus the step's."""
        scores = self.scores(run, REST)
        return scores[0] - scores


def read_step_scores(
    reader: Reader, study: Study, runs: Sequence[EvaluatedRun], how: Resampling
) -> StepScores | None:
    """Returns the scores of the steps of `runs`, with the decoding on which drift was measured; None without any."""
    decoding = _decoding(reader, study, runs)
    names = {base.name for base in study.bases}
    found: dict = {base: read_evaluation(reader, base, study.variant) for base in names}
    for run in runs:
        for step in run.steps():
            key = _name(run, step), run.seed
            found[key] = read_evaluation(reader, run.places[step], study.variant)
    evaluations: dict[Any, Evaluation] = {k: v for k, v in found.items() if v is not None}
    pseudo = dataclasses.replace(study, arms=_steps_as_arms(runs))
    made, _ = levels(pseudo, evaluations, decoding, how)
    groups = {level.group: level for level in made if level.benchmark is None}
    if not groups:
        return None
    columns = columns_with_scores(groups)
    kept = [_scored(run, columns) for run in runs if run.arm.base in columns]
    return StepScores(tuple(run for run in kept if run.steps()), decoding, groups)


def columns_with_scores(groups: dict[str, Level]) -> dict:
    """Returns the columns of the models that have a score in every group: a benchmark may have no graded sample."""
    columns = next(iter(groups.values())).columns
    scores = np.stack([means(level.found.scores) for level in groups.values()])
    return {
        model: number for model, number in columns.items() if np.isfinite(scores[:, number]).all()
    }


def _scored(run: EvaluatedRun, columns: dict) -> EvaluatedRun:
    there = {s: f for s, f in run.places.items() if not s or (_name(run, s), run.seed) in columns}
    return dataclasses.replace(run, places=there)


def _name(run: EvaluatedRun, step: int) -> str:
    return f"{run.arm.name} at {step}"


def _steps_as_arms(runs: Sequence[EvaluatedRun]) -> tuple[Arm, ...]:
    """Returns an arm for each step of an arm, with the seeds that have it."""
    arms: dict[str, Arm] = {}
    for run in runs:
        for step in run.steps():
            name = _name(run, step)
            seeds = (*(arms[name].seeds if name in arms else ()), run.seed)
            arms[name] = Arm(name, run.arm.method, name, seeds, run.arm.base)
    return tuple(arms.values())


def _decoding(reader: Reader, study: Study, runs: Sequence[EvaluatedRun]) -> str:
    """Returns the decoding of the texts on which drift was measured, else the study's first."""
    for run in runs:
        found = read_drift(reader.folder / list(run.places.values())[-1], "token_kl", reader)
        if found is not None and found.get("decoding") in study.decodings:
            return found["decoding"]
    return study.decodings[0]


@dataclasses.dataclass(frozen=True)
class DriftMeasure:
    """A number that says how far a model is from its base."""

    quantity: Quantity
    where: str | None  # A group, TRAINING, ALL; None for the model as a whole.

    @property
    def label(self) -> str:
        """The name that readers see."""
        if self.where == TRAINING:
            return "KL(base ‖ tuned), training prompts"
        return self.quantity.label + (", math" if self.where not in (ALL, None) else "")

    @property
    def key(self) -> str:
        """The key that identifies it."""
        quantity = self.quantity
        return f"{quantity.metric}.{quantity.name}.{quantity.source}.{self.where}"

    def of(self, values: Values, groups: Sequence[str]) -> float | None:
        """Returns its value; None if it was not measured."""
        quantity = self.quantity
        wanted = groups if self.where == ALL else (self.where,)
        keys = [(quantity.metric, quantity.name, quantity.source, group) for group in wanted]
        if not keys or any(values.get(key) is None for key in keys):
            return None
        return float(np.mean([values[key] for key in keys]))


TRAINING_KL = DriftMeasure(HEADLINE_KL, TRAINING)


FORWARD_KL, BACKWARD_KL = DriftMeasure(HEADLINE_KL, ALL), DriftMeasure(REVERSE_KL, ALL)


MATH_KL = DriftMeasure(HEADLINE_KL, "math")


MEASURES = (
    *(TRAINING_KL, MATH_KL),
    *(DriftMeasure(quantity, ALL) for quantity in QUANTITIES),
    DriftMeasure(
        Quantity("weights", WEIGHTS[0], None, "Weights, relative distance", "|Δw| / |w|"), None
    ),
    DriftMeasure(Quantity("weights", WEIGHTS[1], None, "Weights, share changed", "share"), None),
)


def drift_of(reader: Reader, run: EvaluatedRun, step: int) -> Values:
    """Returns the drift of a step, by group and for the model as a whole, from trajectory.json or else from its own
    files.

    Raises:
      UserError: a file is broken.
    """
    if run.trajectory is not None:
        rows = next(row["drift"] for row in run.trajectory["steps"] if row["step"] == step)
    else:
        rows = _file_rows(reader, run.places[step])
    return {
        (row["metric"], row["name"], row.get("source"), row.get("group")): row["value"]
        for row in rows
        if row.get("benchmark") is None
    }


def _file_rows(reader: Reader, folder: str) -> list[dict]:
    rows = []
    for metric in dict.fromkeys(measure.quantity.metric for measure in MEASURES):
        found = read_drift(reader.folder / folder, metric, reader)
        rows += (
            []
            if found is None
            else [{"metric": metric} | r for r in found["rows"] + found["groups"]]
        )
    return rows


class ResampledKL(NamedTuple):
    """A KL, and its value in each resample of the texts."""

    value: float
    draws: Float[np.ndarray, " R"]


def kl_of(
    reader: Reader, run: EvaluatedRun, step: int, measure: DriftMeasure, groups: Sequence[str]
) -> ResampledKL | None:
    """Returns a KL of a step, from its own files; None if it was not measured there."""
    quantity = measure.quantity
    found = read_drift(reader.folder / run.places[step], quantity.metric, reader)
    wanted = groups if measure.where == ALL else (measure.where,)
    rows = {
        row["group"]: row
        for row in (found["groups"] if found else [])
        if (row["name"], row["source"]) == (quantity.name, quantity.source)
    }
    if not wanted or any(group not in rows for group in wanted):
        return None
    draws = np.mean([rows[group]["draws"] for group in wanted], axis=0)
    return ResampledKL(float(np.mean([rows[group]["value"] for group in wanted])), draws)
