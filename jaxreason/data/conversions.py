"""CONVERSIONS: from the rows of a source to flat rows, by the name in `DatasetConfig.options["rows"]`.

Formats that nest their data, or have it in other columns, are made flat here, so that `fields`, `prompt_template` and
`metadata` work on them, from a file or from the hub. The keyword arguments of a conversion are its options.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jaxreason.config import nearest
from jaxreason.data.choice_rows import acpbench, gpqa, headqa, mmlu
from jaxreason.data.code_problems import humaneval, livecodebench, mbpp
from jaxreason.data.flat_rows import Columns, each, text_of
from jaxreason.data.reading_rows import coqa, halueval, mc_taco
from jaxreason.data.rows import CONVERSION_OPTIONS, DatasetConfig, RowError, SourceRow, is_missing
from jaxreason.data.sources import SOURCES
from jaxreason.errors import UserError

# The last paragraph of a prompt if it only says how to answer; it is not part of the question.
_ASKS_FOR_BOX = re.compile(r"\s*\n\s*[^\n]*\\boxed\{[^\n]*\s*\Z")
_TURN = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)


def alpaca(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Yields the rows with a column `prompt`: `instruction` and, below an empty line, `input`, where there is one.

    The other columns stay. Earlier turns (`history`) make a bad row, because a reply may need them.
    """
    return each(rows, _asked)


def _asked(columns: Columns) -> Columns:
    if columns.get("history"):
        raise RowError("not supported", "'history': earlier turns are not read; use `messages`")
    parts = [text_of(columns, "instruction")]
    more = columns.get("input")
    if not (is_missing(more) or (isinstance(more, str) and not more.strip())):
        parts.append(text_of(columns, "input"))
    return {**columns, "prompt": "\n\n".join(part.strip() for part in parts)}


def verl(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    r"""Yields questions with their gold answer, one row per question.

    Columns: `question` (that of the row or of its `extra_info`; else the prompt without chat marks and without a last
    paragraph that asks for a \boxed{} answer), `answer` (`reward_model.ground_truth`, or `gt_answer`), `level` (None if
    the row has none) and `data_source`.
    """
    return each(rows, _flatten)


def _flatten(columns: Columns) -> Columns:
    more, reward = _object(columns, "extra_info"), _object(columns, "reward_model")
    gold = reward.get("ground_truth")
    gold = columns.get("gt_answer") if gold in (None, "") else gold  # 0 is an answer.
    return {
        "question": columns.get("question") or more.get("question") or _prompt(columns),
        "answer": text_of({"gold answer": gold}, "gold answer"),
        "level": columns.get("level"),
        "data_source": columns.get("data_source") or "",
    }


def _object(columns: Columns, name: str) -> dict[str, Any]:
    value = columns.get(name) or {}
    if not isinstance(value, dict):
        raise RowError("wrong type", f"{name!r}: expected an object, got {type(value).__name__}")
    return value


def _prompt(columns: Columns) -> str:
    messages = columns.get("prompt")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise RowError("missing field", "neither 'question' nor a 'prompt' of messages is there")
    asked = [str(m.get("content") or "") for m in messages if m.get("role") == "user"]
    if not asked:
        raise RowError("missing field", "'prompt' has no message of the user")
    turn = _TURN.search(asked[-1])
    return _ASKS_FOR_BOX.sub("", turn[1] if turn else asked[-1]).strip()


CONVERSIONS: dict[str, Callable[..., Iterator[SourceRow]]] = {
    "acpbench": acpbench,
    "alpaca": alpaca,
    "coqa": coqa,
    "gpqa": gpqa,
    "halueval": halueval,
    "headqa": headqa,
    "humaneval": humaneval,
    "livecodebench": livecodebench,
    "mbpp": mbpp,
    "mc_taco": mc_taco,
    "mmlu": mmlu,
    "verl": verl,
}


def check_conversion(config: DatasetConfig) -> None:
    """Refuses a source or a conversion that does not exist, or an option that the conversion does not read.

    Raises:
      UserError: the message names the field or the option.
    """
    if config.source not in SOURCES:
        hint = nearest(config.source, SOURCES)
        raise UserError(f"source {config.source!r}: expected {', '.join(SOURCES)}{hint}")
    given = [name for name in CONVERSION_OPTIONS if name in config.options]
    name = config.options.get("rows")
    if name is None:
        if given:
            raise UserError(f"{config.label}: options.{given[0]} needs options.rows.")
        return
    if name not in CONVERSIONS:
        raise UserError(
            f"{config.label}: options.rows: no such conversion {name!r}; valid: "
            f"{', '.join(CONVERSIONS)}{nearest(str(name), CONVERSIONS)}"
        )
    for option in given:
        if option not in inspect.signature(CONVERSIONS[name]).parameters:
            raise UserError(f"{config.label}: options.{option}: rows={name!r} does not read it.")


def read_rows(config: DatasetConfig) -> Iterator[SourceRow]:
    """Yields the rows of a dataset, made flat if `options.rows` names a conversion.

    A converted row with the id of an earlier one is a bad row.

    Raises:
      UserError: the source cannot be read, or an option has a wrong value.
    """
    rows = _checked(config)
    if "rows" not in config.options:
        return rows
    options = {key: value for key, value in config.options.items() if key in CONVERSION_OPTIONS}
    return _without_repeats(CONVERSIONS[config.options["rows"]](rows, **options))


def _checked(config: DatasetConfig) -> Iterator[SourceRow]:
    """Yields the rows of a source, which a recipe may have added."""
    made = SOURCES[config.source](config)
    expected = (
        f"{config.label}: source {config.source!r}: expected SourceRows with a dict of columns, got"
    )
    if not isinstance(made, Iterable):
        raise UserError(f"{expected} {made!r:.80}. See docs/adding_data.md.")
    for row in made:
        if not isinstance(row, SourceRow) or not isinstance(row.columns, dict):
            raise UserError(f"{expected} {row!r:.80}. See docs/adding_data.md.")
        yield row


def _without_repeats(rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    first: dict[str, str] = {}
    for row in rows:
        id = row.columns.get("id")
        if id is not None and first.setdefault(id, row.where) != row.where:
            detail = f"id {str(id)[:60]!r} was used before, in {first[id]}"
            row = SourceRow(row.file, row.number, {}, RowError("duplicate", detail))
        yield row
