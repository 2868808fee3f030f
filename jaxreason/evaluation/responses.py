"""`jaxreason grade --responses`: grades completions from anywhere, as a jsonl file with a map of its fields.

They become an evaluation like any other: sample files (with text only, without tokens), grade files and scores.json.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from jaxreason.config import nearest
from jaxreason.data.examples import prompt_text
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import FORMAT, TOLD, EvalJob, asked_jobs, gold_identity
from jaxreason.evaluation.eval_settings import BenchmarkRun, EvalConfig, known_benchmarks
from jaxreason.evaluation.evaluator import check_isolation, grade_parts
from jaxreason.evaluation.regrade import graders
from jaxreason.evaluation.response_matching import match
from jaxreason.results.atomic_files import write_json
from jaxreason.results.jsonl import write_jsonl
from jaxreason.results.sample_files import is_failed, sample_head_path, samples_path
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tasks.reply_text import cut_at

_LOG = logging.getLogger(__name__)
GIVEN = "given"  # The decoding in the names of the files: it is not known.
AS_MODEL = SamplingParams(
    temperature=0.0, top_k=0, top_p=1.0, max_tokens=1, stop=()
)  # Not used here.
# Our names -> the columns that are used for them if the map does not have them.
USUAL = {
    "response": ("response", "output", "completion", "reply", "text"),
    "id": ("id", "question_id", "unique_id"),
    "prompt": ("prompt", "input", "question"),
}
SHOWN = 3


@dataclass(frozen=True)
class Response:
    """A completion: its line, what identifies its question, and its text or why there is none."""

    line: int
    id: str | None
    prompt: str | None
    text: str
    problem: str | None


def run_responses(
    config: EvalConfig,
    file: epath.PathLike,
    benchmark: str,
    variants: tuple[str, ...],
    fields: Mapping[str, str],
    folder: epath.Path,
) -> None:
    """Grades the completions of a file and writes an evaluation into `folder`.

    A completion belongs to the question with its id; without ids, to the question whose text its prompt contains; with
    neither, to the question at its place. Several completions of one question are its samples. Lines that cannot be
    used, and questions without a completion, are counted and reported; the latter become samples with an error.

    Args:
      config: the source of the benchmark's questions, and the graders' limits.
      file: jsonl, one completion per line.
      benchmark: a benchmark's name.
      variants: of the benchmark; () for all that have the same gold answers.
      fields: "response", "id", "prompt" -> the file's columns; missing ones are found by their usual names.
      folder: of the evaluation.

    Raises:
      UserError: the file, the benchmark or the map does not fit, or no completion belongs to any question.
    """
    jobs = _parts(config, benchmark, variants)
    check_isolation(config, jobs)
    data = _read(file)
    responses = _responses(_rows(data), str(file), fields)
    told = {"model": str(file), "asked": {}}
    made = []
    for job in jobs:
        lines, num_samples = sample_lines(job, responses, str(file))
        head = job.key._asdict() | {"format": FORMAT, "num_questions": len(job.items)}
        head |= {"num_samples": num_samples, "responses": hashlib.sha256(data).hexdigest()}
        head |= {"stop": list(job.decoding.stop), TOLD: told}
        write_json(sample_head_path(folder, job.key), head)
        write_jsonl(samples_path(folder, job.key), lines)
        made.append(replace(job, num_samples=num_samples, head=head))
    with graders(config) as (pool, check):
        grade_parts(config, folder, made, pool, check, again=True)


def _read(file: epath.PathLike) -> bytes:
    path = epath.Path(file)
    if not path.exists():
        raise UserError(f"{file}: no such file; expected completions, a JSON object a line.")
    return path.read_bytes()


def _rows(data: bytes) -> dict[int, dict]:
    """Returns the object of each line by its number; lines of white space are left out.

    A line without an object becomes an empty one. Bytes that are not UTF-8 are replaced, and a byte order mark at the
    start is not part of the first line.
    """
    lines = data.decode("utf-8-sig", errors="replace").split("\n")
    return {number: _row(line) for number, line in enumerate(lines, start=1) if line.strip()}


def _row(line: str) -> dict:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _parts(config: EvalConfig, name: str, variants: tuple[str, ...]) -> list[EvalJob]:
    """Returns the jobs of the benchmark, with a decoding named GIVEN in place of the recipe's."""
    known = known_benchmarks(config)
    if name not in known:
        raise UserError(f"--benchmark={name}: no such benchmark{nearest(name, known)}")
    chosen = variants or tuple(known[name].variants)
    run = BenchmarkRun(0, {GIVEN: 1}, chosen)
    jobs = asked_jobs(replace(config, benchmarks={name: run}, decodings={GIVEN: AS_MODEL}))
    if any(job.kind == "choose" for job in jobs):
        raise UserError(
            f"--benchmark={name}: its {', '.join(chosen)} variant compares likelihoods of given answers, which a "
            "completion does not tell."
        )
    if not variants and len({gold_identity_of(job.items) for job in jobs}) > 1:
        raise UserError(
            f"--benchmark={name}: the gold answers depend on how it was asked (the order of the options). Say which "
            f"with --variant: {', '.join(known[name].variants)}."
        )
    return jobs


def gold_identity_of(items: list[EvalItem]) -> str:
    """Returns the `gold_identity` of the answers alone."""
    bare = [replace(item, example=replace(item.example, metadata={})) for item in items]
    return gold_identity(bare)


def _responses(found: dict[int, dict], file: str, fields: Mapping[str, str]) -> list[Response]:
    """Returns the completions of the rows, which are identified by the numbers of their lines.

    Raises:
      UserError: there is no row, or none has a column that is needed.
    """
    rows = list(found.values())
    if not any(rows):
        raise UserError(f"{file}: expected completions, a JSON object a line; it has none.")
    columns = {name: _column(rows, file, name, fields) for name in USUAL}
    if columns["response"] is None:
        raise UserError(
            f"{file}: no column with completions (looked for {', '.join(USUAL['response'])}); it has "
            f"{', '.join(next(filter(None, rows)))}. Name it: --fields response=COLUMN."
        )
    return [_response(number, row, columns) for number, row in found.items()]


def _column(rows: list[dict], file: str, name: str, fields: Mapping[str, str]) -> str | None:
    for given in fields:
        if given not in USUAL:
            raise UserError(
                f"--fields {given}=...: no such field; valid: {', '.join(USUAL)}{nearest(given, USUAL)}"
            )
    if name in fields:
        if not any(fields[name] in row for row in rows):
            raise UserError(
                f"{file}: no line has the column {fields[name]!r}"
                f"{nearest(fields[name], next(filter(None, rows)))}"
            )
        return fields[name]
    return next((c for c in USUAL[name] if any(c in row for row in rows)), None)


def _response(number: int, row: dict, columns: Mapping[str, str | None]) -> Response:
    value = row.get(columns["response"])
    name = row.get(columns["id"]) if columns["id"] else None
    prompt = row.get(columns["prompt"]) if columns["prompt"] else None
    problem = None if isinstance(value, str) else f"the completion is {_kind(value)}, not a text"
    return Response(
        line=number,
        id=None if name is None else str(name),
        prompt=_clean(prompt) if isinstance(prompt, str) else None,
        text="" if problem else _clean(value),
        problem=problem,
    )


def _kind(value: Any) -> str:
    return "missing" if value is None else f"{value!r:.40}"


def _clean(text: str) -> str:
    """Returns a text without lone surrogates, which no file could hold."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def sample_lines(job: EvalJob, responses: list[Response], file: str) -> tuple[list[dict], int]:
    """Returns the lines of a complete sample file, and the number of samples of each question.

    Raises:
      UserError: no completion belongs to a question.
    """
    groups = _grouped(job, responses, file)
    num_samples = max(map(len, groups.values()))
    lines = []
    for item in job.items:
        found = groups.get(item.id, [])
        for sample in range(num_samples):
            reply = found[sample] if sample < len(found) else None
            lines.append(_line(job, item, sample, reply))
    missing = sum(map(is_failed, lines))
    if missing:
        _LOG.warning("%s: %d of %d samples have no completion", file, missing, len(lines))
    return lines, num_samples


def _warn_of_ids(job: EvalJob, responses: list[Response], file: str) -> None:
    """Warns that the ids were of no use, since completions in another order would then be mistaken for others."""
    given = [response.id for response in responses if response.id is not None]
    if given and not {item.id for item in job.items} & set(given):
        _LOG.warning(
            "%s: its ids (%s, ...) are no ids of %s (%s, ...); completions are taken by what their prompts hold, or by "
            "their places",
            file,
            given[0],
            job.key.benchmark,
            job.items[0].id,
        )


def _line(job: EvalJob, item: EvalItem, sample: int, reply: Response | None) -> dict[str, Any]:
    problem = "no completion in the file" if reply is None else reply.problem
    return {
        "id": item.id,
        "benchmark": job.key.benchmark,
        "sample": sample,
        "subset": item.subset,
        "cluster": item.cluster,
        "prompt": (reply and reply.prompt) or prompt_text(item.example),
        "prompt_tokens": [],
        "completion": "" if reply is None else cut_at(reply.text, job.decoding.stop),
        "tokens": [],
        "num_tokens": None,
        "finish_reason": f"error: {problem}" if problem else "given",
    }


def _grouped(job: EvalJob, responses: list[Response], file: str) -> dict[str, list[Response]]:
    """Returns question -> its completions, in the order of the file."""
    told = [(response.id, response.prompt) for response in responses]
    places = match(job.items, told)
    _warn_of_ids(job, responses, file)
    groups: dict[str, list[Response]] = {}
    for response, name in zip(responses, places, strict=True):
        if name is not None:
            groups.setdefault(name, []).append(response)
    if not groups:
        ids = ", ".join(item.id for item in job.items[:SHOWN])
        raise UserError(
            f"{file}: no completion belongs to a question of {job.key.benchmark}, whose ids are {ids}, ... Expected a "
            f"column with them, prompts that hold the questions' texts, or {len(job.items)} completions in order."
        )
    lost = [response.line for response, name in zip(responses, places, strict=True) if name is None]
    if lost:
        shown = ", ".join(map(str, lost[:SHOWN]))
        _LOG.warning("%s: %d lines belong to no question, the first: %s", file, len(lost), shown)
    return groups
