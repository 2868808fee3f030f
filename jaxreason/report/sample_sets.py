"""Which replies a study has, and what is known of each of them: what the browser of samples is made from."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jaxreason.report.files import Reader, Study
from jaxreason.report.wording import VARIANT_LABELS
from jaxreason.results.evaluation_lines import SampleKey
from jaxreason.results.grade_files import grades_path
from jaxreason.results.jsonl import iter_jsonl
from jaxreason.results.sample_files import samples_path
from jaxreason.results.score_files import EVALUATION, SCORES, key_of, score_rows

RIGHT = 0.5  # a score from here on is called right
UNKNOWN, ABSENT = "-", " "  # verdicts of a reply without a score, and of no reply


class Grading(NamedTuple):
    """A grader of a sample file, and the score that stands for the benchmark."""

    grader: str
    metric: str
    variants: tuple[str, ...]


class SampleSet(NamedTuple):
    """The samples of a benchmark, asked and decoded in one way, with who graded them; the report's variant first."""

    key: SampleKey
    gradings: tuple[Grading, ...]


class Model(NamedTuple):
    """A base, or one run of an arm, that has been evaluated."""

    folder: str
    name: str  # of the base or of the arm
    base: str  # the name of its base; of a base its own
    seed: int | None
    label: str


def evaluated_models(reader: Reader, study: Study) -> list[Model]:
    """The bases, and the runs whose base has been evaluated too."""
    bases = [Model(b.name, b.name, b.name, None, b.label) for b in study.bases]
    bases = [base for base in bases if _scores(reader, base.folder) is not None]
    there = {base.name for base in bases}
    runs = [
        Model(arm.folder(seed), arm.name, arm.base, seed, arm.label)
        for arm, seed in study.runs()
        if arm.base in there
    ]
    return bases + [run for run in runs if _scores(reader, run.folder) is not None]


def _scores(reader: Reader, folder: str) -> list[dict] | None:
    name = f"{folder}/{EVALUATION}/{SCORES}"
    value = reader.json(name)
    return None if value is None else score_rows(value, str(reader.folder / name))


def sample_sets(
    reader: Reader, study: Study, models: list[Model], variant: str
) -> dict[SampleSet, list[Model]]:
    """Every sample file's key and graders, with the models that have it, the reference base first."""
    found: dict[SampleKey, dict[tuple[str, str], dict[str, None]]] = {}
    having: dict[SampleKey, dict[Model, None]] = {}
    for model in models:
        for row in _scores(reader, model.folder) or ():
            if row["primary"] and row["benchmark"] in study.groups:
                gradings = found.setdefault(key_of(row), {})
                gradings.setdefault((row["grader"], row["metric"]), {})[row["variant"]] = None
                having.setdefault(key_of(row), {})[model] = None
    order, sets = list(study.groups), {}
    for key in sorted(found, key=lambda k: (order.index(k.benchmark), k.decoding, k.prompt)):
        gradings = [Grading(*pair, tuple(names)) for pair, names in found[key].items()]
        gradings.sort(key=lambda grading: variant not in grading.variants)
        if any(model.seed is None for model in having[key]):
            sets[SampleSet(key, tuple(gradings))] = list(having[key])
    return sets


def grading_label(grading: Grading) -> str:
    """Which way of measuring it is."""
    return ", ".join(VARIANT_LABELS.get(name, name) for name in grading.variants)


def positions(reader: Reader, model: Model, found: SampleSet) -> dict[tuple[str, int], int]:
    """The place of every sample, by question and number, in the reference's files."""
    lines = _grades(reader, model, found, found.gradings[0].grader)
    return {(line["id"], line["sample"]): place for place, line in enumerate(lines)}


def verdicts(reader: Reader, model: Model, found: SampleSet, places: dict) -> str:
    """A character a sample: 1 right, 0 wrong, UNKNOWN without a score, ABSENT."""
    marks = [ABSENT] * len(places)
    grading = found.gradings[0]
    for line in _grades(reader, model, found, grading.grader):
        place = places.get((line["id"], line["sample"]))
        if place is not None:
            score = line["scores"].get(grading.metric)
            marks[place] = UNKNOWN if score is None else str(int(score >= RIGHT))
    return "".join(marks)


def _grades(reader: Reader, model: Model, found: SampleSet, grader: str) -> Iterator[dict]:
    folder = reader.folder / model.folder / EVALUATION
    return iter_jsonl(grades_path(folder, found.key, grader))


def replies(
    reader: Reader, model: Model, found: SampleSet, places: dict
) -> Iterator[tuple[int, dict[str, Any], dict[str, Any]]]:
    """Place, question and reply of every sample of a model, in the order of its files; one at a time."""
    folder = reader.folder / model.folder / EVALUATION
    samples = iter_jsonl(samples_path(folder, found.key))
    there = [g for g in found.gradings if grades_path(folder, found.key, g.grader).exists()]
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


def _reply(sample: dict, grades: dict[Grading, dict], found: SampleSet) -> dict[str, Any]:
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
