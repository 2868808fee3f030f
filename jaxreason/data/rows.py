"""The settings of a dataset in a recipe, the rows that a source yields, and the record of rows that are left out."""

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from etils import epath

from jaxreason.config import LEARNED, at_least, nearest, needed
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import write_json

_LOG = logging.getLogger(__name__)
_SHOWN = 20


@dataclass(frozen=True)
class DatasetConfig:
    """One dataset of a recipe."""

    source: Annotated[str, LEARNED] = "file"
    """A key of `sources.SOURCES`."""
    path: Annotated[str, LEARNED] = needed()
    """A file or pattern (`file`), a hub name or local folder or file (`huggingface`), a dataset's name or folder
    (`tfds`), a task's name (`reasoning_gym`).
    """
    split: Annotated[str, LEARNED] = ""
    """The split to read; "" for `file` and `reasoning_gym`, which have none."""
    fields: Annotated[dict[str, str], LEARNED] = needed()
    """Maps our names (`FIELDS`) to the columns of the source."""
    prompt_template: Annotated[str, LEARNED] = "{prompt}"
    """`str.format` over the columns of the row and `{prompt}`; "{prompt}" changes nothing. Literal braces
    are doubled.
    """
    task: Annotated[str, LEARNED] = ""
    """The task of the examples, a key of `tasks.registry.TASKS` if they are graded."""
    metadata: Annotated[tuple[str, ...], LEARNED] = ()
    """Columns that are kept in `Example.metadata`."""
    limit: Annotated[int, at_least(0), LEARNED] = 0
    """Number of examples to keep, chosen by `seed`, in the order of the file; 0 keeps all."""
    seed: Annotated[int, at_least(0), LEARNED] = 0
    """The seed for the choice made by `limit`, and for the generator in `reasoning_gym`."""
    options: Annotated[dict[str, str | int | float], LEARNED] = field(default_factory=dict)
    """Options of the source (see `sources`), and `SHARED_OPTIONS` for every source."""

    @property
    def label(self) -> str:
        """The name under which rows are counted: `source:path`, then split and part if there are any."""
        parts = (self.source, self.path, self.split, str(self.options.get("part", "")))
        return ":".join(part for part in parts if part)


FIELDS = ("id", "prompt", "answer", "response", "reasoning", "system", "messages")

SHARED_OPTIONS = {
    "answer_after": "keep of the answer what follows the last occurrence of this (GSM8K: ####)",
    "response_remove": "a regular expression deleted from the response (GSM8K: <<.*?>>)",
    "part": "'test': questions with crc32 % test_one_in == 0; 'train': the others",
    "test_one_in": "see part",
    "distinct": "1: a question that occurred before is left out",
    "without": "a decontamination.json: the questions that it names are left out",
    "group_by": "columns (comma-separated) whose rows stay together; limit then counts groups",
    "rows": "a key of `conversions.CONVERSIONS`, which makes flat rows of the source's",
    "shuffle": "the order of a question's options: none, paper, or a seed (see `choice_rows`)",
    "pick": "the seed by which one of a row's two candidates is taken (HaluEval)",
}
# Those of the shared options that are passed to the conversion.
CONVERSION_OPTIONS = ("shuffle", "pick")


class RowError(UserError):
    """A row that cannot be used; `reason` is one of a few phrases, `detail` describes the row's content."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class SourceRow:
    """A row as it was found, or why it could not be read.

    Attributes:
      file: the file, or the name of a source without files.
      number: from 1; lines in text files, otherwise items.
      columns: column name -> value; empty if there is a problem.
      problem: why the row could not be read.
    """

    file: str
    number: int
    columns: dict[str, Any]
    problem: RowError | None = None

    @property
    def where(self) -> str:
        """`file:number`, for messages."""
        return f"{self.file}:{self.number}"


def python_value(value: Any) -> Any:
    """Returns a value of tfds or Arrow as plain Python; bytes become text, with bad bytes as lone surrogates."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="surrogateescape")
    if isinstance(value, dict):
        return {key: python_value(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return python_value(value.tolist())
    if isinstance(value, (list, tuple)):
        return [python_value(item) for item in value]
    return value


def is_missing(value: Any) -> bool:
    """Returns whether a value is null, or the NaN that pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def no_split(config: DatasetConfig) -> None:
    """Refuses a split if the source has none."""
    if config.split:
        raise UserError(
            f"{config.label}: split: source {config.source!r} has no splits, so it must be empty; "
            "options.part and options.test_one_in divide the rows by question."
        )


def source_options(config: DatasetConfig, valid: tuple[str, ...]) -> dict[str, str | int | float]:
    """Returns the options that are meant for the source itself.

    Raises:
      ValueError: for an option that neither the source nor the loader reads.
    """
    known = [*valid, *SHARED_OPTIONS]
    for name in config.options:
        if name not in known:
            raise UserError(
                f"{config.label}: options.{name}: no such option of source {config.source!r}"
                f"; valid: {', '.join(known)}{nearest(name, known)}"
            )
    return {name: value for name, value in config.options.items() if name not in SHARED_OPTIONS}


@dataclass
class _Counts:
    rows: int = 0
    dropped: Counter = dataclasses.field(default_factory=Counter)
    left_out: Counter = dataclasses.field(default_factory=Counter)
    unread: Counter = dataclasses.field(default_factory=Counter)
    changed: Counter = dataclasses.field(default_factory=Counter)
    first_bad_rows: list[dict[str, str]] = dataclasses.field(default_factory=list)
    reported: int = 0

    def to_json(self) -> dict[str, Any]:
        kept = self.rows - self.dropped.total() - self.left_out.total()
        return {"rows": self.rows, "kept": kept} | {
            "dropped": dict(self.dropped),
            "left_out": dict(self.left_out),
            "unread": dict(self.unread),
            "changed": dict(self.changed),
            "first_bad_rows": self.first_bad_rows,
        }


class DropLog:
    """Counts, by dataset, of rows that were read, dropped as bad or left out on purpose.

    The first bad rows of a dataset are kept, with file and row number, and logged by `report`. A quiet one, for data
    that is read a second time, logs nothing.
    """

    def __init__(self, quiet: bool = False):
        self._datasets: dict[str, _Counts] = {}
        self._quiet = quiet

    def _counts(self, dataset: str) -> _Counts:
        return self._datasets.setdefault(dataset, _Counts())

    def read(self, dataset: str) -> None:
        """Counts a row that was read."""
        self._counts(dataset).rows += 1

    def raise_to(self, dataset: str, kept: int) -> None:
        """Counts further rows until `kept` are counted: several examples may come from one row."""
        missing = kept - self._counts(dataset).to_json()["kept"]
        self._counts(dataset).rows += max(0, missing)

    def drop(self, dataset: str, where: str, reason: str, detail: str) -> None:
        """Counts a bad row; `where` is its file and row number."""
        counts = self._counts(dataset)
        counts.dropped[reason] += 1
        if len(counts.first_bad_rows) < _SHOWN:
            counts.first_bad_rows.append({"where": where, "reason": reason, "detail": detail})

    def unread(self, dataset: str, fields: Iterable[str]) -> None:
        """Counts the fields of a kept row that have a content and are not used."""
        self._counts(dataset).unread.update(fields)

    def change(self, dataset: str, how: str) -> None:
        """Counts a kept row that is used differently from how it is in the data."""
        self._counts(dataset).changed[how] += 1

    def report_unread(self, dataset: str) -> None:
        """Logs the fields that are not used, each one once."""
        unread = {} if self._quiet else self._counts(dataset).unread
        for name, rows in unread.items():
            _LOG.warning("%s: the field %s is not used (%d rows have one)", dataset, name, rows)

    def report(self, dataset: str) -> None:
        """Logs the bad rows found since the last report; those with one reason and detail together, as the first."""
        counts = self._counts(dataset)
        new = [] if self._quiet else counts.first_bad_rows[counts.reported :]
        alike: dict[tuple[str, str], list[str]] = {}
        for row in new:
            alike.setdefault((row["reason"], row["detail"]), []).append(row["where"])
        for (reason, detail), where in alike.items():
            more = f" (also {len(where) - 1} other rows, to {where[-1]})" if where[1:] else ""
            _LOG.warning("%s: row dropped, %s: %s%s", where[0], reason, detail, more)
        counts.reported = len(counts.first_bad_rows)

    def summary(self, dataset: str) -> str:
        """Returns one line: rows, kept, the others by reason, and the first bad row."""
        counts = self._counts(dataset).to_json()
        lost = {**counts["dropped"], **counts["left_out"]}
        reasons = "".join(f", {reason} {count}" for reason, count in lost.items())
        reasons += "".join(f", {count} {how}" for how, count in counts["changed"].items())
        first = "".join(
            "; first: {where}: {detail}".format(**row) for row in counts["first_bad_rows"][:1]
        )
        return f"{counts['rows']} rows, {counts['kept']} kept{reasons}{first}"

    def leave_out(self, dataset: str, reason: str, count: int = 1) -> None:
        """Counts good rows that the recipe does not want (limit, split, duplicates, a filter)."""
        if count:
            self._counts(dataset).left_out[reason] += count

    def to_json(self) -> dict[str, Any]:
        """Returns by dataset: `rows`, `kept`, `dropped` and `left_out` by reason, `unread` fields, kept rows that are
        `changed` by kind of change, `first_bad_rows`.
        """
        return {dataset: counts.to_json() for dataset, counts in self._datasets.items()}

    def write(self, path: epath.PathLike) -> None:
        """Writes `to_json()` to a file, completely or not at all."""
        write_json(path, self.to_json())
