"""The replies of a study for the sample browser: the sets of them, their verdicts, and texts that a page can hold."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.wording import VARIANT_LABELS
from jaxreason.results.grade_files import grades_path
from jaxreason.results.sample_files import SampleKey, samples_path
from jaxreason.results.score_files import EVALUATION, SCORES, parse_score_rows, sample_key_of

RIGHT = 0.5  # A score of at least this is called right.
UNKNOWN, ABSENT = "-", " "  # Verdicts of a reply without a score, and of a missing reply.


def as_script(value: Any) -> str:
    """Returns JSON in ASCII that is a value in a script and cannot end the element that contains it."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def text_hash(text: str) -> int:
    """Returns a hash of a text that is equal on every machine, also for lone surrogates."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])


def cut_text(text: str, most: int) -> str:
    """Returns a text of at most about `most` characters: a longer one loses its middle, with a note at that place."""
    if len(text) <= most:
        return text
    start, end = most * 2 // 3, most // 3
    left = len(text) - start - end
    return f"{text[:start]}\n[… {left:,} characters left out …]\n{text[-end:]}"


def cut_texts(value: Any, most: int) -> Any:
    """Applies `cut_text` to every text in a question or a reply."""
    if isinstance(value, str):
        return cut_text(value, most)
    if isinstance(value, dict):
        return {name: cut_texts(part, most) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [cut_texts(part, most) for part in value]
    return value


def printable(text: str) -> str:
    """Returns a text as a page can hold it, with control characters as their pictures and lone surrogates replaced."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f]", lambda found: chr(0x2400 + ord(found[0])), text)
    return re.sub("[\x7f\ud800-\udfff]", "\ufffd", text)


def printable_texts(value: Any) -> Any:
    """Applies `printable` to every text in a value."""
    if isinstance(value, dict):
        return {name: printable_texts(part) for name, part in value.items()}
    if isinstance(value, list):
        return [printable_texts(part) for part in value]
    return printable(value) if isinstance(value, str) else value


class GraderScore(NamedTuple):
    """A grader of a sample file, and the score that stands for the benchmark."""

    grader: str
    metric: str
    variants: tuple[str, ...]


class SampleSet(NamedTuple):
    """The samples of a benchmark with one prompt and one decoding, and their graders; the report's variant is first."""

    key: SampleKey
    gradings: tuple[GraderScore, ...]


class EvaluatedModel(NamedTuple):
    """A base, or one run of an arm, that has been evaluated."""

    folder: str
    name: str  # Of the base or of the arm.
    base: str  # The name of its base; for a base its own name.
    seed: int | None
    label: str


def evaluated_models(reader: Reader, study: Study) -> list[EvaluatedModel]:
    """Returns the bases, and the runs whose base has been evaluated too."""
    bases = [EvaluatedModel(b.name, b.name, b.name, None, b.label) for b in study.bases]
    bases = [base for base in bases if _scores(reader, base.folder) is not None]
    there = {base.name for base in bases}
    runs = [
        EvaluatedModel(arm.folder(seed), arm.name, arm.base, seed, arm.label)
        for arm, seed in study.runs()
        if arm.base in there
    ]
    return bases + [run for run in runs if _scores(reader, run.folder) is not None]


def _scores(reader: Reader, folder: str) -> list[dict] | None:
    name = f"{folder}/{EVALUATION}/{SCORES}"
    value = reader.json(name)
    return None if value is None else parse_score_rows(value, str(reader.folder / name))


def sample_sets(
    reader: Reader, study: Study, models: list[EvaluatedModel], variant: str
) -> dict[SampleSet, list[EvaluatedModel]]:
    """Returns every sample file's key and graders, with the models that have it, the reference base first."""
    found: dict[SampleKey, dict[tuple[str, str], dict[str, None]]] = {}
    having: dict[SampleKey, dict[EvaluatedModel, None]] = {}
    for model in models:
        for row in _scores(reader, model.folder) or ():
            if row["primary"] and row["benchmark"] in study.groups:
                gradings = found.setdefault(sample_key_of(row), {})
                gradings.setdefault((row["grader"], row["metric"]), {})[row["variant"]] = None
                having.setdefault(sample_key_of(row), {})[model] = None
    order, sets = list(study.groups), {}
    for key in sorted(found, key=lambda k: (order.index(k.benchmark), k.decoding, k.prompt)):
        gradings = [GraderScore(*pair, tuple(names)) for pair, names in found[key].items()]
        gradings.sort(key=lambda grading: variant not in grading.variants)
        if any(model.seed is None for model in having[key]):
            sets[SampleSet(key, tuple(gradings))] = list(having[key])
    return sets


def grading_label(grading: GraderScore) -> str:
    """Returns the name of a way of measuring."""
    return ", ".join(VARIANT_LABELS.get(name, name) for name in grading.variants)


def sample_places(
    reader: Reader, model: EvaluatedModel, found: SampleSet
) -> dict[tuple[str, int], int]:
    """Returns the place of every sample, by question and number, in the reference's files."""
    lines = _grades(reader, model, found, found.gradings[0].grader)
    return {(line["id"], line["sample"]): place for place, line in enumerate(lines)}


def sample_verdicts(reader: Reader, model: EvaluatedModel, found: SampleSet, places: dict) -> str:
    """Returns one character per sample: 1 right, 0 wrong, UNKNOWN without a score, ABSENT."""
    marks = [ABSENT] * len(places)
    grading = found.gradings[0]
    for line in _grades(reader, model, found, grading.grader):
        place = places.get((line["id"], line["sample"]))
        if place is not None:
            score = line["scores"].get(grading.metric)
            marks[place] = UNKNOWN if score is None else str(int(score >= RIGHT))
    return "".join(marks)


def _grades(reader: Reader, model: EvaluatedModel, found: SampleSet, grader: str) -> Iterator[dict]:
    folder = reader.folder / model.folder / EVALUATION
    return reader.lines(grades_path(folder, found.key, grader))


def sample_replies(
    reader: Reader, model: EvaluatedModel, found: SampleSet, places: dict
) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Yields place, question and reply of every sample of a model, in the order of its files, one at a time."""
    folder = reader.folder / model.folder / EVALUATION
    samples = reader.lines(samples_path(folder, found.key))
    there = [g for g in found.gradings if reader.exists(grades_path(folder, found.key, g.grader))]
    graded = zip(*(_grades(reader, model, found, g.grader) for g in there), strict=True)
    for sample, grades in zip(samples, graded, strict=True):
        place = places.get((sample["id"], sample["sample"]))
        if place is not None:
            yield (
                place,
                _question(sample, grades[0]),
                _reply(sample, dict(zip(there, grades)), found),
            )


def _question(sample: dict, grade: dict) -> dict[str, Any]:
    names = ("id", "subset", "sample", "prompt")
    return {name: sample[name] for name in names} | {"answer": grade["answer"]}


def _reply(sample: dict, grades: dict[GraderScore, dict], found: SampleSet) -> dict[str, Any]:
    said = {
        "reply": sample["completion"],
        "finish": sample["finish_reason"],
        "tokens": sample["num_tokens"],
        "grades": [_grade(grades.get(grading)) for grading in found.gradings],
    }
    if sample.get("choice_logprobs"):
        names = sample.get("choices") or [""] * len(sample["choice_logprobs"])
        said["choices"] = list(zip(names, sample["choice_logprobs"]))
    return said


def _grade(grade: dict | None) -> dict[str, Any] | None:
    return None if grade is None else {n: grade[n] for n in ("extracted", "scores", "error")}
