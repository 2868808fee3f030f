"""Whether arms were trained on questions of the benchmarks: what each run's decontamination.json says, in words."""

from typing import Any

from jaxreason.report.files import Reader, Study
from jaxreason.report.wording import listed
from jaxreason.results.decontamination_file import SHAPE, decontamination_path


def question_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Of every trained run that has the file: what was compared, and what was left out.

    Raises:
      UserError: a file is broken.
    """
    rows = []
    for arm, seed in study.runs():
        path = str(decontamination_path(arm.folder(seed)))
        found = reader.object(path, SHAPE)
        if found is not None:
            rows.append({"arm": arm.name, "label": arm.label, "seed": seed} | _row(found))
    return rows


def _row(found: dict[str, Any]) -> dict[str, Any]:
    said = {name: found[name] for name in ("enabled", "questions", "kept", "alike")}
    counts = {name: _by_benchmark(found[name]) for name in ("removed", "found_later")}
    return said | counts | {"unread": sorted(found["unread"])}


def _by_benchmark(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for of_dataset in counts.values():
        for benchmark, count in of_dataset.items():
            total[benchmark] = total.get(benchmark, 0) + count
    return total


def questions_said(summary: dict[str, Any]) -> list[str]:
    """A sentence for each arm whose runs have a record; equal for all its seeds, which have the same data."""
    sentences = [_sentence(row, summary["labels"]) for row in _of_arms(summary)]
    return list(dict.fromkeys(sentences))


def questions_limits(summary: dict[str, Any]) -> list[str]:
    """What limits the study where questions were not compared with all benchmarks."""
    said = []
    off = [row["label"] for row in _of_arms(summary) if not row["enabled"]]
    if off:
        said.append(
            f"{listed(off)}: the recipe turned the comparison of training questions with the benchmarks off, so these "
            "models may have been trained on what they are asked."
        )
    for row in _of_arms(summary):
        if row["found_later"]:
            counts = _listed(row["found_later"], summary["labels"])
            said.append(
                f"{row['label']} was trained before these benchmarks came to the study, and learned from questions "
                f"that they ask: {counts}."
            )
    unread = dict.fromkeys(name for row in _of_arms(summary) for name in row["unread"])
    if unread:
        names = listed([summary["labels"].get(name, name) for name in unread])
        said.append(
            f"Training questions were not compared with those of {names}, which could not be read."
        )
    return said


def _of_arms(summary: dict[str, Any]) -> list[dict[str, Any]]:
    rows = {row["arm"]: row for row in reversed(summary["training_questions"])}
    return list(reversed(rows.values()))


def _sentence(row: dict[str, Any], labels: dict[str, str]) -> str:
    if not row["enabled"]:
        return f"{row['label']}: not compared."
    detail = f" ({_listed(row['removed'], labels)})" if row["removed"] else ""
    number = row["questions"] - row["kept"]
    return f"{row['label']}: {number:,} of {row['questions']:,} questions left out{detail}."


def _listed(counts: dict[str, int], labels: dict[str, str]) -> str:
    return ", ".join(f"{count:,} of {labels.get(name, name)}" for name, count in counts.items())
