"""summary.json: every number that the report shows, and what it was made from."""

import dataclasses
from typing import Any

import numpy as np

from jaxreason.report.answer import answer, answer_notes
from jaxreason.report.drift_rows import QUANTITIES, quantity_rows, read_metrics, weight_rows
from jaxreason.report.fidelity_rows import fidelity_rows
from jaxreason.report.files import (
    Evaluation,
    Reader,
    Study,
    read_evaluation,
)
from jaxreason.report.findings import findings, limits
from jaxreason.report.over_training import missed_steps
from jaxreason.report.parts import PARTS
from jaxreason.report.scores import (
    Resampling,
    arm_difference_rows,
    difference_rows,
    levels,
    score_rows,
)
from jaxreason.report.trait_rows import trait_rows
from jaxreason.report.transfer_rows import transfer_rows
from jaxreason.report.variants import compare_variants
from jaxreason.report.wording import WAYS
from jaxreason.results.code_version import package_versions
from jaxreason.results.training_prompts_file import TRAINING_PROMPTS

_VERSIONS = ("jax", "numpy", "matplotlib")


def summarise(
    reader: Reader, study: Study, how: Resampling, about: dict[str, Any], variant: str
) -> dict[str, Any]:
    """Everything the report shows, as plain JSON values.

    Args:
      reader: of the study's folder.
      study: its study.json.
      how: the intervals are made.
      about: title, question and limits of the recipe.
      variant: of the benchmarks, whose scores are shown.
    """
    study = dataclasses.replace(study, variant=variant)
    evaluations, missing = _evaluations(reader, study, variant)
    found = []
    for decoding in study.decodings:
        more, absent = levels(study, evaluations, decoding, how)
        found, missing = found + more, missing + absent
    metrics, absent = read_metrics(reader, study)
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
        "drift": quantity_rows(study, metrics, how, QUANTITIES),
        "weights": weight_rows(study, metrics),
        "drift_texts": _drift_texts(metrics),
        **parts,
        "replies": _replies(study, evaluations),
        "variant": variant,
        **compare_variants(study, evaluations, scores, differences, variant, how),
        "ways": _ways(study, evaluations),
        "asked": _asked(study, evaluations),
        "other_scores": _other_scores(study, evaluations),
        "missing": missing,
        "versions": package_versions(_VERSIONS),
    }
    summary["fidelity"] = fidelity_rows(reader, study, summary)
    summary["inputs"] = dict(sorted(reader.hashes.items()))
    summary["traits"] = trait_rows(summary)
    said = {"answer": answer(summary), "answer_notes": answer_notes(summary)}
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


def _first_base(study: Study, evaluations: dict) -> Evaluation | None:
    """The first base that was evaluated: all models are asked the same."""
    names = [base.name for base in study.bases if base.name in evaluations]
    return evaluations[names[0]] if names else None


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
    """Names of the benchmarks: those of study.json, else of a base's scores.json."""
    base = _first_base(study, evaluations)
    rows = base.rows if base else []
    return {r["benchmark"]: r["label"] for r in rows if "label" in r} | study.labels


def _drift_texts(metrics: dict) -> dict[str, Any] | None:
    """Which texts drift was measured on, as the first token_kl file that has some says."""
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


def _replies(study: Study, evaluations: dict) -> list[dict]:
    """Length of replies, and shares that were cut, had no answer to extract, or failed; means over
    benchmarks.
    """
    rows = []
    for decoding in study.decodings:
        for group in study.group_names():
            for model, found in _by_model(study, evaluations).items():
                parts = [
                    _describe_replies(evaluation.samples[b, decoding])
                    for evaluation in found
                    for b in study.benchmarks(group)
                    if evaluation.samples.get((b, decoding))
                ]
                if parts:
                    means = {name: _mean([part[name] for part in parts]) for name in parts[0]}
                    rows.append({"decoding": decoding, "group": group, "model": model, **means})
    return rows


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def _describe_replies(samples: list[dict]) -> dict[str, float | None]:
    return {
        "num_tokens": _mean_length(samples),
        "cut": float(np.mean([s["finish_reason"] == "length" for s in samples])),
        "no_answer": float(np.mean([s["extracted"] is None for s in samples])),
        "failed": float(np.mean([s["error"] is not None for s in samples])),
    }


def _mean_length(samples: list[dict]) -> float | None:
    """In tokens; None where a reply came as text alone."""
    lengths = [sample["num_tokens"] for sample in samples]
    return None if None in lengths else float(np.mean(lengths))


def _asked(study: Study, evaluations: dict) -> list[dict]:
    """How each model was asked."""
    return [
        {"model": model, **members[0].asked}
        for model, members in _by_model(study, evaluations).items()
        if members[0].asked
    ]


def _ways(study: Study, evaluations: dict) -> list[dict]:
    """The prompt and the grader of every variant of every benchmark, as the base was measured."""
    base = _first_base(study, evaluations)
    rows = base.all_rows if base else []
    names = ("benchmark", "variant", "prompt", "grader")
    found = {tuple(row[name] for name in names): None for row in rows}
    return [dict(zip(names, way, strict=True)) for way in found if way[0] in study.groups]


def _unmeasured(study: Study, evaluations: dict, variant: str) -> list[str]:
    """Which benchmarks the base was measured on in another way alone, in words."""
    base = _first_base(study, evaluations)
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
    """Which sample files have samples without a score, in words."""
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


def _by_model(study: Study, evaluations: dict) -> dict[str, list[Evaluation]]:
    """The evaluations of every base and of every arm's seeds."""
    found = {b.name: [evaluations[b.name]] for b in study.bases if b.name in evaluations}
    for arm, seed in study.runs():
        if (arm.name, seed) in evaluations:
            found.setdefault(arm.name, []).append(evaluations[arm.name, seed])
    return found


def _other_scores(study: Study, evaluations: dict) -> list[dict]:
    """Scorings that are not a benchmark's primary one, as scores.json has them; in points, mean
    over seeds.
    """
    found: dict[tuple, list[float]] = {}
    for model, members in _by_model(study, evaluations).items():
        for row in (row for evaluation in members for row in evaluation.rows):
            if not row["primary"] and row["mean"] is not None:
                key = (row["benchmark"], row["decoding"], row["metric"], model)
                found.setdefault(key, []).append(100 * row["mean"])
    names = ("benchmark", "decoding", "metric", "model")
    return [
        dict(zip(names, key, strict=True)) | {"mean": float(np.mean(v))} for key, v in found.items()
    ]
