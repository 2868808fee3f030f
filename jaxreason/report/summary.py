"""summary.json: every number that the report shows, and the hashes of the files from which it was made."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxreason.report.answer import answer_notes, answer_sentences
from jaxreason.report.cross_sampling import cross_rows
from jaxreason.report.evaluated_steps import (
    EvaluatedRun,
    StepScores,
    columns_with_scores,
    read_runs,
    read_step_scores,
)
from jaxreason.report.fidelity import fidelity_rows
from jaxreason.report.findings import findings, limits
from jaxreason.report.forgetting import forgetting_rows
from jaxreason.report.group_drift import drift_rows, read_drift_metrics, weight_rows
from jaxreason.report.hidden_state_drift import hidden_state_rows
from jaxreason.report.matched_math import matched_rows
from jaxreason.report.paper_drift import paper_drift_rows
from jaxreason.report.reply_positions import position_rows
from jaxreason.report.reply_tables import (
    asked_rows,
    first_base,
    other_score_rows,
    reply_rows,
    way_rows,
)
from jaxreason.report.score_rows import (
    Resampling,
    arm_difference_rows,
    difference_rows,
    levels,
    score_rows,
)
from jaxreason.report.scoring_variants import compare_variants
from jaxreason.report.study_reader import Reader, Study, read_evaluation
from jaxreason.report.token_shifts import shifted_rows
from jaxreason.report.training_runs import question_rows, training_rows
from jaxreason.report.trait_tables import trait_rows
from jaxreason.report.trajectories import curve_rows
from jaxreason.report.transfer_tables import transfer_rows
from jaxreason.report.weight_drift import overlap_rows, weight_space_rows
from jaxreason.report.wording import WAYS
from jaxreason.results.code_version import package_versions
from jaxreason.results.groups import REST
from jaxreason.results.score_files import EVALUATION, is_finished
from jaxreason.results.training_files import TRAINING_PROMPTS

_VERSIONS = ("jax", "numpy", "matplotlib")


def summarise(
    reader: Reader, study: Study, how: Resampling, about: dict[str, Any], variant: str
) -> dict[str, Any]:
    """Returns everything the report shows, as plain JSON values.

    Args:
      reader: of the study's folder.
      study: its study.json.
      how: how intervals are made.
      about: title, question and limits of the recipe.
      variant: of the benchmarks, whose scores are shown.
    """
    study = dataclasses.replace(study, variant=variant)
    evaluations, missing = _evaluations(reader, study, variant)
    found = []
    for decoding in study.decodings:
        more, absent = levels(study, evaluations, decoding, how)
        found, missing = found + more, missing + absent
    metrics, absent = read_drift_metrics(reader, study)
    transfer, without_index = transfer_rows(
        reader, study, {a.name for a, seed in study.runs() if (a.name, seed) in evaluations}
    )
    missing += absent + without_index
    missing += _failures(study, evaluations) + list(study.notes)
    missing += _unmeasured(study, evaluations, variant)
    scores = score_rows(study, found, how)
    differences = difference_rows(study, found, how)
    parts = {name: make(reader, study, how) for name, make in PARTS.items()}
    missing += missed_steps(study, parts["over_training"])
    summary = {
        **about,
        **_describe(study, evaluations, how),
        "scores": scores,
        "differences": differences,
        "arm_differences": arm_difference_rows(study, found, how),
        **transfer,
        "drift": drift_rows(study, metrics, how),
        "weights": weight_rows(study, metrics),
        "drift_texts": _drift_texts(metrics),
        **parts,
        "replies": reply_rows(study, evaluations),
        "variant": variant,
        **compare_variants(study, evaluations, scores, differences, variant, how),
        "ways": way_rows(study, evaluations),
        "asked": asked_rows(study, evaluations),
        "other_scores": other_score_rows(study, evaluations),
        "missing": missing,
        "versions": package_versions(_VERSIONS),
    }
    summary["fidelity"] = fidelity_rows(reader, study, summary)
    summary["inputs"] = dict(sorted(reader.hashes.items()))
    summary["traits"] = trait_rows(summary)
    said = {"answer": answer_sentences(summary), "answer_notes": answer_notes(summary)}
    return summary | said | {"found": findings(summary), "limits": limits(summary)}


def _evaluations(reader: Reader, study: Study, variant: str) -> tuple[dict, list[str]]:
    found, missing = {}, []
    for base in study.bases:
        evaluation = read_evaluation(reader, base.name, variant)
        if evaluation is None:
            label = _the_base(study, base.label)
            missing.append(f"{label} has not been evaluated, so nothing can be compared with it.")
        else:
            found[base.name] = evaluation
    for arm, seed in study.runs():
        evaluation = read_evaluation(reader, arm.folder(seed), variant)
        if evaluation is None:
            missing.append(f"{arm.label}, seed {seed}: not evaluated yet.")
        else:
            found[arm.name, seed] = evaluation
    return found, missing


def _the_base(study: Study, label: str) -> str:
    return "The base" if len(study.bases) == 1 else label


def _describe(study: Study, evaluations: dict, how: Resampling) -> dict[str, Any]:
    arms = [
        {
            "name": arm.name,
            "label": arm.label,
            "method": arm.method,
            "base": arm.base,
            "after": arm.after,
            "published": arm.published,
            "traits": dict(arm.traits),
            "seeds": list(arm.seeds),
            "seeds_evaluated": [seed for seed in arm.seeds if (arm.name, seed) in evaluations],
        }
        for arm in study.arms
    ]
    groups = [{"name": g, "benchmarks": list(study.benchmarks(g))} for g in study.group_names()]
    return {
        "study": study.name,
        "base": study.base,
        "bases": [dataclasses.asdict(base) for base in study.bases],
        "shared_base": study.shared_base,
        "groups": groups,
        "labels": _labels(study, evaluations),
        "arms": arms,
        "decodings": list(study.decodings),
        "confidence": how.confidence,
        "resamples": how.resamples,
        "seed": how.seed,
    }


def _labels(study: Study, evaluations: dict) -> dict[str, str]:
    """Returns names of the benchmarks: those of study.json, else those of a base's scores.json."""
    base = first_base(study, evaluations)
    rows = base.rows if base else []
    return {r["benchmark"]: r["label"] for r in rows if "label" in r} | study.labels


def _drift_texts(metrics: dict) -> dict[str, Any] | None:
    """Returns the texts on which drift was measured, from the first token_kl file that names some."""
    for (_, _, name), found in metrics.items():
        units = found["details"].get("units", ()) if name == "token_kl" else ()
        units = [unit for unit in units if unit.get("benchmark") != TRAINING_PROMPTS]
        if units:
            return {
                "decoding": found["decoding"],
                "variant": found.get("variant"),
                "per_benchmark": max(unit["num_texts"] for unit in units),
                "num_cut": sum(unit["num_cut"] for unit in units),
                "num_dropped": sum(unit["num_dropped"] for unit in units),
            }
    return None


def _unmeasured(study: Study, evaluations: dict, variant: str) -> list[str]:
    """Says on which benchmarks the base was measured only in the other variant."""
    base = first_base(study, evaluations)
    if base is None:
        return []
    shown = {row["benchmark"] for row in base.rows}
    others = {row["benchmark"] for row in base.all_rows} - shown
    names = {r["benchmark"]: r["label"] for r in base.all_rows if "label" in r}
    labels = names | study.labels
    absent = [labels.get(name, name) for name in study.groups if name in others]
    said = f"not measured {WAYS[variant]}, which this report is about, so left out."
    return [f"{', '.join(absent)}: {said}"] if absent else []


def _failures(study: Study, evaluations: dict) -> list[str]:
    """Says which sample files have samples without a score."""
    labels = {base.name: _the_base(study, base.label) for base in study.bases} | {
        (arm.name, seed): f"{arm.label}, seed {seed}" for arm, seed in study.runs()
    }
    names, found = _labels(study, evaluations), []
    for model, evaluation in evaluations.items():
        for (benchmark, decoding), samples in evaluation.samples.items():
            failed = sum(sample["error"] is not None for sample in samples)
            if failed:
                found.append(
                    f"{labels[model]}: {failed} of {len(samples)} samples of "
                    f"{names.get(benchmark, benchmark)} ({decoding}) have no score."
                )
    return found


def over_training(reader: Reader, study: Study, how: Resampling) -> dict[str, Any]:
    """Returns `curves` and `matched` of followed runs, and `forgetting` of all; each is empty if there is no data.

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
        "missed": _missed(followed) + (_not_followed(reader, runs) if followed else []),
    }
    if followed and (progress := read_step_scores(reader, study, followed, how)) is not None:
        found["decoding"] = progress.decoding
        found["missed"] += _without_scores(followed, progress)
        found["curves"] = curve_rows(reader, study, progress, how)
        found["matched"] = matched_rows(reader, study, progress, how)
    once = dataclasses.replace(how, resamples=1)  # The scores of points have no interval.
    progress = read_step_scores(reader, study, runs, once)
    if progress is not None and REST in progress.levels:
        fitted = forgetting_rows(reader, study, progress, how)
        found["forgetting"] = fitted if fitted["fits"] else None
    return found


def missed_steps(study: Study, found: dict[str, Any]) -> list[str]:
    """Says which steps of followed runs are missing, and why."""
    labels = {arm.name: arm.label for arm in study.arms}
    return [f"{labels[row['arm']]}, seed {row['seed']}: {row['said']}." for row in found["missed"]]


def _missed(runs) -> list[dict[str, Any]]:
    """Returns the steps that each run's trajectory lacks, and whether more will come."""
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


def _not_followed(reader: Reader, runs: list[EvaluatedRun]) -> list[dict[str, Any]]:
    """Returns the trained runs without a trajectory, which a study that follows its others may get one of."""
    said = "its steps were not evaluated, so no curve and no comparison at equal math has it"
    return [
        {"arm": run.arm.name, "seed": run.seed, "said": said}
        for run in runs
        if run.trajectory is None
        and run.arm.method != "given"
        and is_finished(reader.folder / run.arm.folder(run.seed) / EVALUATION)
    ]


def _without_scores(runs: list[EvaluatedRun], progress: StepScores) -> list[dict[str, Any]]:
    """Returns the steps and runs that curves leave out, since no sample of one of their benchmarks has a score."""
    kept = {(run.arm.name, run.seed): run.steps() for run in progress.runs}
    bases = columns_with_scores(progress.levels)
    found = []
    for run in (run for run in runs if run.arm.base in progress.evaluated()):
        if run.arm.base in bases:
            said = [
                f"step {step} is not in the curves, since a benchmark has no score there"
                for step in run.steps()
                if step not in kept.get((run.arm.name, run.seed), ())
            ]
        else:
            said = ["it is not in the curves, since a benchmark has no score of its base"]
        found += [{"arm": run.arm.name, "seed": run.seed, "said": one} for one in said]
    return found


PARTS: dict[str, Callable[[Reader, Study, Resampling], Any]] = {
    "over_training": over_training,
    "training": lambda reader, study, _: training_rows(reader, study),
    "states": hidden_state_rows,
    "shifted": shifted_rows,
    "cross_sampling": lambda reader, study, _: cross_rows(reader, study),
    "paper_drift": lambda reader, study, _: paper_drift_rows(reader, study),
    "positions": lambda reader, study, _: position_rows(reader, study),
    "training_questions": lambda reader, study, _: question_rows(reader, study),
    "weight_space": lambda reader, study, _: weight_space_rows(reader, study),
    "weight_overlap": lambda reader, study, _: overlap_rows(reader, study),
}
