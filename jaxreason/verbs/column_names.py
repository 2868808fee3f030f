"""Guesses which columns of a file are the question, the answer and the reply, by names and first row."""

import re
from dataclasses import dataclass
from typing import Any

from jaxreason.config import ConfigError
from jaxreason.data.file_rows import read_files
from jaxreason.data.rows import DatasetConfig

# Ours -> names that such a column has, the likeliest first.
NAMES = {
    "messages": ("messages", "conversations", "conversation"),
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input"),
    "answer": ("answer", "final_answer", "gold", "target", "label"),
    "response": ("response", "solution", "completion", "output", "reply", "generation"),
    "reasoning": ("reasoning", "thinking", "reasoning_content"),
    "system": ("system",),
    "id": ("id",),
}
NUMBER = re.compile(r"[-+$]?[\d,]*\.?\d+%?")
MARK = "####"  # GSM8K: a worked solution, then this, then the number
BOXED = "{prompt}\n\nEnd with the answer in \\boxed{{}}."


@dataclass(frozen=True)
class Columns:
    """The columns of a file and what they mean.

    Attributes:
      fields: our names to its columns.
      task: how replies are graded.
      options: of the dataset.
      prompt_template: what is asked around the question.
      unread: the file's other columns.
    """

    fields: dict[str, str]
    task: str
    options: dict[str, str]
    prompt_template: str
    unread: tuple[str, ...] = ()

    @property
    def has_response(self) -> bool:
        """Whether there are replies to learn."""
        return "response" in self.fields or "messages" in self.fields

    @property
    def has_answer(self) -> bool:
        """Whether replies can be graded."""
        return "answer" in self.fields

    def dataset(self, path: str) -> DatasetConfig:
        """All examples of the file."""
        return DatasetConfig(
            path=path,
            fields=self.fields,
            prompt_template=self.prompt_template,
            task=self.task,
            options=self.options,
        )


def guess_columns(path: str) -> Columns:
    """The columns of a file.

    Raises:
      ConfigError: no column is known as a question, or none as an answer or a reply; names those that are there.
      UserError: the file cannot be read.
    """
    first = _first_row(path)
    by_name = {name.lower(): name for name in first}
    fields = {
        ours: next(by_name[name] for name in names if name in by_name)
        for ours, names in NAMES.items()
        if any(name in by_name for name in names)
    }
    if "messages" in fields:
        fields = {key: fields[key] for key in ("messages", "answer", "id") if key in fields}
    if not {"messages", "prompt"} & set(fields):
        raise ConfigError(_unknown(path, first, "question", NAMES["prompt"]))
    answer, options = first.get(fields.get("answer"), ""), {}
    if isinstance(answer, str) and MARK in answer and "response" not in fields:
        options["answer_after"] = MARK
        if "messages" not in fields:
            fields["response"] = fields["answer"]
    if not {"messages", "answer", "response"} & set(fields):
        raise ConfigError(_unknown(path, first, "answer or reply", NAMES["answer"] + NAMES["response"]))  # fmt: skip
    if "response" not in fields:
        fields.pop("reasoning", None)
    unread = tuple(name for name in first if name not in fields.values())
    return Columns(fields, *_task(str(answer), options, fields), unread)


def _task(answer: str, options: dict[str, str], fields: dict[str, str]) -> tuple[str, dict, str]:
    """Task, options and prompt template: numbers are the last of the reply, other answers stand in a box."""
    if "answer" not in fields:
        return "", options, "{prompt}"
    if options:
        return "gsm8k", options, "{prompt}"
    if NUMBER.fullmatch(answer.strip()):
        return "last_number", options, "{prompt}"
    bare = "messages" in fields or "response" in fields  # what a reply looks like is in the data
    return "math", options, "{prompt}" if bare else BOXED


def _first_row(path: str) -> dict[str, Any]:
    config = DatasetConfig(path=path, fields={})
    for row in read_files(config):
        if row.problem is None:
            return row.columns
    raise ConfigError(f"--data {path}: no row can be read.")


def _unknown(path: str, row: dict[str, Any], what: str, names: tuple[str, ...]) -> str:
    return (
        f"--data {path}: no column is known as the {what} (one of {', '.join(names)}); there are "
        f"{', '.join(map(str, row))}. Rename one, or write the recipe by hand (docs/adding_data.md)."
    )
