"""The parts of an evaluation: one sample file each, what it is made with, what it lacks, and who grades it."""

import functools
import logging
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from etils import epath
from jaxtyping import Bool

from jaxreason.config import ConfigError, claimed, to_dict
from jaxreason.data.examples import prompt_messages, prompt_text
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation.asking import Benchmark
from jaxreason.evaluation.benchmarks import Item, load_items
from jaxreason.evaluation.identity import FORMAT, gold_identity, prompts_identity
from jaxreason.evaluation.settings import EvalConfig, decoding_of, find_benchmarks
from jaxreason.models.model_source import ModelSource
from jaxreason.results.claims import changes, plain, refuse
from jaxreason.results.evaluation_lines import SampleKey
from jaxreason.results.files import read_json, write_json
from jaxreason.results.growing_files import grown_exists, join_parts, read_grown
from jaxreason.results.jsonl import read_jsonl, write_jsonl
from jaxreason.results.sample_files import (
    TOLD,
    check_samples,
    finished_samples,
    sample_head_path,
    samples_path,
)
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sampling.decoding import Decoding
from jaxreason.tasks.registry import TASKS

_LOG = logging.getLogger(__name__)
HELD = "held"  # of a head: how model and cache are held; older ones lack it
SECTIONS = {"decoding_settings": Decoding}  # of a head, by which older ones are read


@dataclass(frozen=True)
class Part:
    """One sample file: a benchmark asked in one way under a decoding.

    Attributes:
      key: what the file is named by.
      benchmark: of the questions.
      items: the questions.
      graders: task -> the variants that it grades for, of those that ask in this way.
      num_samples: of each question.
      decoding: with the prompt's own stop strings.
      delimiter: what stands between a prompt and a choice that is scored: a space after plain text, nothing
        after a chat template (as lm-evaluation-harness has it).
      prompts: token ids; empty where nothing is sampled.
      problems: question, by its place -> why it cannot be put; its prompt is empty.
      head: what the file is made with.
    """

    key: SampleKey
    benchmark: Benchmark
    items: list[Item]
    graders: dict[str, tuple[str, ...]]
    num_samples: int
    decoding: Decoding
    delimiter: str
    prompts: list[tuple[int, ...]]
    head: dict[str, Any]
    problems: dict[int, str] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["generate", "choose"]:
        """Whether replies are sampled or the likelihoods of given ones compared."""
        return TASKS[next(iter(self.graders))].kind

    @functools.cached_property
    def gold(self) -> str:
        """`gold_identity` of its questions, for all its graders: tests of programs may be gigabytes."""
        return gold_identity(self.items)


def asked_parts(config: EvalConfig) -> list[Part]:
    """The sample files that a recipe asks for, with their questions; without prompts and heads.

    Raises:
      UserError: the recipe does not fit, or questions cannot be read.
    """
    parts, delimiter = [], " " if config.prompt_format == "plain" else ""
    for name, benchmark in find_benchmarks(config).items():
        run = config.benchmarks[name]
        source = config.source, config.data_folder, run.limit, config.items_seed
        for prompt_name in dict.fromkeys(benchmark.variants[v].prompt for v in run.variants):
            prompt = benchmark.prompts[prompt_name]
            items = load_items(benchmark.label, prompt, *source)
            graders = _graders(benchmark, run.variants, prompt_name)
            for decoding_name, number in run.samples.items():
                key = SampleKey(name, prompt_name, decoding_name)
                decoding = decoding_of(config, run, decoding_name, f"eval.benchmarks.{name}")
                decoding = replace(decoding, stop=(*decoding.stop, *prompt.stop))
                more = decoding, delimiter, [], {}
                parts.append(Part(key, benchmark, items, graders, number, *more))
    return parts


def _graders(benchmark: Benchmark, variants, prompt: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in variants:
        variant = benchmark.variants[name]
        if variant.prompt == prompt:
            found[variant.task] = (*found.get(variant.task, ()), name)
    return found


def plan(config: EvalConfig, source: ModelSource, tokenizer: Tokenizer, seed: int) -> list[Part]:
    """The sample files of an evaluation, with their prompts as token ids and their heads.

    Raises:
      UserError: the recipe does not fit, questions cannot be read, or not one of a benchmark can be put.
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
    parts = []
    for part in asked_parts(config):
        if part.key[:2] not in encoded:
            encoded[part.key[:2]] = _encode_all(tokenizer, config, part.items)
        prompts, problems = encoded[part.key[:2]]
        ids = [(item.id, tokens) for item, tokens in zip(part.items, prompts, strict=True)]
        head = common | part.key._asdict() | {"prompts": prompts_identity(ids)}
        head |= {"num_questions": len(part.items), "num_samples": part.num_samples}
        head["decoding_settings"] = to_dict(part.decoding)
        parts.append(replace(part, prompts=prompts, head=head, problems=problems))
    return parts


def _encode_all(
    tokenizer: Tokenizer, config: EvalConfig, items: list[Item]
) -> tuple[list[tuple[int, ...]], dict[int, str]]:
    """The prompts, and by place why one cannot be put: that costs its question alone, unless all are alike."""
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


def encode_item(tokenizer: Tokenizer, config: EvalConfig, item: Item) -> tuple[int, ...]:
    """A question as the model gets it, in the chat template or as plain text.

    Raises:
      UserError: it cannot be put so; names the question.
    """
    try:
        if config.prompt_format == "plain":
            return tuple(tokenizer.encode(prompt_text(item.example)))
        return tuple(tokenizer.encode_prompt(prompt_messages(item.example), config.thinking))
    except ValueError as error:
        raise UserError(f"{item.example.source}, item {item.id!r}: {error}") from error


def claim(folder: epath.Path, parts: list[Part]) -> list[Part]:
    """Writes the heads of new sample files, or refuses files that were made with something else.

    All are compared before the first is written. A head whose file holds no sample yet is written anew. Every process
    must call it.

    Returns:
      The parts with the heads that their files have: hashes of what an older version wrote stand in files of grades.

    Raises:
      ConfigError: with the differences.
    """
    heads = on_process_zero(lambda: _claim(folder, parts))
    return [replace(part, head=head) for part, head in zip(parts, heads, strict=True)]


def _claim(folder: epath.Path, parts: list[Part]) -> list[dict[str, Any]]:
    heads = [_agreed_head(folder, part) for part in parts]
    for part, head in zip(parts, heads, strict=True):
        path = sample_head_path(folder, part.key)
        if not (path.exists() and _holds_samples(folder, part)):
            write_json(path, head)
    return heads


def _holds_samples(folder: epath.Path, part: Part) -> bool:
    samples = samples_path(folder, part.key)
    return grown_exists(samples) and bool(read_grown(samples))


def _agreed_head(folder: epath.Path, part: Part) -> dict[str, Any]:
    asked = plain(to_dict(part.head))
    path, samples = (f(folder, part.key) for f in (sample_head_path, samples_path))
    if grown_exists(samples) and not path.exists():
        raise ConfigError(f"{samples}: what it was made with is not known; remove it.")
    if not _holds_samples(folder, part):
        return asked
    remedy = f"Use another working directory, or remove {samples.name} and {path.name}."
    found = read_json(path, f"Put back a copy of it. {remedy}")
    refuse(samples, changes(identity_of(found), identity_of(asked), SECTIONS, (HELD,)), remedy)
    return found | {TOLD: asked[TOLD]}


def identity_of(head: Any, *others: str) -> Any:
    """What of a head is compared: all but what it tells, and `others`."""
    left_out = (TOLD, *others)
    return {k: v for k, v in head.items() if k not in left_out} if isinstance(head, dict) else head


def missing_samples(folder: epath.Path, part: Part) -> Bool[np.ndarray, "I G"]:
    """Which samples are not in the file; the same on every process.

    Raises:
      UserError: a line is no sample of the part, or one that is there already.
    """
    mask = np.ones((len(part.items), part.num_samples), bool)
    for question, sample in on_process_zero(lambda: _found(folder, part)):
        mask[question, sample] = False
    return mask


def _found(folder: epath.Path, part: Part) -> list[tuple[int, int]]:
    """(question, sample) of every line of the file, questions by their place."""
    path = samples_path(folder, part.key)
    if not grown_exists(path):
        return []
    index = {item.id: number for number, item in enumerate(part.items)}
    lines = read_jsonl(path)
    check_samples(lines, str(path), part.key.benchmark, part.num_samples, list(index))
    return [(index[line["id"]], line["sample"]) for line in lines]


def sorted_samples(folder: epath.Path, part: Part) -> list[dict]:
    """Puts the lines of a finished file into the order of the questions, on a bucket in one object, and returns them.

    Raises:
      UserError: a line is no sample of the part, is there twice, or is missing.
    """
    path = samples_path(folder, part.key)
    order = {item.id: number for number, item in enumerate(part.items)}
    found = read_jsonl(path)
    check_samples(found, str(path), part.key.benchmark, part.num_samples, list(order))
    lines = sorted(found, key=lambda line: (order[line["id"]], line["sample"]))
    if lines != found:
        write_jsonl(path, lines)
    join_parts(path)
    return finished_samples(lines, part.head, str(path))
