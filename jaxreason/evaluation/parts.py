"""The parts of an evaluation: one sample file each, what it is made with and what it lacks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Bool

from jaxreason.config import ConfigError, to_dict
from jaxreason.data.examples import prompt_messages
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.errors import UserError
from jaxreason.evaluation.benchmarks import Benchmark, Item, load_items
from jaxreason.evaluation.identity import FORMAT, prompts_identity, task_identity
from jaxreason.evaluation.settings import EvalConfig, find_benchmarks
from jaxreason.models.huggingface import ModelConfig
from jaxreason.models.weight_files import verified_identity
from jaxreason.results.claims import differences, refuse
from jaxreason.results.files import read_json, write_json
from jaxreason.results.growing_files import grown_exists, join_parts, read_grown
from jaxreason.results.jsonl import read_jsonl, write_jsonl
from jaxreason.results.sample_files import (
    check_samples,
    finished_samples,
    head_path,
    samples_path,
)
from jaxreason.tasks.registry import TASKS


@dataclass(frozen=True)
class Part:
    """One sample file: a benchmark under a decoding, its prompts, and what it is made with."""

    name: str
    benchmark: Benchmark
    items: list[Item]
    prompts: list[tuple[int, ...]]
    decoding: str
    num_samples: int
    head: dict[str, Any]


def plan(
    config: EvalConfig,
    model_config: ModelConfig,
    model_folder: epath.Path,
    tokenizer: Tokenizer,
    seed: int,
) -> list[Part]:
    """The sample files of an evaluation, with their prompts as token ids."""
    model = verified_identity(model_folder) | {"dtype": model_config.dtype}
    parts = []
    for name, benchmark in find_benchmarks(config).items():
        run = config.benchmarks[name]
        items = load_items(
            benchmark, config.source, config.data_folder, run.limit, config.items_seed
        )
        prompts = [_encode(tokenizer, config, item) for item in items]
        questions = [(i.id, p, i.example.answer) for i, p in zip(items, prompts, strict=True)]
        common = {
            "format": FORMAT,
            "model": model,
            "benchmark": name,
            "task": benchmark.task,
            "grader": task_identity(TASKS[benchmark.task]),
            "prompts": prompts_identity(questions),
            "num_questions": len(items),
            "stop_ids": list(tokenizer.stop_ids),
            "max_length": config.sampler.max_length,
            "seed": seed,
        }
        for decoding, number in run.samples.items():
            how = {"decoding": to_dict(config.decodings[decoding]), "num_samples": number}
            parts.append(Part(name, benchmark, items, prompts, decoding, number, common | how))
    return parts


def _encode(tokenizer: Tokenizer, config: EvalConfig, item: Item) -> tuple[int, ...]:
    try:
        return tuple(tokenizer.encode_prompt(prompt_messages(item.example), config.thinking))
    except ValueError as error:
        raise UserError(f"{item.example.source}, item {item.id!r}: {error}") from error


def claim(folder: epath.Path, parts: list[Part]) -> None:
    """Writes the heads of new sample files, or refuses files that were made with something else.

    All are compared before the first is written. A head whose file holds no sample yet is written anew.

    Raises:
      ConfigError: with the differences.
    """
    for part in parts:
        _check_head(folder, part)
    for part in parts:
        head = head_path(folder, part.name, part.decoding)
        if not (head.exists() and _holds_samples(folder, part)):
            write_json(head, to_dict(part.head))


def _holds_samples(folder: epath.Path, part: Part) -> bool:
    samples = samples_path(folder, part.name, part.decoding)
    return grown_exists(samples) and bool(read_grown(samples))


def _check_head(folder: epath.Path, part: Part) -> None:
    head, samples = (f(folder, part.name, part.decoding) for f in (head_path, samples_path))
    if grown_exists(samples) and not head.exists():
        raise ConfigError(f"{samples}: what it was made with is not known; remove it.")
    if _holds_samples(folder, part):
        remedy = f"Use another working directory, or remove {samples.name} and {head.name}."
        found = read_json(head, f"Put back a copy of it. {remedy}")
        refuse(samples, differences(found, to_dict(part.head)), remedy)


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
    path = samples_path(folder, part.name, part.decoding)
    if not grown_exists(path):
        return []
    index = {item.id: number for number, item in enumerate(part.items)}
    lines = read_jsonl(path)
    check_samples(lines, str(path), part.name, part.num_samples, list(index))
    return [(index[line["id"]], line["sample"]) for line in lines]


def sort_lines(path: epath.Path, part: Part) -> list[dict]:
    """Puts the lines of a finished file into the order of the questions, on a bucket in one object, and returns them.

    Raises:
      UserError: a line is no sample of the part, is there twice, or is missing.
    """
    order = {item.id: number for number, item in enumerate(part.items)}
    found = read_jsonl(path)
    check_samples(found, str(path), part.name, part.num_samples, list(order))
    lines = sorted(found, key=lambda line: (order[line["id"]], line["sample"]))
    if lines != found:
        write_jsonl(path, lines)
    join_parts(path)
    return finished_samples(lines, part.head, str(path))
