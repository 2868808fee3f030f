"""Chooses the samples that the page itself shows: a few for each benchmark, arm and kind, by a hash of the question."""

import heapq
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxreason.report.sample_sets import (
    ABSENT,
    EvaluatedModel,
    as_script,
    cut_texts,
    printable_texts,
)

EACH = 3  # Of each kind, for a set and an arm.
PAGE_TEXT = 3_000  # Characters of a text in the page.
KINDS = {"10": "right to wrong", "01": "wrong to right", "00": "both wrong", "11": "both right"}


FIRST_PAIRS, FIRST_TEXT = (
    6,
    600,
)  # Pairs that the page shows without its script, and characters of their texts.


class ChosenSample(NamedTuple):
    """A sample of a run and of its base. They are ordered: smaller ones are shown first."""

    rank: int
    kind: int  # Index into KINDS.
    found: int  # Index of the set.
    model: int
    base: int
    place: int


@dataclass
class Gathered:
    """Facts about all samples that were written, with the texts of the chosen ones."""

    models: list[EvaluatedModel]
    sets: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[ChosenSample] = field(default_factory=list)
    questions: dict[tuple[int, int], dict] = field(default_factory=dict)  # By set and place.
    replies: dict[tuple[int, int, int], dict] = field(default_factory=dict)  # Set, model and place.
    marks: dict[tuple[int, int], str] = field(default_factory=dict)  # Verdicts, by set and model.
    num_replies: int = 0

    def bases(self) -> dict[str, int]:
        """Returns the models that are bases, by name."""
        return {model.name: i for i, model in enumerate(self.models) if model.seed is None}

    def index(self) -> dict[str, Any]:
        """Returns the data that the browser needs before it requests entries."""
        bases = self.bases()
        models = [
            {"label": m.label, "name": m.name, "seed": m.seed, "base": bases[m.base]}
            for m in self.models
        ]
        return {"models": models, "sets": self.sets}


def choose_samples(
    number: int, pairs: dict[int, int], marks: dict[int, str], hashes: list[int]
) -> list[ChosenSample]:
    """Returns up to EACH samples of every kind, those with the smallest hashes.

    Args:
      number: of the set.
      pairs: the base of every run.
      marks: the verdicts of every model, one character per sample.
      hashes: of every sample's question: equal for all runs, so that all are shown on the same questions.
    """
    found = []
    for model, base in pairs.items():
        for kind, verdicts in enumerate(KINDS):
            both = zip(marks[base], marks[model], strict=True)
            places = [place for place, pair in enumerate(both) if "".join(pair) == verdicts]
            best = heapq.nsmallest(EACH, places, key=lambda place: (hashes[place], place))
            found += [
                ChosenSample(r, kind, number, model, base, place) for r, place in enumerate(best)
            ]
    return found


def embedded(archive: Gathered, budget: int) -> dict[str, Any]:
    """Returns an archive of as many chosen samples as fit into `budget` bytes, in one part per set."""
    kept, left, held = [], budget, set()
    for one in sorted(archive.chosen):
        new = _records(one) - held
        size = sum(_size(archive, record) for record in new)
        if size <= left:
            kept.append(one)
            held |= new
            left -= size
    return _index(archive, kept) | {"data": _data(archive, kept), "num_pairs": len(kept)}


def _records(one: ChosenSample) -> set[tuple[int, ...]]:
    replies = {(one.found, model, one.place) for model in (one.base, one.model)}
    return {(one.found, one.place), *replies}


def _size(archive: Gathered, record: tuple[int, ...]) -> int:
    return len(as_script(_record(archive, record))) + 8


def _record(archive: Gathered, record: tuple[int, ...]) -> dict:
    where = archive.questions if len(record) == 2 else archive.replies
    return cut_texts(where[record], PAGE_TEXT)


def _places(kept: list[ChosenSample]) -> dict[int, list[int]]:
    found: dict[int, set[int]] = {}
    for one in kept:
        found.setdefault(one.found, set()).add(one.place)
    return {number: sorted(places) for number, places in found.items()}


def _index(archive: Gathered, kept: list[ChosenSample]) -> dict[str, Any]:
    places = _places(kept)
    counts = [len(places.get(number, ())) for number in range(len(archive.sets))]
    sets = [
        about | {"count": count, "ends": [count]}
        for about, count in zip(archive.sets, counts, strict=True)
    ]
    return archive.index() | {"sets": sets}


def _data(archive: Gathered, kept: list[ChosenSample]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    pairs = {(one.found, i, one.place) for one in kept for i in (one.model, one.base)}
    for number, places in _places(kept).items():
        data[f"s{number}-q-p0"] = [_record(archive, (number, place)) for place in places]
        models = sorted({i for found, i, _ in pairs if found == number})
        data[f"s{number}-v"] = {}
        for i in models:
            there = [(number, i, place) in pairs for place in places]
            marks = archive.marks[number, i]
            text = (marks[p] if t else ABSENT for p, t in zip(places, there, strict=True))
            data[f"s{number}-v"][str(i)] = "".join(text)
            data[f"s{number}-m{i}-p0"] = [
                _record(archive, (number, i, place)) if t else None
                for place, t in zip(places, there, strict=True)
            ]
    return data


def first_pairs(archive: Gathered) -> list[dict[str, Any]]:
    """Returns a few chosen samples, changed ones first, of different sets and arms: shown if scripts do not run."""
    kept, seen = [], set()
    for one in sorted(archive.chosen):
        if len(kept) < FIRST_PAIRS and not {("set", one.found), ("model", one.model)} <= seen:
            kept.append(one)
            seen |= {("set", one.found), ("model", one.model)}
    return [_shown(archive, one) for one in kept]


def _shown(archive: Gathered, one: ChosenSample) -> dict[str, Any]:
    question = archive.questions[one.found, one.place]
    models = (archive.models[one.base], archive.models[one.model])
    replies = (archive.replies[one.found, i, one.place] for i in (one.base, one.model))
    pairs = [
        {
            "label": model.label,
            "reply": reply["reply"],
            "extracted": reply["grades"][0]["extracted"],
        }
        for model, reply in zip(models, replies, strict=True)
    ]
    about = {"set": archive.sets[one.found]["label"], "kind": list(KINDS.values())[one.kind]}
    names = ("id", "prompt", "answer")
    said = about | {name: question[name] for name in names} | {"models": pairs}
    return printable_texts(cut_texts(said, FIRST_TEXT))
