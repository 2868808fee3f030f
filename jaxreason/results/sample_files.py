"""Sample files: what a model said. One for each benchmark, prompt and decoding; docs/evaluation_files.md.

A sample file depends on the model, its prompts, the decoding and the seed, as the head beside it records. What a
grader thinks of it is elsewhere (`grade_files`), so that a better grader never costs a sample.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.evaluation_lines import (
    MAYBE_NUMBER,
    NUMBER,
    REMOVE,
    TEXT,
    TOKENS,
    SampleKey,
    check_fields,
    check_finished,
    check_lines,
)
from jaxreason.results.files import read_object
from jaxreason.results.growing_files import grown_exists
from jaxreason.results.jsonl import read_jsonl

TOLD = "told"  # of a head: what no sample depends on
# What each field of a line is.
FIELDS = {
    **dict.fromkeys(("id", "benchmark", "subset", "cluster", "prompt", "completion"), TEXT),
    **dict.fromkeys(("prompt_tokens", "tokens"), TOKENS),
    "finish_reason": TEXT,
    "sample": NUMBER,
    "num_tokens": MAYBE_NUMBER,  # null: the completion came from elsewhere, as text
}


def samples_path(folder: epath.Path, key: SampleKey) -> epath.Path:
    """The file with one line for each sample, in the evaluation `folder`."""
    return folder / "samples" / f"{key.name}.jsonl"


def sample_head_path(folder: epath.Path, key: SampleKey) -> epath.Path:
    """What the sample file beside it was made with."""
    return folder / "samples" / f"{key.name}.head.json"


class Marks(NamedTuple):
    """What the model's tokenizer puts before any text, mostly nothing, and the ids that end a reply."""

    begin: tuple[int, ...]
    stop: tuple[int, ...]


def read_marks(folder: epath.Path, key: SampleKey) -> Marks:
    """The marks that a sample file's head tells of; none where it does not, as of completions that came from elsewhere.

    Raises:
      UserError: the head is broken.
    """
    head = read_object(sample_head_path(folder, key), {})
    told = head.get(TOLD)
    begin = told.get("begin", ()) if isinstance(told, dict) else ()
    return Marks(tuple(begin), tuple(head.get("stop_ids", ())))


def sample_keys(folder: epath.Path) -> list[SampleKey]:
    """Of every sample file that was begun in the evaluation `folder`, in the order of their names.

    Raises:
      UserError: a head is broken.
    """
    heads = sorted((folder / "samples").glob("*.head.json"))
    named = dict.fromkeys(SampleKey._fields, str)
    keys = [SampleKey(*(read_object(h, named)[n] for n in named)) for h in heads]
    return [key for key in keys if grown_exists(samples_path(folder, key))]


def read_samples(folder: epath.Path, key: SampleKey) -> list[dict]:
    """The lines of a finished sample file.

    Raises:
      UserError: the file or its head is missing, a line is not a sample of this benchmark, or a
        sample is missing, doubled or out of order; names file and line.
    """
    path, head = (f(folder, key) for f in (samples_path, sample_head_path))
    for file in (path, head):
        if not grown_exists(file):
            raise UserError(f"{file}: not found, though scores.json lists its scores.")
    return finished_samples(read_jsonl(path), read_object(head, {}), str(path))


def finished_samples(lines: list[dict], head: dict[str, Any], source: str) -> list[dict]:
    """`read_samples` of lines and head already read; `source` names the file in messages."""
    check_finished(lines, head, FIELDS, source)
    _check_likelihoods(lines, source)
    return lines


def check_samples(
    lines: list[dict],
    source: str,
    benchmark: str,
    num_samples: int,
    questions: Sequence[str] | None,
) -> None:
    """`evaluation_lines.check_lines` of samples."""
    check_lines(lines, source, FIELDS, benchmark, num_samples, questions)
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
    """A sample as it is kept where many are held at once: no texts and tokens, but the `digest` of what was there.

    Raises:
      UserError: the line is no sample; `where` names it.
    """
    check_fields(line, FIELDS, where)
    _check_likelihood(line, where)
    empty = {"prompt": "", "completion": "", "prompt_tokens": [], "tokens": []}
    kept = {name: value for name, value in line.items() if name in FIELDS}
    return kept | empty | {"digest": sample_digest(line)}


def sample_digest(line: dict) -> str:
    """A hash of what a grader sees of a sample: a grade of another text is told apart by it."""
    seen = [line["completion"], line["finish_reason"], line.get("choice_logprobs")]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
