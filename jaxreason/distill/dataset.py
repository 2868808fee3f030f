"""The dataset that comes of replies and verdicts, in shards, and its yield."""

import functools
from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.data.examples import prompt_messages
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.distill.distill_config import DistillConfig, NoThink
from jaxreason.distill.outcomes import Judged
from jaxreason.distill.passes import MAIN, Asked, Question, draw
from jaxreason.distill.selection import (
    Chosen,
    Count,
    choose,
    make_rows,
    responses,
    same_columns,
)
from jaxreason.distill.yields import Entry, tell
from jaxreason.errors import UserError
from jaxreason.results.distill_files import YIELD, data_folder, shard_path, write_yield
from jaxreason.results.files import remove
from jaxreason.results.jsonl import write_jsonl

FORMAT = 1
CHOICE_BITS = 63


def write_dataset(
    config: DistillConfig,
    folder: epath.Path,
    asked: Asked,
    counter: Tokenizer,
    judged: Sequence[list[list[Judged]]],
    seed: int,
) -> tuple[list[epath.Path], dict[str, Any]]:
    """Writes the shards and the yield, in the place of what was there.

    Args:
      config: the recipe's section.
      folder: of the distillation.
      asked: questions and passes.
      counter: counts tokens.
      judged: of each pass, the replies to each question.
      seed: of the choice at random.

    Returns:
      The files, and what stands in `yield.json`.
    """
    rows, entries = [], [[] for _ in asked.passes]
    for place, question in enumerate(asked.questions):
        count = _counter(config, counter, question)
        replies = [found[place] for found in judged]
        chosen = [
            _choose(config, one.name, question, said, count, seed)
            for one, said in zip(asked.passes, replies, strict=True)
        ]
        pairs = responses(chosen[0], chosen[1] if chosen[1:] else None, config.no_think)
        rows += make_rows(question, pairs, replies[0], replies[1] if replies[1:] else None)
        kept = _kept_lengths(pairs, config.no_think, count)
        for entry, said, taken, lengths in zip(entries, replies, chosen, kept):
            entry.append(Entry(question, said, any(lengths.values()), taken.left_out, lengths))
    files = _write_shards(folder, same_columns(rows), config.shard_rows)
    told = {
        "format": FORMAT,
        "rows": len(rows),
        "datasets": asked.rows,
        "passes": {
            one.name: tell(found, config.difficulty)
            for one, found in zip(asked.passes, entries, strict=True)
        },
    }
    write_yield(folder, told)
    return [*files, folder / YIELD], told


def _counter(config: DistillConfig, counter: Tokenizer, question: Question) -> Count:
    """Tokens of the question, as it is asked first, with a reply and the end of its turn."""

    @functools.cache
    def prompt() -> int:
        return len(counter.encode_prompt(prompt_messages(question.example), config.thinking))

    def count(text: str) -> int | None:
        try:
            return prompt() + len(counter.encode_part(text)) + 1
        except (
            UserError
        ):  # a character outside of the vocabulary, or a template that takes no such question
            return None

    return count


def _choose(
    config: DistillConfig,
    name: str,
    question: Question,
    replies: Sequence[Judged],
    count: Count,
    seed: int,
) -> Chosen:
    random_seed = draw(seed, f"choice/{name}", question.key, 0, CHOICE_BITS)
    needs_thoughts = name == MAIN and config.no_think != "drop"
    return choose(replies, config.keep, config.cutoff, count, random_seed, needs_thoughts)


def _kept_lengths(
    pairs: Sequence[tuple[str, str]], no_think: NoThink, count: Count
) -> list[dict[str, list[int]]]:
    """Of each pass, tokens of what of it is kept, by column."""
    thinking = {"think_response": [count(text) for text, _ in pairs if text]}
    without = {"no_think_response": [count(text) for _, text in pairs if text]}
    return [thinking, without] if no_think == "generate" else [thinking | without]


def _write_shards(
    folder: epath.Path, rows: Sequence[dict[str, Any]], size: int
) -> list[epath.Path]:
    """The files; those of an earlier, longer dataset go."""
    starts = range(0, len(rows), size)
    files = [shard_path(folder, number) for number in range(1, len(starts) + 1)]
    for file, start in zip(files, starts, strict=True):
        write_jsonl(file, rows[start : start + size])
    for old in data_folder(folder).glob("*.jsonl"):
        if old not in files:
            remove(old)
    return files
