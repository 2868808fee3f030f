"""Sample files: a model's replies. There is one for each benchmark, prompt and decoding; docs/evaluation_files.md.

A sample file depends on the model, its prompts, the decoding and the seed, as the head beside it records. Its grades
are in another file (`grade_files`), so a better grader never costs a new sample. Sample and grade files both have one
line for each sample of each question, ordered by question. questions/<benchmark>.json holds raw questions joined with
gold answers, as the paper's script joins them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import glob_in, read_object, write_json
from jaxreason.results.jsonl import grown_exists, read_jsonl

TEXT, MAYBE_TEXT, TOKENS = "a text", "a text or null", "a list of token ids"
NUMBER, MAYBE_NUMBER = "a whole number from 0", "a whole number from 0, or null"
SCORES = "an object of numbers"
HEAD = ("benchmark", "num_samples", "num_questions")  # The part of head.json that reading needs.
REMOVE = "Remove the line and evaluate again: what is missing is made again."
TOLD = "told"  # Information in a head on which no sample depends.
# The type of each field of a line.
SAMPLE_FIELDS = {
    **dict.fromkeys(("id", "benchmark", "subset", "cluster", "prompt", "completion"), TEXT),
    **dict.fromkeys(("prompt_tokens", "tokens"), TOKENS),
    "finish_reason": TEXT,
    "sample": NUMBER,
    "num_tokens": MAYBE_NUMBER,  # Null: the completion came from elsewhere, as text.
}
QUESTIONS_SHAPE = {"benchmark": str, "group": str, "columns": list, "num_rows": int, "texts": list}


class SampleKey(NamedTuple):
    """The identity of a sample file: the benchmark, the prompt, and the decoding."""

    benchmark: str
    prompt: str
    decoding: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return ".".join(self)


def check_lines(
    lines: list[dict],
    source: str,
    fields: Mapping[str, str],
    benchmark: str,
    num_samples: int,
    questions: Sequence[str] | None,
) -> None:
    """Refuses a line that is not of this benchmark, or a second one of the same sample.

    Args:
      lines: of the file, in order.
      source: the file, for messages.
      fields: of every line, with their types.
      benchmark: its name in the lines.
      num_samples: of each question.
      questions: ids of all questions; None if they are not known.

    Raises:
      UserError: the message has file, line, field, and what to do.
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
    """Refuses a line that lacks a field or has a value of a wrong type; `where` names the line in messages."""
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
    """Returns the lines of a file that must be complete and in order; `source` names it in messages.

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


def samples_path(folder: epath.Path, key: SampleKey) -> epath.Path:
    """Returns the file with one line for each sample, in the evaluation `folder`."""
    return folder / "samples" / f"{key.name}.jsonl"


def sample_head_path(folder: epath.Path, key: SampleKey) -> epath.Path:
    """Returns the file that says how the sample file beside it was made."""
    return folder / "samples" / f"{key.name}.head.json"


class Marks(NamedTuple):
    """The ids that the model's tokenizer puts before any text (often none), and the ids that end a reply."""

    begin: tuple[int, ...]
    stop: tuple[int, ...]


def read_marks(folder: epath.Path, key: SampleKey) -> Marks:
    """Returns the marks in a sample file's head; none if it has none, as for completions from elsewhere.

    Raises:
      UserError: the head is broken.
    """
    head = read_object(sample_head_path(folder, key), {})
    told = head.get(TOLD)
    begin = told.get("begin", ()) if isinstance(told, dict) else ()
    return Marks(tuple(begin), tuple(head.get("stop_ids", ())))


def sample_keys(folder: epath.Path) -> list[SampleKey]:
    """Returns the keys of all sample files that were begun in the evaluation `folder`, ordered by name.

    Raises:
      UserError: a head is broken.
    """
    heads = glob_in(folder / "samples", "*.head.json")
    named = dict.fromkeys(SampleKey._fields, str)
    keys = [SampleKey(*(read_object(h, named)[n] for n in named)) for h in heads]
    return [key for key in keys if grown_exists(samples_path(folder, key))]


def read_samples(folder: epath.Path, key: SampleKey) -> list[dict]:
    """Returns the lines of a finished sample file.

    Raises:
      UserError: the file or its head is missing, a line is not a sample of this benchmark, or a sample is missing,
        doubled or out of order; the message has file and line.
    """
    path, head = (f(folder, key) for f in (samples_path, sample_head_path))
    for file in (path, head):
        if not grown_exists(file):
            raise UserError(f"{file}: not found, though scores.json lists its scores.")
    return finished_samples(read_jsonl(path), read_object(head, {}), str(path))


def finished_samples(lines: list[dict], head: dict[str, Any], source: str) -> list[dict]:
    """Does what `read_samples` does, for lines and head already read; `source` names the file in messages."""
    check_finished(lines, head, SAMPLE_FIELDS, source)
    _check_likelihoods(lines, source)
    return lines


def check_samples(
    lines: list[dict],
    source: str,
    benchmark: str,
    num_samples: int,
    questions: Sequence[str] | None,
) -> None:
    """Checks samples with `check_lines`."""
    check_lines(lines, source, SAMPLE_FIELDS, benchmark, num_samples, questions)
    _check_likelihoods(lines, source)


def _check_likelihoods(lines: list[dict], source: str) -> None:
    for number, line in enumerate(lines, start=1):
        _check_likelihood(line, f"{source}, line {number}")


def _check_likelihood(line: dict, where: str) -> None:
    found = line.get("choice_logprobs", [])
    if not (isinstance(found, list) and set(map(type, found)) <= {int, float}):
        raise UserError(
            f"{where}, choice_logprobs: expected a list of numbers, got {found!r:.80}. {REMOVE}"
        )


def without_texts(line: dict, where: str) -> dict:
    """Returns a sample as it is kept if many are in memory: without texts and tokens, but with their `digest`.

    Raises:
      UserError: the line is not a sample; `where` names it.
    """
    check_fields(line, SAMPLE_FIELDS, where)
    _check_likelihood(line, where)
    empty = {"prompt": "", "completion": "", "prompt_tokens": [], "tokens": []}
    kept = {name: value for name, value in line.items() if name in SAMPLE_FIELDS}
    return kept | empty | {"digest": sample_digest(line)}


def is_failed(line: Mapping[str, Any]) -> bool:
    """Returns whether a sample was not made: its finish reason is "error: ..."."""
    return str(line.get("finish_reason")).startswith("error")


def sample_digest(line: dict) -> str:
    """Returns a hash of what a grader sees of a sample; it shows if a grade is of a different text."""
    seen = [line["completion"], line["finish_reason"], line.get("choice_logprobs")]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def questions_folder(evaluation: epath.PathLike) -> epath.Path:
    """Returns the folder of the questions of an `evaluation` folder."""
    return epath.Path(evaluation) / "questions"


def question_path(evaluation: epath.PathLike, benchmark: str) -> epath.Path:
    """Returns the file of one benchmark."""
    return questions_folder(evaluation) / f"{benchmark}.json"


def write_questions(evaluation: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes the questions of one benchmark, completely or not at all; docs/evaluation_files.md describes them."""
    write_json(question_path(evaluation, value["benchmark"]), value)


def read_questions(evaluation: epath.PathLike) -> list[dict[str, Any]]:
    """Returns the questions of every benchmark that has them, by name.

    Raises:
      UserError: a file is broken.
    """
    return [
        read_object(path, QUESTIONS_SHAPE)
        for path in glob_in(questions_folder(evaluation), "*.json")
    ]
