"""The jobs of an evaluation: a benchmark with one prompt format and one decoding, which makes one sample file.

A job has its questions, prompts and graders, the origin of its file, and the samples that the file lacks.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from etils import epath
from jaxtyping import Bool

from jaxreason.config import ConfigError, claimed, to_dict
from jaxreason.data.examples import prompt_messages, prompt_text
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmark_spec import Benchmark
from jaxreason.evaluation.benchmarks import EvalItem, load_items
from jaxreason.evaluation.eval_settings import EvalConfig, decoding_of, find_benchmarks
from jaxreason.models.huggingface import ModelSource
from jaxreason.results.atomic_files import read_json, write_json
from jaxreason.results.claims import changes, plain_json, refuse
from jaxreason.results.jsonl import grown_exists, join_parts, read_grown, read_jsonl, write_jsonl
from jaxreason.results.sample_files import (
    TOLD,
    SampleKey,
    check_samples,
    finished_samples,
    is_failed,
    sample_head_path,
    samples_path,
)
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.tasks.gold_answers import check_answers
from jaxreason.tasks.registry import TASKS

_LOG = logging.getLogger(__name__)
HELD = "held"  # In a head: how model and cache are stored; older heads lack it.
SECTIONS = {"decoding_settings": SamplingParams}  # In a head; older heads are read with it.


@dataclass(frozen=True)
class EvalJob:
    """One sample file: a benchmark with one prompt format and one decoding.

    Attributes:
      key: the name of the file.
      benchmark: of the questions.
      items: the questions.
      graders: task -> the variants that it grades for, among those with this prompt format.
      num_samples: of each question.
      decoding: with the prompt's own stop strings.
      delimiter: the text between a prompt and a choice that is scored: a space after plain text, nothing after a chat
        template (as in lm-evaluation-harness).
      prompts: token ids; empty if nothing is sampled.
      problems: a question's place -> why it cannot be put to the model; its prompt is then empty.
      head: the origin of the file.
    """

    key: SampleKey
    benchmark: Benchmark
    items: list[EvalItem]
    graders: dict[str, tuple[str, ...]]
    num_samples: int
    decoding: SamplingParams
    delimiter: str
    prompts: list[tuple[int, ...]]
    head: dict[str, Any]
    problems: dict[int, str] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["generate", "choose"]:
        """ "generate" if replies are sampled, "choose" if the likelihoods of given replies are compared."""
        return TASKS[next(iter(self.graders))].kind

    @functools.cached_property
    def gold(self) -> str:
        """`gold_identity` of its questions, computed once for all its graders: tests of programs may have gigabytes."""
        return gold_identity(self.items)


def asked_jobs(config: EvalConfig) -> list[EvalJob]:
    """Returns the sample files that a recipe requires, with their questions, without prompts and heads.

    Raises:
      UserError: the recipe does not fit, questions cannot be read, or no reply to one of them could be right.
    """
    jobs, delimiter = [], " " if config.prompt_format == "plain" else ""
    for name, benchmark in find_benchmarks(config).items():
        run = config.benchmarks[name]
        source = config.source, config.data_folder, run.limit, config.items_seed
        for prompt_name in dict.fromkeys(benchmark.variants[v].prompt for v in run.variants):
            prompt = benchmark.prompts[prompt_name]
            items = load_items(benchmark.label, prompt, *source)
            graders = _graders(benchmark, run.variants, prompt_name)
            for task in graders:
                check_answers(task, [item.example for item in items])
            for decoding_name, number in run.samples.items():
                key = SampleKey(name, prompt_name, decoding_name)
                decoding = decoding_of(config, run, decoding_name, f"eval.benchmarks.{name}")
                decoding = replace(decoding, stop=(*decoding.stop, *prompt.stop))
                more = decoding, delimiter, [], {}
                jobs.append(EvalJob(key, benchmark, items, graders, number, *more))
    return jobs


def _graders(benchmark: Benchmark, variants, prompt: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in variants:
        variant = benchmark.variants[name]
        if variant.prompt == prompt:
            found[variant.task] = (*found.get(variant.task, ()), name)
    return found


def plan_jobs(
    config: EvalConfig, source: ModelSource, tokenizer: Tokenizer, seed: int
) -> list[EvalJob]:
    """Returns the sample files of an evaluation, with their prompts as token ids and their heads.

    Raises:
      UserError: the recipe does not fit, questions cannot be read, or no question of a benchmark can be put.
    """
    model = source.identity | {"dtype": source.config.dtype}
    common = {
        "format": FORMAT,
        "model": model,
        "stop_ids": list(tokenizer.stop_ids),
        "max_length": config.sampler.max_length,
        "seed": seed,
        HELD: {"model": claimed(source.config), "sampler": claimed(config.sampler)},
        TOLD: {
            "model": source.name,
            "asked": config.asked,
            "max_length": config.sampler.max_length,
            "begin": list(tokenizer.begin),
        },
    }
    encoded: dict[tuple[str, str], tuple[list[tuple[int, ...]], dict[int, str]]] = {}
    jobs = []
    for job in asked_jobs(config):
        if job.key[:2] not in encoded:
            encoded[job.key[:2]] = encode_all(tokenizer, config, job.items)
        prompts, problems = encoded[job.key[:2]]
        ids = [(item.id, tokens) for item, tokens in zip(job.items, prompts, strict=True)]
        head = common | job.key._asdict() | {"prompts": prompts_identity(ids)}
        head |= {"num_questions": len(job.items), "num_samples": job.num_samples}
        head["decoding_settings"] = to_dict(job.decoding)
        if job.kind == "choose" and tokenizer.adds_space:
            # Older files of such a tokenizer have likelihoods of other tokens, so they are not continued.
            head["choices"] = "encoded after the prompt"
        jobs.append(replace(job, prompts=prompts, head=head, problems=problems))
    return jobs


def encode_all(
    tokenizer: Tokenizer, config: EvalConfig, items: list[EvalItem]
) -> tuple[list[tuple[int, ...]], dict[int, str]]:
    """Returns the prompts, and by place why one cannot be put; this loses only that question.

    Raises:
      UserError: none can be put; the message says why the first one cannot.
    """
    prompts: list[tuple[int, ...]] = []
    problems: dict[int, str] = {}
    for place, item in enumerate(items):
        try:
            prompts.append(encode_item(tokenizer, config, item))
        except UserError as error:
            prompts.append(())
            problems[place] = str(error)
    if len(problems) == len(items):
        raise UserError(next(iter(problems.values())))
    for problem in problems.values():
        _LOG.warning("%s The question is an error.", problem)
    return prompts, problems


def encode_item(tokenizer: Tokenizer, config: EvalConfig, item: EvalItem) -> tuple[int, ...]:
    """Returns a question as the model gets it, in the chat template or as plain text.

    Raises:
      UserError: it cannot be put in this form; the message names the question.
    """
    try:
        if config.prompt_format == "plain":
            return tuple(tokenizer.encode(prompt_text(item.example)))
        return tuple(tokenizer.encode_prompt(prompt_messages(item.example), config.thinking))
    except ValueError as error:
        raise UserError(f"{item.example.source}, item {item.id!r}: {error}") from error


def claim_jobs(folder: epath.Path, jobs: list[EvalJob]) -> list[EvalJob]:
    """Writes the heads of new sample files, or refuses files that were made with something else.

    All are compared before the first one is written. A head is written anew if its file has no sample yet. A file of
    other settings in which every sample failed is emptied. Every process must call it.

    Returns:
      The jobs with the heads of their files, since grade files contain hashes of what an older version wrote.

    Raises:
      ConfigError: with the differences.
    """
    heads = on_process_zero(lambda: _claim(folder, jobs))
    return [replace(job, head=head) for job, head in zip(jobs, heads, strict=True)]


def _claim(folder: epath.Path, jobs: list[EvalJob]) -> list[dict[str, Any]]:
    agreed = [_agreed_head(folder, job) for job in jobs]
    for job, (head, kept) in zip(jobs, agreed, strict=True):
        if not kept:
            _empty(samples_path(folder, job.key))
            write_json(sample_head_path(folder, job.key), head)
    return [head for head, _ in agreed]


def _empty(samples: epath.Path) -> None:
    """Removes the lines of a sample file, if it has any."""
    if grown_exists(samples) and read_grown(samples):
        _LOG.warning("%s: every sample failed under other settings; they are made again", samples)
        write_jsonl(samples, [])


def _agreed_head(folder: epath.Path, job: EvalJob) -> tuple[dict[str, Any], bool]:
    """Returns the head of a job's sample file, and whether the samples that are there are kept under it."""
    asked = plain_json(to_dict(job.head))
    path, samples = (f(folder, job.key) for f in (sample_head_path, samples_path))
    if grown_exists(samples) and not path.exists():
        raise ConfigError(f"{samples}: what it was made with is not known; remove it.")
    if not (grown_exists(samples) and read_grown(samples)):
        return asked, False
    remedy = f"Use another working directory, or remove {samples.name} and {path.name}."
    found = read_json(path, f"Put back a copy of it. {remedy}")
    differences = changes(identity_of(found), identity_of(asked), SECTIONS, (HELD,))
    if differences and all(is_failed(line) for line in read_jsonl(samples)):
        return asked, False
    refuse(samples, differences, remedy)
    return found | {TOLD: asked[TOLD]}, True


def identity_of(head: Any, *others: str) -> Any:
    """Returns the fields of a head that are compared: all but those that only inform, and without `others`."""
    left_out = (TOLD, *others)
    return {k: v for k, v in head.items() if k not in left_out} if isinstance(head, dict) else head


def missing_samples(folder: epath.Path, job: EvalJob) -> Bool[np.ndarray, "I G"]:
    """Returns the samples that the file lacks; equal on every process.

    Raises:
      UserError: a line is not a sample of the job, or is there twice.
    """
    mask = np.ones((len(job.items), job.num_samples), bool)
    for question, sample in on_process_zero(lambda: _found(folder, job)):
        mask[question, sample] = False
    return mask


def _found(folder: epath.Path, job: EvalJob) -> list[tuple[int, int]]:
    """Returns (question, sample) of every line of the file, with questions by their place."""
    path = samples_path(folder, job.key)
    if not grown_exists(path):
        return []
    index = {item.id: number for number, item in enumerate(job.items)}
    lines = read_jsonl(path)
    check_samples(lines, str(path), job.key.benchmark, job.num_samples, list(index))
    return [(index[line["id"]], line["sample"]) for line in lines]


def sorted_samples(folder: epath.Path, job: EvalJob) -> list[dict]:
    """Sorts the lines of a finished file by question (on a bucket into one object) and returns them.

    Raises:
      UserError: a line is not a sample of the job, is there twice, or is missing.
    """
    path = samples_path(folder, job.key)
    order = {item.id: number for number, item in enumerate(job.items)}
    found = read_jsonl(path)
    check_samples(found, str(path), job.key.benchmark, job.num_samples, list(order))
    lines = sorted(found, key=lambda line: (order[line["id"]], line["sample"]))
    if lines != found:
        write_jsonl(path, lines)
    join_parts(path)
    return finished_samples(lines, job.head, str(path))


FORMAT = 2  # Of sample and grade files.


def prompts_identity(prompts: Sequence[tuple[str, Sequence[int]]]) -> str:
    """Returns a hash of (id, token ids) of all questions, in order."""
    return _hash(f"{name} {list(tokens)}\n" for name, tokens in prompts)


def gold_identity(items: Sequence[EvalItem]) -> str:
    """Returns a hash of what a grader knows of the questions: gold answers and metadata without their row numbers."""
    known = []
    for item in items:
        metadata = {name: v for name, v in item.example.metadata.items() if name != "where"}
        known.append([item.id, item.example.answer, metadata])
    return _hash(json.dumps(entry, sort_keys=True, default=str) for entry in known)


def questions_identity(config: EvalConfig, jobs: Sequence[EvalJob]) -> str:
    """Returns a hash of the questions of jobs, of how they are put, and of what a grader knows of them."""
    put = [[item.id, prompt_messages(item.example)] for job in jobs for item in job.items]
    how = config.prompt_format, config.thinking, [job.gold for job in jobs]
    return _hash([json.dumps([how, put])])


def _hash(pieces: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode(errors="surrogatepass"))
    return digest.hexdigest()
