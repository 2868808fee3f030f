"""Reading a study's folder: every file read is hashed, and what is not there is None and noted."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import check_object
from jaxreason.results.growing_files import grown_exists, read_grown
from jaxreason.results.metrics_lines import check_metrics
from jaxreason.results.sample_files import (
    SCORES,
    finished_samples,
    head_path,
    samples_path,
    score_rows,
)

# What study.json and each of its arms hold at least.
MANIFEST = {"name": str, "base": str, "groups": dict, "arms": list, "decodings": list}
ARM = {"name": str, "method": str, "label": str, "seeds": list}
GROUP_LABELS = {"math": "Math", "other": "Other reasoning", "non_reasoning": "Non-reasoning"}
MATH, REST = "math", "rest"
BASE = "base"


@dataclass(frozen=True)
class Arm:
    """One way of training (or one given checkpoint) and its seeds."""

    name: str
    method: str
    label: str
    seeds: tuple[int, ...]

    def folder(self, seed: int) -> str:
        """Where the run of a seed is, relative to the study."""
        return f"{self.name}/seed_{seed}"


@dataclass(frozen=True)
class Study:
    """What study.json says."""

    name: str
    base: str
    shared_base: bool | None  # whether all seeds start from one base; None: it does not say
    groups: dict[str, str]  # benchmark -> group
    labels: dict[str, str]  # benchmark -> what to call it
    arms: tuple[Arm, ...]
    decodings: tuple[str, ...]

    def group_names(self) -> tuple[str, ...]:
        """Groups in the order of GROUP_LABELS, unknown ones last."""
        found = dict.fromkeys(self.groups.values())
        return tuple(
            [g for g in GROUP_LABELS if g in found] + [g for g in found if g not in GROUP_LABELS]
        )

    def benchmarks(self, group: str) -> tuple[str, ...]:
        """The benchmarks of a group, in the order of study.json."""
        return tuple(name for name, other in self.groups.items() if other == group)

    def runs(self) -> list[tuple[Arm, int]]:
        """Every arm with every seed."""
        return [(arm, seed) for arm in self.arms for seed in arm.seeds]


# What the report keeps of a line of a sample file.
KEPT = ("id", "subset", "cluster", "scores", "error", "extracted", "num_tokens", "finish_reason")


class Evaluation(NamedTuple):
    """A finished evaluation of one model."""

    rows: list[dict]  # of scores.json
    samples: dict[tuple[str, str], list[dict]]  # KEPT of each line, by benchmark and decoding


class Reader:
    """Reads files below a study's folder and remembers their hashes."""

    def __init__(self, folder: epath.PathLike):
        self.folder = epath.Path(folder)
        self.hashes: dict[str, str] = {}

    def text(self, name: str) -> str | None:
        """The text of a file; None if there is none."""
        path = self.folder / name
        if not grown_exists(path):
            return None
        data = read_grown(path)
        self.hashes[name] = hashlib.sha256(data).hexdigest()
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 ({error}).") from error

    def json(self, name: str) -> Any:
        """The value of a JSON file; None if there is none.

        Raises:
          ValueError: the file is broken.
        """
        text = self.text(name)
        return None if text is None else _parse(text, self.folder / name)

    def object(self, name: str, types: dict[str, type]) -> dict[str, Any] | None:
        """The object in a JSON file, with values of these types under these keys; None if there is none.

        Raises:
          UserError: the file is broken, or holds something else.
        """
        path = self.folder / name
        value = self.json(name)
        return check_object(value, types, str(path)) if name in self.hashes else None

    def jsonl(self, name: str) -> list[dict] | None:
        """The complete lines of a jsonl file; None if there is none."""
        text = self.text(name)
        if text is None:
            return None
        lines = text.split("\n")[:-1]  # a last line without its end was cut off
        return [_parse(line, f"{self.folder / name}, line {i}") for i, line in enumerate(lines, 1)]


def _parse(text: str, where: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}).") from error


def read_study(reader: Reader) -> Study:
    """study.json.

    Raises:
      ValueError: no study.json, or a key is missing.
    """
    path = reader.folder / "study.json"
    found = reader.object("study.json", MANIFEST)
    if found is None:
        raise UserError(f"{path}: not found; the report is made from a study's folder.")
    return Study(
        name=found["name"],
        base=found["base"],
        shared_base=found.get("shared_base", None),
        groups=found["groups"],
        labels=found.get("labels", {}),
        arms=tuple(_arm(entry, path) for entry in found["arms"]),
        decodings=tuple(found["decodings"]),
    )


def _arm(entry: dict, path: epath.Path) -> Arm:
    check_object(entry, ARM, f"{path}, arms")
    return Arm(entry["name"], entry["method"], entry["label"], tuple(entry["seeds"]))


def read_evaluation(reader: Reader, folder: str) -> Evaluation | None:
    """The evaluation of the model in `folder`; None unless it has finished.

    Raises:
      UserError: a file of it is broken or missing, or a sample is missing or doubled.
    """
    name = f"{folder}/evaluation/{SCORES}"
    scores = reader.json(name)
    if scores is None:
        return None
    rows = score_rows(scores, str(reader.folder / name))
    keys = dict.fromkeys((row["benchmark"], row["decoding"]) for row in rows)
    return Evaluation(rows, {key: _samples(reader, folder, *key) for key in keys})


def _samples(reader: Reader, folder: str, benchmark: str, decoding: str) -> list[dict]:
    inside = epath.Path(folder) / "evaluation"
    path, head = (str(f(inside, benchmark, decoding)) for f in (samples_path, head_path))
    lines, made_with = reader.jsonl(path), reader.object(head, {})
    for name, value in ((path, lines), (head, made_with)):
        if value is None:
            where = reader.folder / name
            raise UserError(f"{where}: not found, though {SCORES} beside it lists its scores.")
    finished_samples(lines, made_with, str(reader.folder / path))
    return [{name: line[name] for name in KEPT} for line in lines]


def read_run_metrics(reader: Reader, arm: Arm, seed: int) -> list[dict]:
    """The lines of a training run's metrics.jsonl; none of one that has not begun, or of an arm
    that was not trained.

    Raises:
      UserError: a step is missing, doubled or out of order, or the file of a finished run is gone.
    """
    folder = arm.folder(seed)
    name, done = f"{folder}/metrics.jsonl", reader.object(f"{folder}/done.json", {"num_steps": int})
    lines = reader.jsonl(name)
    num_steps = None if done is None else done["num_steps"]
    if lines is None and num_steps is None:
        return []
    return check_metrics(lines or [], str(reader.folder / name), num_steps)
