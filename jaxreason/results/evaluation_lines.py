"""What a line of a sample file or of a grade file is, and when such a file is whole.

Both have one line for each sample of each question, those of a question together and in order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.errors import UserError

TEXT, MAYBE_TEXT, TOKENS = "a text", "a text or null", "a list of token ids"
NUMBER, MAYBE_NUMBER = "a whole number from 0", "a whole number from 0, or null"
SCORES = "an object of numbers"
HEAD = ("benchmark", "num_samples", "num_questions")  # what reading needs of head.json
REMOVE = "Remove the line and evaluate again: what is missing is made again."


class SampleKey(NamedTuple):
    """What a sample file is of: a benchmark, how it was asked, and how replies were chosen."""

    benchmark: str
    prompt: str
    decoding: str

    @property
    def name(self) -> str:
        """The file's name without its end."""
        return ".".join(self)


def check_lines(
    lines: list[dict],
    source: str,
    fields: Mapping[str, str],
    benchmark: str,
    num_samples: int,
    questions: Sequence[str] | None,
) -> None:
    """Refuses a line that is none of this benchmark's, or is one that is there already.

    Args:
      lines: of the file, the first one first.
      source: the file, for messages.
      fields: of every line, with what each is.
      benchmark: its name in the lines.
      num_samples: of each question.
      questions: ids of all questions; None where they are not known.

    Raises:
      UserError: names file, line, field, and what to do.
    """
    known = None if questions is None else set(questions)
    seen: dict[tuple[str, int], int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{source}, line {number}"
        check_fields(line, fields, where)
        if line["benchmark"] != benchmark:
            raise UserError(
                f"{where}: expected a sample of {benchmark!r}, got {line['benchmark']!r}. {REMOVE}"
            )
        if known is not None and line["id"] not in known:
            raise UserError(f"{where}: {benchmark} has no question {line['id']!r:.200}. {REMOVE}")
        if line["sample"] >= num_samples:
            raise UserError(
                f"{where}: expected a sample of 0 to {num_samples - 1}, got {line['sample']}. {REMOVE}"
            )
        earlier = seen.setdefault((line["id"], line["sample"]), number)
        if earlier != number:
            raise UserError(
                f"{where}: sample {line['sample']} of {line['id']!r:.200} is in line {earlier} "
                "already. Remove one of the two lines."
            )


def check_fields(line: Any, fields: Mapping[str, str], where: str) -> None:
    """Refuses a line without one of the fields, or with another value than it takes; `where` names it in messages."""
    if not isinstance(line, dict):
        raise UserError(f"{where}: expected an object, got {line!r:.80}. {REMOVE}")
    for name, what in fields.items():
        if name not in line:
            raise UserError(f"{where}: no field {name!r}. {REMOVE}")
        if not _is(line[name], what):
            raise UserError(f"{where}, {name}: expected {what}, got {line[name]!r:.80}. {REMOVE}")


def _is(value: Any, what: str) -> bool:
    if what in (TEXT, MAYBE_TEXT):
        return isinstance(value, str) or (value is None and what == MAYBE_TEXT)
    if what == TOKENS:
        return isinstance(value, list) and set(map(type, value)) <= {int}
    if what in (NUMBER, MAYBE_NUMBER):
        return (type(value) is int and value >= 0) or (value is None and what == MAYBE_NUMBER)
    if not isinstance(value, dict) or not {type(score) for score in value.values()} <= {int, float}:
        return False
    return bool(np.isfinite(list(value.values())).all())


def check_finished(
    lines: list[dict], head: Mapping[str, Any], fields: Mapping[str, str], source: str
) -> list[dict]:
    """The lines of a file that must be whole and in order; `source` names it in messages.

    Raises:
      UserError: as `check_lines`, or a line is missing or out of order.
    """
    missing = [name for name in HEAD if name not in head]
    if missing:
        raise UserError(f"{source}: its head.json has no {', '.join(missing)}. Evaluate again.")
    each, number = head["num_samples"], head["num_questions"]
    check_lines(lines, source, fields, head["benchmark"], each, None)
    if len(lines) != each * number:
        raise UserError(
            f"{source}: has {len(lines)} samples, expected {each * number} ({each} for each of "
            f"{number} questions). Evaluate again: what is missing is made again."
        )
    for place, line in enumerate(lines):
        first = lines[place - place % each]
        if line["sample"] != place % each or line["id"] != first["id"]:
            raise UserError(
                f"{source}, line {place + 1}: expected sample {place % each} of {first['id']!r}, "
                f"got sample {line['sample']} of {line['id']!r}. Evaluate again: it sorts the lines."
            )
    return lines
