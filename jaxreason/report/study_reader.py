"""Reads the files of a study for the report. Every file is hashed; a missing one is None."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import check_object, parse_json
from jaxreason.results.claims import DONE
from jaxreason.results.grade_files import (
    finished_grades,
    grade_head_path,
    graded_samples,
    grades_path,
)
from jaxreason.results.groups import groups_in_order
from jaxreason.results.jsonl import iter_jsonl
from jaxreason.results.sample_files import (
    SampleKey,
    finished_samples,
    sample_head_path,
    samples_path,
    without_texts,
)
from jaxreason.results.score_files import (
    EVALUATION,
    SCORES,
    parse_score_rows,
    rows_of_variant,
    sample_key_of,
)
from jaxreason.results.snapshots import Snapshot
from jaxreason.results.study_files import (
    BASE,
    STEPS,
    TRAJECTORY_FOLDER,
    base_of,
    bases_of,
    is_study,
    read_manifest,
    read_trajectory,
    run_folder,
    trajectory_path,
)
from jaxreason.results.training_files import METRICS, check_metrics

# The fields of a sample and its grade that the report keeps.
KEPT = (
    *("id", "subset", "cluster", "num_tokens", "finish_reason"),
    *("answer", "extracted", "scores", "error"),
)
Samples = dict[tuple[str, str], list[dict]]  # KEPT of each line, by benchmark and decoding.


@dataclass(frozen=True)
class Arm:
    """One way of training (or one given checkpoint) and its seeds."""

    name: str
    method: str
    label: str
    seeds: tuple[int, ...]
    base: str = BASE  # The folder of the base with which it is compared.
    after: str = ""  # The arm from whose model it started.
    drift: bool = True  # Whether more than its scores is compared with its base.
    published: str = ""  # Its name in the paper's tables.
    traits: Mapping[str, str] = field(default_factory=dict)  # The traits by which it is grouped.
    at: str = ""  # The folder of its only model, if that is not a run's folder.
    trajectory: str = ""  # The folder of that model's trajectory.

    def folder(self, seed: int) -> str:
        """Returns the folder of a seed's run, relative to the study."""
        return self.at or run_folder(self.name, seed)

    def trajectory_folder(self, seed: int) -> str:
        """Returns the folder of a run's trajectory, relative to the study."""
        return self.trajectory or f"{self.folder(seed)}/{TRAJECTORY_FOLDER}"


@dataclass(frozen=True)
class BaseModel:
    """A model with which arms are compared; its folder is its name."""

    name: str
    model: str
    label: str
    published: str = ""  # Its name in the paper's tables.


@dataclass(frozen=True)
class Study:
    """The content of study.json."""

    name: str
    base: str
    shared_base: bool | None  # Whether all seeds start from one base; None if it does not say.
    groups: dict[str, str]  # Benchmark -> group.
    labels: dict[str, str]  # Benchmark -> its label.
    bases: tuple[BaseModel, ...]
    arms: tuple[Arm, ...]  # Ordered by their bases.
    decodings: tuple[str, ...]
    variant: str = "robust"  # The variant whose scores the report is about.
    notes: tuple[str, ...] = ()  # What its maker left out, one sentence each.

    def group_names(self) -> tuple[str, ...]:
        """Returns the groups of its benchmarks, in the order of `results.groups`."""
        return tuple(groups_in_order(self.groups.values()))

    def benchmarks(self, group: str) -> tuple[str, ...]:
        """Returns the benchmarks of a group, in the order of study.json."""
        return tuple(name for name, other in self.groups.items() if other == group)

    def runs(self) -> list[tuple[Arm, int]]:
        """Returns every arm with every seed."""
        return [(arm, seed) for arm in self.arms for seed in arm.seeds]


class Evaluation(NamedTuple):
    """A finished evaluation of one model."""

    rows: list[dict]  # Of scores.json, for the report's variant.
    samples: Samples
    all_rows: list[dict]  # Of scores.json.
    asked: dict[str, Any]  # How the model was asked.
    others: dict[str, Samples]  # By variant: the same benchmarks in another variant.

    def measured(self, variant: str) -> "Evaluation":
        """Returns its measurements in another variant, for benchmarks that were measured in both."""
        samples = self.others.get(variant, {})
        rows = rows_of_variant(self.all_rows, variant)
        rows = [row for row in rows if (row["benchmark"], row["decoding"]) in samples]
        return self._replace(rows=rows, samples=samples)


class Reader:
    """Reads files below a study's folder, as one `Snapshot` has them, and remembers their hashes."""

    def __init__(self, folder: epath.PathLike):
        self.folder = epath.Path(folder)
        self._files = Snapshot(folder)
        self.hashes: dict[str, str] = {}
        self.evaluations: dict[tuple[str, str], Evaluation | None] = {}

    def _bytes(self, name: str) -> bytes | None:
        path = self.folder / name
        if not self._files.grown_exists(path):
            return None
        data = self._files.read_grown(path)
        self.hashes[name] = hashlib.sha256(data).hexdigest()
        return data

    def json(self, name: str) -> Any:
        """Returns the value of a JSON file; None if the file does not exist.

        Raises:
          ValueError: the file is broken.
        """
        data = self._bytes(name)
        return None if data is None else parse_json(data, str(self.folder / name))

    def object(self, name: str, types: dict[str, type]) -> dict[str, Any] | None:
        """Returns the object in a JSON file, with values of these types under these keys; None if the file does not
        exist.

        Raises:
          UserError: the file is broken or has a different content.
        """
        path = self.folder / name
        value = self.json(name)
        return check_object(value, types, str(path)) if name in self.hashes else None

    def read(self, path: epath.Path, types: Mapping[str, type]) -> dict[str, Any]:
        """Returns the `object` of an existing file, given its path, as the readers in `results` call it."""
        return self.object(str(path.relative_to(self.folder)), dict(types))

    def exists(self, path: epath.Path) -> bool:
        """Returns whether there is a file or a folder at this path."""
        return self._files.exists(path)

    def matching(self, folder: epath.Path, pattern: str) -> list[epath.Path]:
        """Returns the paths in a folder that match a pattern, by name."""
        return self._files.matching(folder, pattern)

    def lines(
        self, path: epath.Path, seen: Callable[[bytes], Any] = lambda _: None
    ) -> Iterator[dict]:
        """Yields the rows of an existing jsonl file, as `iter_jsonl` does; its hash is not remembered."""
        return iter_jsonl(path, seen, self._files.read_grown)

    def jsonl(
        self, name: str, kept: Callable[[dict, str], dict] = lambda row, where: row
    ) -> list[dict] | None:
        """Returns the complete lines of a jsonl file; None if the file does not exist.

        Args:
          name: of the file.
          kept: returns what is kept of a line; its second argument names the line. The file is read line by line.
        """
        path, digest = self.folder / name, hashlib.sha256()
        if not self._files.grown_exists(path):
            return None
        rows = enumerate(self.lines(path, digest.update), start=1)
        found = [kept(row, f"{path}, line {number}") for number, row in rows]
        self.hashes[name] = digest.hexdigest()
        return found


def read_study(reader: Reader) -> Study:
    """Reads study.json; in the folder of a trajectory without a study, returns the run as a study's only arm.

    Raises:
      ValueError: there is no study.json, or a key is missing.
    """
    if not is_study(reader.folder, reader) and reader.exists(trajectory_path(reader.folder)):
        return _study_of_trajectory(read_trajectory(reader.folder, reader))
    found = read_manifest(reader.folder, reader)
    bases = bases_of(found)
    names = [base["name"] for base in bases]
    arms = sorted(map(_arm, found["arms"]), key=lambda arm: names.index(arm.base))
    return Study(
        name=found["name"],
        base=found["base"],
        shared_base=found.get("shared_base", None),
        groups=found["groups"],
        labels=found.get("labels", {}),
        bases=tuple(_base(base, bases) for base in bases),
        arms=tuple(arms),
        decodings=tuple(found["decodings"]),
        notes=tuple(found.get("notes", ())),
    )


def _study_of_trajectory(found: dict) -> Study:
    """Returns the base and the last step of a run as a study."""
    steps = [row["step"] for row in found["steps"]]
    scores = [row for step in found["steps"] for row in step["scores"]]
    run = found["run"].rstrip("/")
    name = run.rsplit("/", 1)[-1]
    arm = Arm(
        name,
        found["method"],
        name,
        (found["seed"],),
        f"{STEPS}/0",
        at=f"{STEPS}/{steps[-1]}" if steps[-1] else "",  # The base alone is no step of the run.
        trajectory=".",
    )
    return Study(
        name=run,
        base=found["base"],
        shared_base=True,
        groups={row["benchmark"]: row["group"] for row in scores},
        labels={row["benchmark"]: row["label"] for row in scores},
        bases=(BaseModel(f"{STEPS}/0", found["base"], "Base"),),
        arms=(arm,),
        decodings=tuple(dict.fromkeys(row["decoding"] for row in scores)),
    )


def _arm(entry: dict) -> Arm:
    about = entry["name"], entry["method"], entry["label"], tuple(entry["seeds"])
    more = entry.get("after", ""), entry.get("drift", True), entry.get("published", "")
    return Arm(*about, base_of(entry), *more, entry.get("traits", {}))


def _base(base: dict[str, str], bases: list[dict[str, str]]) -> BaseModel:
    label = base.get("label") or _base_label(base, bases)
    return BaseModel(base["name"], base["model"], label, base.get("published", ""))


def _base_label(base: dict[str, str], bases: list[dict[str, str]]) -> str:
    """Returns the label of a base: with several bases, the last part of its path."""
    return "Base" if len(bases) == 1 else f"Base {epath.Path(base['model']).name}"


def read_evaluation(reader: Reader, folder: str, variant: str) -> Evaluation | None:
    """Returns the evaluation of the model in `folder`; None if it has not finished.

    Args:
      reader: of the study's folder.
      folder: of the model, in it.
      variant: of the scores that the report is about.

    Raises:
      UserError: a file of it is broken or missing, or a sample is missing or doubled.
    """
    key = folder, variant
    if key not in reader.evaluations:  # Several parts of the report read it.
        reader.evaluations[key] = _read_evaluation(reader, folder, variant)
    return reader.evaluations[key]


def _read_evaluation(reader: Reader, folder: str, variant: str) -> Evaluation | None:
    name = f"{folder}/{EVALUATION}/{SCORES}"
    scores = reader.json(name)
    if name not in reader.hashes:  # `null` in the file is None, too.
        return None
    all_rows = parse_score_rows(scores, str(reader.folder / name))
    rows = rows_of_variant(all_rows, variant)
    found = _samples_by_variant(reader, folder, rows + _otherwise(all_rows, rows))
    samples = found.pop(variant, {})
    asked = scores.get("asked", {}) | {k: scores[k] for k in ("max_length",) if k in scores}
    return Evaluation(rows, samples, all_rows, asked, found)


def _otherwise(all_rows: list[dict], rows: list[dict]) -> list[dict]:
    """Returns rows of the benchmarks of `rows` that have other samples or another grader.

    A variant with the same prompts and grader is not a second way of measuring.
    """
    made_from = {(r["benchmark"], r["decoding"]): (r["prompt"], r["grader"]) for r in rows}
    return [
        row
        for row in all_rows
        if made_from.get((row["benchmark"], row["decoding"]), (row["prompt"], row["grader"]))
        != (row["prompt"], row["grader"])
    ]


def _samples_by_variant(reader: Reader, folder: str, rows: list[dict]) -> dict[str, Samples]:
    """Returns the samples by variant. Each sample file is read once, for all of its graders."""
    graders: dict[SampleKey, dict[str, set[str]]] = {}
    for row in rows:
        names = graders.setdefault(sample_key_of(row), {}).setdefault(row["grader"], set())
        names.add(row["variant"])
    found: dict[str, Samples] = {}
    for key, variants in graders.items():
        samples = _samples(reader, folder, key)
        for grader, names in variants.items():
            lines = _graded(reader, folder, key, grader, samples)
            for name in names:
                found.setdefault(name, {})[key.benchmark, key.decoding] = lines
    return found


def _samples(reader: Reader, folder: str, key: SampleKey) -> list[dict]:
    inside = epath.Path(folder) / EVALUATION
    path, head = samples_path(inside, key), sample_head_path(inside, key)
    lines, made_with = _both(reader, path, head, without_texts)
    return finished_samples(lines, made_with, str(reader.folder / path))


def _graded(
    reader: Reader, folder: str, key: SampleKey, grader: str, samples: list[dict]
) -> list[dict]:
    inside = epath.Path(folder) / EVALUATION
    path, head = grades_path(inside, key, grader), grade_head_path(inside, key, grader)
    lines, made_with = _both(reader, path, head)
    where = str(reader.folder / path)
    grades = finished_grades(lines, made_with, where)
    graded = graded_samples(samples, grades, where, itemgetter("digest"))
    return [{name: line[name] for name in KEPT} for line in graded]


def _both(
    reader: Reader,
    path: epath.Path,
    head: epath.Path,
    kept: Callable[[dict, str], dict] = lambda row, where: row,
) -> tuple[list[dict], dict]:
    """Returns the lines of a file and the contents of its head.

    Raises:
      UserError: one of the two does not exist.
    """
    lines, made_with = reader.jsonl(str(path), kept), reader.object(str(head), {})
    for name, value in ((path, lines), (head, made_with)):
        if value is None:
            raise UserError(
                f"{reader.folder / name}: not found, though {SCORES} lists its scores. `jaxreason grade` makes grades "
                "again; samples, `jaxreason eval`."
            )
    return lines, made_with


def read_run_metrics(reader: Reader, arm: Arm, seed: int) -> list[dict]:
    """Returns the lines of a training run's metrics.jsonl; none if it has not begun or the arm was not trained.

    Raises:
      UserError: a step is missing, doubled or out of order, or the file of a finished run is gone.
    """
    folder = arm.folder(seed)
    name, done = f"{folder}/{METRICS}", reader.object(f"{folder}/{DONE}", {"num_steps": int})
    lines = reader.jsonl(name)
    num_steps = None if done is None else done["num_steps"]
    if lines is None and num_steps is None:
        return []
    return check_metrics(lines or [], str(reader.folder / name), num_steps)
