"""reasoning-gym's `chain_sum` questions with worked traces; every question is in one split only.

There are few different sums of two one-digit terms (200), so a split by index would put the same question on both
sides. Here the checksum of the question decides.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Annotated

from jaxreason.config import at_least, unclaimed
from jaxreason.data.sources import import_quietly
from jaxreason.errors import UserError


@unclaimed("its question files are compared row by row")
@dataclass(frozen=True)
class SumsConfig:
    """The sums that are made, and how they are split."""

    seed: Annotated[int, at_least(0)]
    """The seed of the draws."""
    draws: Annotated[int, at_least(1)]
    """Number of questions drawn; repeated ones are dropped."""
    min_terms: Annotated[int, at_least(1)]
    """The setting of this name in reasoning-gym."""
    max_terms: Annotated[int, at_least(1)]
    """The setting of this name in reasoning-gym."""
    min_digits: Annotated[int, at_least(1)]
    """The setting of this name in reasoning-gym."""
    max_digits: Annotated[int, at_least(1)]
    """The setting of this name in reasoning-gym."""
    held_out: Annotated[int, at_least(0)]
    """The number of parts, of `parts`, that are held out for evaluation; a checksum assigns each question to a part."""
    parts: Annotated[int, at_least(1)]
    """The number of parts that questions are split into."""


def make_trace(expression: str, answer: str) -> str:
    """Returns a worked reply: the running total term by term, then the answer.

    Raises:
      ValueError: the steps do not lead to `answer`.
    """
    first, *rest = re.findall(r"[+-]|\d+", expression)
    total, steps = int(first), [f"Start with {first}."]
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        result = total + int(term) if sign == "+" else total - int(term)
        verb = "Add" if sign == "+" else "Subtract"
        steps.append(f"{verb} {term}: {total} {sign} {term} = {result}.")
        total = result
    if str(total) != answer:
        raise UserError(f"sums: {expression} works out as {total}, but its answer is {answer}.")
    return " ".join([*steps, f"The answer is {total}."])


def make_sums_rows(config: SumsConfig) -> list[dict[str, str]]:
    """Returns different questions: id, question, answer, expression and response (the worked trace)."""
    # Importing it takes seconds, and few recipes need it.
    reasoning_gym = import_quietly("reasoning_gym")
    drawn = reasoning_gym.create_dataset(
        "chain_sum",
        size=config.draws,
        seed=config.seed,
        min_terms=config.min_terms,
        max_terms=config.max_terms,
        min_digits=config.min_digits,
        max_digits=config.max_digits,
    )
    rows = {}
    for item in drawn:
        expression = item["metadata"]["expression"]
        rows[item["question"]] = {
            "id": f"sums/{expression.replace(' ', '')}",
            "question": item["question"],
            "answer": item["answer"],
            "expression": expression,
            "response": make_trace(expression, item["answer"]),
        }
    return list(rows.values())


def make_sums_files(config: SumsConfig) -> dict[str, list[dict[str, str]]]:
    """Returns file name -> rows: sums_train.jsonl and sums_test.jsonl, without a common question.

    Raises:
      UserError: a lower limit is above its upper one, or nothing is left to train with.
    """
    for what in ("terms", "digits"):
        low, high = getattr(config, f"min_{what}"), getattr(config, f"max_{what}")
        if low > high:
            raise UserError(f"sums.min_{what}={low}: expected at most sums.max_{what}={high}.")
    if config.held_out >= config.parts:
        raise UserError(
            f"sums.held_out={config.held_out}: expected less than sums.parts={config.parts}; the rest is trained on."
        )
    files = {"sums_train.jsonl": [], "sums_test.jsonl": []}
    for row in make_sums_rows(config):
        part = zlib.crc32(row["question"].encode()) % config.parts
        files["sums_test.jsonl" if part < config.held_out else "sums_train.jsonl"].append(row)
    return files
