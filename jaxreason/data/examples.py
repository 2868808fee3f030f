"""Example, the unit of every dataset: loading, and choosing among rows."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from etils import epath

from jaxreason.data.column_mapping import ColumnCheck, build, check_columns, first_user
from jaxreason.data.conversions import check_conversion, read_rows
from jaxreason.data.rows import DatasetConfig, DropLog, RowError
from jaxreason.errors import UserError
from jaxreason.results.training_files import removed_questions


@dataclass(frozen=True)
class Example:
    """A question with the known facts about its answer.

    Attributes:
      id: unique within its dataset.
      task: key of `tasks.registry.TASKS`.
      messages: `{"role", "content"}`, an assistant's optionally with `"reasoning_content"`.
      answer: the reference answer as text; "" if the task needs none.
      source: label of the dataset.
      metadata: chosen columns, and from loaded rows `question` (the prompt before its template) and `where` (file and
        row number).
    """

    id: str
    task: str
    messages: tuple[dict[str, str], ...]
    answer: str
    source: str
    metadata: dict[str, Any]


def question(example: Example) -> str:
    """Returns the question without the prompt template: the text that splits and comparisons use."""
    return example.metadata.get("question") or first_user(example.messages)


def question_hash(text: str) -> str:
    """Returns the identifier of a question in files about questions: 16 hex digits of its UTF-8 bytes' SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prompt_messages(example: Example) -> tuple[dict[str, str], ...]:
    """Returns the messages before the last reply, which a model is asked to continue."""
    messages = example.messages
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def prompt_text(example: Example) -> str:
    """Returns the text of `prompt_messages`, for files that people read."""
    return "\n\n".join(message["content"] for message in prompt_messages(example))


def each_reply(example: Example) -> list[Example]:
    """Returns one example for each assistant message, ending with it: this is how a whole conversation is trained.

    A chat template may render earlier replies differently from the last one (Qwen3 leaves out their thinking), so each
    reply is learned at the end of its own history. A conversation without a reply stays, and is dropped as a bad row.
    """
    turns = [i for i, message in enumerate(example.messages) if message["role"] == "assistant"]
    if not turns:
        return [example]
    return [
        replace(example, id=f"{example.id}#{n}", messages=example.messages[: turn + 1])
        for n, turn in enumerate(turns)
    ]


def load_examples(config: DatasetConfig, drops: DropLog) -> list[Example]:
    """Returns the examples of one dataset, in the order of the source.

    Bad rows are dropped and counted in `drops`. Then these apply, in order: `options.distinct`, `options.part`,
    `options.without`, `limit`.

    Raises:
      ValueError: the source cannot be read, no row of a file has a column, two rows have the same id, or nothing is
        left.
    """
    _check_source(config)
    parts = list(_good_rows(config, drops))
    _check_ids(parts)
    parts = _distinct(config, parts, drops)
    parts = _part(config, parts, drops)
    parts = _without(config, parts, drops)
    parts = _limit(config, parts, drops)
    if not parts:
        raise UserError(f"{config.label}: no example left: {drops.summary(config.label)}.")
    return [_example(config, part) for part in parts]


def _check_source(config: DatasetConfig) -> None:
    check_conversion(config)
    check_columns(config)


def check_opens(config: DatasetConfig) -> None:
    """Reads the first row of a dataset and nothing more.

    Raises:
      UserError: the source cannot be read, or has no row.
    """
    _check_source(config)
    if next(iter(read_rows(config)), None) is None:
        raise UserError(f"{config.label}: there is no row.")


def _example(config: DatasetConfig, part: dict[str, Any]) -> Example:
    known = {name: part[name] for name in ("id", "messages", "answer", "metadata")}
    return Example(task=config.task, source=config.label, **known)


def _good_rows(config: DatasetConfig, drops: DropLog) -> Iterator[dict[str, Any]]:
    columns = ColumnCheck(config)
    for row in read_rows(config):
        drops.read(config.label)
        if row.problem is None:
            columns.see(row)
        try:
            part = build(config, row)
        except RowError as error:
            drops.drop(config.label, row.where, error.reason, error.detail)
            continue
        drops.unread(config.label, part["unread"])
        yield part
    columns.finish()
    drops.report(config.label)
    drops.report_unread(config.label)


def _check_ids(parts: list[dict[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        where = part["metadata"]["where"]
        if part["id"] in seen:
            raise UserError(
                f"{where}: id {part['id']!r} was used before, in {seen[part['id']]}; ids must be "
                "unique. Without fields.id the file and the row's number are used."
            )
        seen[part["id"]] = where


def _distinct(config: DatasetConfig, parts: list[dict], drops: DropLog) -> list[dict]:
    if not config.options.get("distinct"):
        return parts
    first = {part["metadata"]["question"]: part for part in reversed(parts)}
    kept = [part for part in parts if first[part["metadata"]["question"]] is part]
    drops.leave_out(config.label, "duplicate question", len(parts) - len(kept))
    return kept


def _part(config: DatasetConfig, parts: list[dict], drops: DropLog) -> list[dict]:
    if "part" not in config.options:
        return parts
    wanted, one_in = config.options["part"] == "test", int(config.options["test_one_in"])
    kept = [p for p in parts if is_test_question(p["metadata"]["question"], one_in) == wanted]
    drops.leave_out(config.label, "other part", len(parts) - len(kept))
    return kept


def _without(config: DatasetConfig, parts: list[dict], drops: DropLog) -> list[dict]:
    if "without" not in config.options:
        return parts
    removed = removed_questions(epath.Path(str(config.options["without"])))
    kept = [p for p in parts if question_hash(p["metadata"]["question"]) not in removed]
    drops.leave_out(config.label, "question of a benchmark", len(parts) - len(kept))
    return kept


def _limit(config: DatasetConfig, parts: list[dict], drops: DropLog) -> list[dict]:
    groups = list(dict.fromkeys(part["group"] for part in parts))
    if not 0 < config.limit < len(groups):
        return parts
    order = np.random.default_rng(config.seed).permutation(len(groups))
    chosen = {groups[index] for index in order[: config.limit]}
    kept = [part for part in parts if part["group"] in chosen]
    drops.leave_out(config.label, "limit", len(parts) - len(kept))
    return kept


def is_test_question(text: str, one_in: int) -> bool:
    """Returns whether a question is held out: crc32 of its UTF-8 bytes is 0 modulo `one_in`."""
    return zlib.crc32(text.encode("utf-8")) % one_in == 0
