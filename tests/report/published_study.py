"""A made-up study of models of the paper, whose scores are the paper's to the nearest question."""

import json
import pathlib

from sample_lines import GRADER, PROMPT, write_samples

from jaxreason.evaluation.transfer import TransferConfig, run_study_transfer
from jaxreason.results.drift_files import write_drift
from jaxreason.results.published import published_benchmarks, published_models, published_scores
from jaxreason.results.statistics import wilson
from jaxreason.results.study_files import base_folder, write_manifest

QUESTIONS = 50
MODES = ("v2_pooled", "paper_scales")
TRANSFER = TransferConfig(MODES, {}, 0.95, 50, 0, 0.15, None, "paper")


def write_published(
    folder: pathlib.Path,
    arms: dict[str, str],
    variant: str = "paper",
    benchmarks=None,
    method: str = "given",
    questions: int = QUESTIONS,
    ours: dict[str, dict[str, float]] | None = None,
) -> pathlib.Path:
    """The study of `arms` (folder -> the paper's name), on some of the paper's benchmarks or on all of them.

    `ours` has scores that are not the paper's, by arm and benchmark.
    """
    names = tuple(benchmarks or published_benchmarks())
    models = {arm: published_models()[name] for arm, name in arms.items()}
    bases = {base_folder(m.base_path): (m.base_path, m.base) for m in models.values()}
    for base, (_, scores) in bases.items():
        _evaluation(folder / base, published_scores()[scores], names, variant, questions)
    for arm, model in models.items():
        scores = published_scores()[model.scores] | (ours or {}).get(arm, {})
        _evaluation(folder / arm / "seed_0", scores, names, variant, questions)
    manifest = {
        "name": "published",
        "base": "",
        "bases": [{"name": b, "model": p, "published": s} for b, (p, s) in bases.items()],
        "shared_base": False,
        "groups": {name: published_benchmarks()[name].group for name in names},
        "decodings": ["paper"],
        "arms": [
            {"name": arm, "method": method, "label": model.name, "seeds": [0]}
            | {"base": base_folder(model.base_path), "published": model.name}
            | {"traits": model.traits}
            for arm, model in models.items()
        ],
    }
    write_manifest(folder, manifest)
    run_study_transfer(TRANSFER, folder)
    return folder


def _evaluation(
    run: pathlib.Path, scores: dict[str, float], names, variant: str, questions: int
) -> None:
    rows = []
    for name in names:
        right = round(questions * scores[name] / 100)
        marks = [float(number < right) for number in range(questions)]
        lines = [
            {"id": f"{name}-{number}", "scores": {"correct": mark}} | _cluster(name, number)
            for number, mark in enumerate(marks)
        ]
        write_samples(run / "evaluation", name, "paper", lines)
        about = published_benchmarks()[name]
        low, high = wilson(right / questions, questions, 0.95)
        row = {"benchmark": name, "label": about.label, "group": about.group, "decoding": "paper"}
        row |= {"variant": variant, "prompt": PROMPT, "grader": GRADER, "metric": "correct"}
        row |= {"mean": right / questions, "low": float(low), "high": float(high)}
        rows.append(row | {"primary": True, "n": questions, "num_samples": 1, "weight": None})
    asked = {"prompt_format": "chat", "thinking": None}
    value = {"model": str(run), "asked": asked, "rows": rows}
    (run / "evaluation" / "scores.json").write_text(json.dumps(value))


def _cluster(name: str, number: int) -> dict:
    """Two of the questions of HeadQA have the same words."""
    return {"cluster": f"{name}-0"} if (name, number) == ("headqa", 1) else {}


def write_metric(run: pathlib.Path, metric: str, rows: list[dict], groups=()) -> None:
    """A metric file of a run with these rows, each with an interval of a tenth around its value."""
    ends = [{"low": row["value"] * 0.9, "high": row["value"] * 1.1} for row in (*rows, *groups)]
    whole = [row | end for row, end in zip((*rows, *groups), ends, strict=True)]
    groups = [{"draws": [row["value"]] * 2} | row for row in groups]
    unit = {"num_texts": 4, "num_cut": 0, "num_dropped": 0, "benchmark": "math500"}
    value = {"metric": metric, "decoding": "paper", "variant": "paper"}
    value |= {"rows": whole[: len(rows)], "groups": whole[len(rows) :]}
    write_drift(run, metric, value | {"details": {"units": [unit]}})
