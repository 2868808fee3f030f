"""Chooses which right replies are kept, and writes the dataset in shards and a report of its yield."""

import functools
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from etils import epath

from jaxreason.data.examples import prompt_messages
from jaxreason.data.examples import question as question_text
from jaxreason.data.rows import is_missing
from jaxreason.data.thoughts import CLOSE, OPEN
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.distill.distill_config import COLUMNS, DistillConfig, Keep, NoThink
from jaxreason.distill.judging import MALFORMED, NOT_GRADABLE, RIGHT, Judged
from jaxreason.distill.passes import MAIN, DistillPlan, TeacherQuestion, reply_seed
from jaxreason.distill.yields import Entry, tell
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import glob_in, remove
from jaxreason.results.distill_files import YIELD, data_folder, shard_path, write_yield
from jaxreason.results.jsonl import write_jsonl

# Returns the number of tokens of a question with a reply; None if the tokenizer cannot encode it.
Count = Callable[[str], int | None]
NOT_REPLIES = (MALFORMED, NOT_GRADABLE)  # These are neither right nor wrong.


@dataclass(frozen=True)
class KeptReplies:
    """The replies to a question that are kept from one pass.

    Attributes:
      replies: the kept replies, in the order of the samples.
      left_out: reason -> number of right replies that cannot be kept.
    """

    replies: list[Judged]
    left_out: Counter = field(default_factory=Counter)


def think_response(reply: Judged) -> str:
    """Returns thoughts and text as one text, with Qwen3's marks; "" if there are no thoughts."""
    if not reply.parts.thoughts:
        return ""
    return f"{OPEN}\n{reply.parts.thoughts}\n{CLOSE}\n\n{reply.parts.text}"


def whole_text(reply: Judged) -> str:
    """Returns the whole text of a reply, with its thoughts if there are any."""
    return think_response(reply) or reply.parts.text


def keep_replies(
    replies: Sequence[Judged],
    keep: Keep,
    cutoff: int,
    count: Count,
    random_seed: int,
    needs_thoughts: bool = False,
) -> KeptReplies:
    """Chooses which right replies to a question are kept.

    Args:
      replies: all replies to the question, in the order of the samples.
      keep: which of the right replies that fit are kept.
      cutoff: the most tokens of question and reply, thoughts included; 0 for no limit.
      count: counts these tokens.
      random_seed: seed of a random choice, for this question only.
      needs_thoughts: whether a reply without thoughts is left out, because no column could hold it.
    """
    fitting, left_out = [], Counter()
    for reply in replies:
        if reply.outcome != RIGHT:
            continue
        if needs_thoughts and not reply.parts.thoughts:
            left_out["without_thoughts"] += 1
            continue
        length = count(whole_text(reply))
        if length is None:
            left_out["not_encodable"] += 1
        elif cutoff and length > cutoff:
            left_out["too_long"] += 1
        else:
            fitting.append((length, reply))
    chosen = _pick(fitting, keep, random_seed)
    return KeptReplies([reply for _, reply in chosen], left_out)


def _pick(
    fitting: list[tuple[int, Judged]], keep: Keep, random_seed: int
) -> list[tuple[int, Judged]]:
    if keep == "all" or not fitting:
        return fitting
    if keep == "shortest":
        return [min(fitting, key=lambda pair: (pair[0], pair[1].sample))]
    if keep == "random":
        return [fitting[int(np.random.default_rng(random_seed).integers(len(fitting)))]]
    return fitting[:1]


def responses(
    main: KeptReplies, second: KeptReplies | None, no_think: NoThink
) -> list[tuple[str, str]]:
    """Returns (text with thoughts, text without) for each row of a question; one row of two "" if nothing is kept.

    For "drop", the thoughts are dropped from the same reply that is kept, so that both columns
    answer the same questions.
    """
    thinking = [think_response(reply) for reply in main.replies]
    without = {
        "drop": [reply.parts.text for reply in main.replies],
        "generate": [reply.parts.text for reply in second.replies] if second else [],
        "none": [],
    }[no_think]
    return list(itertools.zip_longest(thinking, without, fillvalue="")) or [("", "")]


def dataset_rows(
    question: TeacherQuestion,
    pairs: Sequence[tuple[str, str]],
    replies: Sequence[Judged],
    second: Sequence[Judged] | None,
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a question. From the second row on the id is `<id>#<n>`; only the
    first row has all replies.
    """
    example = question.example
    system = [m["content"] for m in example.messages if m["role"] == "system"]
    # A row's own columns can be in the metadata too, if `options.group_by` names them.
    own = (*COLUMNS, "where")
    kept = {name: plain_value(v) for name, v in example.metadata.items() if name not in own}
    for number, (thinking, without) in enumerate(pairs):
        row = {
            "id": f"{question.key}#{number + 1}" if number else question.key,
            "question": question_text(example),
            "answer": example.answer,
            "data_source": question.source,
            "think_response": thinking,
            "no_think_response": without,
            "replies": [] if number else _listed(replies),
        }
        row |= {} if second is None else {"no_think_replies": [] if number else _listed(second)}
        row |= {"system": system[0]} if system else {}
        yield row | kept | {"data_source": question.source}


def plain_value(value: Any) -> Any:
    """Returns a value that a JSON file can hold: null for NaN, text for what only tables have (dates, decimals)."""
    if is_missing(value):
        return None
    if isinstance(value, dict):
        return {str(name): plain_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value if isinstance(value, str | int | float) else str(value)


def _listed(replies: Sequence[Judged]) -> list[dict[str, Any]]:
    return [reply.to_json() for reply in replies if reply.outcome not in NOT_REPLIES]


def same_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gives all rows the same columns in the same order, with one type for each column.

    The sources have different columns, but a table must not.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = {name: {type(row[name]) for row in rows if row.get(name) is not None} for name in names}
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    return [
        {name: _text(row.get(name)) if name in mixed else row.get(name) for name in names}
        for row in rows
    ]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


FORMAT = 1
CHOICE_BITS = 63


def write_dataset(
    config: DistillConfig,
    folder: epath.Path,
    asked: DistillPlan,
    counter: Tokenizer,
    judged: Sequence[list[list[Judged]]],
    seed: int,
) -> tuple[list[epath.Path], dict[str, Any]]:
    """Writes the shards and the yield, replacing older ones.

    Args:
      config: the recipe's section.
      folder: folder of the distillation.
      asked: the questions and passes.
      counter: the tokenizer that counts tokens.
      judged: for each pass, the replies to each question.
      seed: seed of a random choice.

    Returns:
      The files that were written, and the content of `yield.json`.
    """
    rows, entries = [], [[] for _ in asked.passes]
    for place, question in enumerate(asked.questions):
        counts = [_counter(one.thinking, counter, question) for one in asked.passes]
        replies = [found[place] for found in judged]
        chosen = [
            _choose(config, one.name, question, said, count, seed)
            for one, said, count in zip(asked.passes, replies, counts, strict=True)
        ]
        pairs = responses(chosen[0], chosen[1] if chosen[1:] else None, config.no_think)
        rows += dataset_rows(question, pairs, replies[0], replies[1] if replies[1:] else None)
        kept = _kept_lengths(pairs, counts)
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


def _counter(thinking: bool | None, counter: Tokenizer, question: TeacherQuestion) -> Count:
    """Makes a function that counts the tokens of a question with a reply: as it is asked with
    `thinking`, with the end of turn.
    """

    @functools.cache
    def prompt() -> int:
        return len(counter.encode_prompt(prompt_messages(question.example), thinking))

    def count(text: str) -> int | None:
        try:
            return prompt() + len(counter.encode_part(text)) + 1
        except (
            UserError
        ):  # The tokenizer lacks a character, or the chat template refuses the question.
            return None

    return count


def _choose(
    config: DistillConfig,
    name: str,
    question: TeacherQuestion,
    replies: Sequence[Judged],
    count: Count,
    seed: int,
) -> KeptReplies:
    random_seed = reply_seed(seed, f"choice/{name}", question.key, 0, CHOICE_BITS)
    needs_thoughts = name == MAIN and config.no_think != "drop"
    return keep_replies(replies, config.keep, config.cutoff, count, random_seed, needs_thoughts)


def _kept_lengths(
    pairs: Sequence[tuple[str, str]], counts: Sequence[Count]
) -> list[dict[str, list[int]]]:
    """Returns the tokens of the kept replies of each pass, column -> counts, by what counts those of the pass."""
    thinking = {"think_response": [counts[0](text) for text, _ in pairs if text]}
    without = {"no_think_response": [counts[-1](text) for _, text in pairs if text]}
    return [thinking, without] if len(counts) > 1 else [thinking | without]


def _write_shards(
    folder: epath.Path, rows: Sequence[dict[str, Any]], size: int
) -> list[epath.Path]:
    """Writes the shards, removes further ones that an earlier, longer dataset left, and returns their paths."""
    starts = range(0, len(rows), size)
    files = [shard_path(folder, number) for number in range(1, len(starts) + 1)]
    for file, start in zip(files, starts, strict=True):
        write_jsonl(file, rows[start : start + size])
    for old in glob_in(data_folder(folder), "*.jsonl"):
        if old not in files:
            remove(old)
    return files
