"""The browser of samples: a representative choice within the page, and all replies in script files beside it.

Both are archives of the same form: an index (models, sets of samples) and entries by key: `s<set>-v` are the verdicts
of every model, `s<set>-q-p<part>` questions, `s<set>-m<model>-p<part>` replies. A page that was opened as a file can
only load other files as scripts, so the files beside it are scripts that pass on their entries.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from jaxreason.report.report_tables import benchmark_label
from jaxreason.report.sample_choice import (
    EACH,
    PAGE_TEXT,
    Gathered,
    choose_samples,
    embedded,
    first_pairs,
)
from jaxreason.report.sample_sets import (
    EvaluatedModel,
    SampleSet,
    as_script,
    cut_texts,
    evaluated_models,
    grading_label,
    sample_places,
    sample_replies,
    sample_sets,
    sample_verdicts,
    text_hash,
)
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.wording import decoding_label
from jaxreason.results.atomic_files import atomic_write_bytes, remove_others

FOLDER = "samples"
FILE_TEXT = 20_000  # Characters of a text; a longer text loses its middle.
FILE_SIZE = 600_000  # Characters of a script file, after which the next one begins.
PART_SAMPLES, PART_TEXT = (
    100,
    300_000,
)  # A part of a set ends after this many samples, or characters of the reference.
Entries = Iterator[tuple[str, Any]]


class Archive:
    """All samples of a study. What it gathers is complete when the last of `entries` has been taken."""

    def __init__(self, reader: Reader, study: Study, summary: dict[str, Any]):
        self._reader, self._summary = reader, summary
        models = evaluated_models(reader, study)
        self._sets = sample_sets(reader, study, models, summary["variant"])
        self.gathered = Gathered(models)

    def entries(self) -> Entries:
        """Yields keys and entries of all samples, one part of one model at a time."""
        for number, (found, models) in enumerate(self._sets.items()):
            places = sample_places(self._reader, models[0], found)
            members = {self.gathered.models.index(m): m for m in models}
            marks = {i: sample_verdicts(self._reader, m, found, places) for i, m in members.items()}
            yield f"s{number}-v", {str(i): text for i, text in marks.items()}
            self.gathered.marks |= {(number, i): text for i, text in marks.items()}
            wanted = self._choose(number, marks, list(places))
            self.gathered.sets.append(self._describe(found, len(places)))
            yield from self._texts(number, found, members, places, wanted)

    def _describe(self, found: SampleSet, count: int) -> dict[str, Any]:
        label = benchmark_label(self._summary, found.key.benchmark)
        decodings = f", {decoding_label(found.key.decoding).lower()}"
        ways = [grading_label(grading) for grading in found.gradings]
        alike = sum(key.key.benchmark == found.key.benchmark for key in self._sets)
        several = len({key.key.decoding for key in self._sets}) > 1
        prompts = len({k.key.prompt for k in self._sets if k.key.benchmark == found.key.benchmark})
        return {
            "label": label + decodings * (several and alike > 1) + f", {ways[0]}" * (prompts > 1),
            "ways": ways,
            "metrics": [grading.metric for grading in found.gradings],
            "count": count,
            "ends": [],
        }

    def _choose(self, number: int, marks: dict[int, str], names: list) -> set[tuple[int, int]]:
        """Returns model and place of every reply that the page may show, of the first run of every arm and its base."""
        runs = {
            self.gathered.models[i].name: i
            for i in reversed(marks)
            if self.gathered.models[i].seed is not None
        }
        pairs = {
            i: self.gathered.bases()[self.gathered.models[i].base] for i in sorted(runs.values())
        }
        pairs = {i: base for i, base in pairs.items() if base in marks}
        hashes = [text_hash(f"{name}/{sample}") for name, sample in names]
        found = choose_samples(number, pairs, marks, hashes)
        self.gathered.chosen += found
        return {(i, one.place) for one in found for i in (one.model, one.base)}

    def _texts(
        self,
        number: int,
        found: SampleSet,
        members: dict[int, EvaluatedModel],
        places: dict,
        wanted: set,
    ) -> Entries:
        prompts: list[int] = []
        needed = {place for _, place in wanted}
        for i, model in members.items():
            parts = _Parts(self.gathered.sets[number]["ends"], growing=not prompts)
            for place, question, reply in sample_replies(self._reader, model, found, places):
                self.gathered.num_replies += 1
                if parts.growing:
                    prompts.append(text_hash(question["prompt"]))
                    if place in needed:
                        self.gathered.questions[number, place] = cut_texts(question, FILE_TEXT)
                elif text_hash(question["prompt"]) != prompts[place]:
                    reply["prompt"] = question["prompt"]
                reply = cut_texts(reply, FILE_TEXT)
                if (i, place) in wanted:
                    self.gathered.replies[number, i, place] = reply
                for done in parts.add(place, cut_texts(question, FILE_TEXT), reply):
                    yield from _keyed(number, i, done)
            for done in parts.close():
                yield from _keyed(number, i, done)


class _Parts:
    """Cuts entries into parts: those of the reference by size, those of other models at the same places."""

    def __init__(self, ends: list[int], growing: bool):
        self.growing = growing
        self._ends, self._number, self._start, self._size = ends, 0, 0, 0
        self._held: dict[int, tuple[dict, dict]] = {}

    def add(self, place: int, question: dict, reply: dict) -> Iterator[tuple]:
        if not self.growing:
            while place >= self._ends[self._number]:
                yield self._next(self._ends[self._number])
        self._held[place] = question, reply
        self._size += len(question["prompt"]) + len(reply["reply"])
        if self.growing and (len(self._held) >= PART_SAMPLES or self._size >= PART_TEXT):
            self._ends.append(place + 1)
            yield self._next(place + 1)

    def close(self) -> Iterator[tuple]:
        if self._held:
            end = max(self._held) + 1 if self.growing else self._ends[self._number]
            if self.growing:
                self._ends.append(end)
            yield self._next(end)

    def _next(self, end: int) -> tuple[int, bool, list]:
        pairs = [self._held.get(place, (None, None)) for place in range(self._start, end)]
        done = self._number, self.growing, pairs
        self._number, self._start, self._size, self._held = self._number + 1, end, 0, {}
        return done


def _keyed(number: int, model: int, done: tuple[int, bool, list]) -> Entries:
    part, reference, pairs = done
    if reference:
        yield f"s{number}-q-p{part}", [question for question, _ in pairs]
    yield f"s{number}-m{model}-p{part}", [reply for _, reply in pairs]


def write_samples(folder: epath.Path, archive: Archive) -> None:
    """Writes all entries as scripts of about FILE_SIZE, the index last; only one file's entries are in memory."""
    files: dict[str, int] = {}
    names = {"index.js"}
    for number, texts in enumerate(_packed(archive.entries())):
        files |= dict.fromkeys(texts, number)
        body = ",\n".join(f'"{key}":{text}' for key, text in texts.items())
        names.add(f"{number}.js")
        data = f"jaxreasonSamples({number},{{{body}}});\n"
        atomic_write_bytes(folder / f"{number}.js", data.encode("ascii"))
    if files:
        index = as_script(archive.gathered.index() | {"files": files})
        atomic_write_bytes(folder / "index.js", f"jaxreasonIndex({index});\n".encode("ascii"))
    remove_others(folder, names if files else ())


def _packed(entries: Iterable[tuple[str, Any]]) -> Iterator[dict[str, str]]:
    held, size = {}, 0
    for key, entry in entries:
        held[key] = as_script(entry)
        size += len(held[key])
        if size >= FILE_SIZE:
            yield held
            held, size = {}, 0
    if held:
        yield held


def browser(archive: Archive, budget: int) -> dict[str, Any] | None:
    """Returns the data of the page for a written archive; None if there is no pair to show.

    Args:
      archive: with all its entries taken.
      budget: bytes that the embedded samples may take.
    """
    if not archive.gathered.chosen:
        return None
    found = embedded(archive.gathered, budget)
    return {
        "script": as_script(found),
        "num_pairs": found["num_pairs"],
        "num_replies": archive.gathered.num_replies,
        "first": first_pairs(archive.gathered),
        "each": EACH,
        "page_text": PAGE_TEXT,
        "file_text": FILE_TEXT,
    }
