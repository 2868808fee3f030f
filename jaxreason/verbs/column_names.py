"""Guesses which columns of a file hold the question, the answer and the reply, from names and the first row."""

import re
from dataclasses import dataclass
from typing import Any

from jaxreason.config import ConfigError
from jaxreason.data.file_rows import read_files
from jaxreason.data.rows import DatasetConfig

# Our name -> names that such a column often has, the most likely first.
NAMES = {
    "messages": ("messages", "conversations", "conversation"),
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input"),
    "answer": ("answer", "final_answer", "gold", "target", "label"),
    "response": ("response", "solution", "completion", "output", "reply", "generation"),
    "reasoning": ("reasoning", "thinking", "reasoning_content"),
    "system": ("system",),
    "id": ("id",),
}
# The columns of a question in Alpaca's data. The second is often empty.
ALPACA = ("instruction", "input")
NUMBER = re.compile(r"[-+$]?[\d,]*\.?\d+%?")
MARK = "####"  # In GSM8K's answers this stands between the worked solution and the number.
BOXED = "{prompt}\n\nEnd with the answer in \\boxed{{}}."


@dataclass(frozen=True)
class Columns:
    """The columns of a file and their meaning.

    Attributes:
      fields: our name -> the file's column.
      task: the task that grades replies.
      options: options of the dataset.
      prompt_template: the text asked, with a place for the question.
      unread: the file's other columns.
    """

    fields: dict[str, str]
    task: str
    options: dict[str, str]
    prompt_template: str
    unread: tuple[str, ...] = ()

    @property
    def has_response(self) -> bool:
        """Whether the file has replies to learn from."""
        return "response" in self.fields or "messages" in self.fields

    @property
    def origins(self) -> dict[str, str]:
        """Our name -> what the file has it in."""
        joined = {"prompt": " and ".join(ALPACA)} if "rows" in self.options else {}
        return self.fields | joined

    @property
    def has_answer(self) -> bool:
        """Whether the file has answers, so that replies can be graded."""
        return "answer" in self.fields

    def dataset(self, path: str) -> DatasetConfig:
        """The settings of a dataset of all the file's examples."""
        return DatasetConfig(
            path=path,
            fields=self.fields,
            prompt_template=self.prompt_template,
            task=self.task,
            options=self.options,
        )


def guess_columns(path: str) -> Columns:
    """Guesses the columns of a file.

    Raises:
      ConfigError: no column looks like a question, or none looks like an answer or a reply; the message lists the
        columns that the file has.
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
    if fields.get("prompt") == ALPACA[0] and ALPACA[1] in first:
        fields["prompt"], options["rows"] = "prompt", "alpaca"
    if isinstance(answer, str) and MARK in answer and "response" not in fields:
        options["answer_after"] = MARK
        if "messages" not in fields:
            fields["response"] = fields["answer"]
    if not {"messages", "answer", "response"} & set(fields):
        raise ConfigError(_unknown(path, first, "answer or reply", NAMES["answer"] + NAMES["response"]))  # fmt: skip
    if "response" not in fields:
        fields.pop("reasoning", None)
    read = {*fields.values(), *(ALPACA if "rows" in options else ())}
    unread = tuple(name for name in first if name not in read)
    return Columns(fields, *_task(str(answer), options, fields), unread)


def _task(answer: str, options: dict[str, str], fields: dict[str, str]) -> tuple[str, dict, str]:
    """Returns task, options and prompt template: a number is the reply's last one, any other answer is boxed."""
    if "answer" not in fields:
        return "", options, "{prompt}"
    if "answer_after" in options:
        return "gsm8k", options, "{prompt}"
    if NUMBER.fullmatch(answer.strip()):
        return "last_number", options, "{prompt}"
    # The data themselves show what a reply looks like.
    bare = "messages" in fields or "response" in fields
    return "math", options, "{prompt}" if bare else BOXED


def _first_row(path: str) -> dict[str, Any]:
    config, bad = DatasetConfig(path=path, fields={}), ""
    for row in read_files(config):
        if row.problem is None:
            return row.columns
        bad = bad or f"the first bad one is {row.where}: {row.problem}"
    raise ConfigError(f"--data {path}: no row can be read; {bad or 'it has none'}.")


def _unknown(path: str, row: dict[str, Any], what: str, names: tuple[str, ...]) -> str:
    return (
        f"--data {path}: no column is known as the {what} (one of {', '.join(names)}); there are "
        f"{', '.join(map(str, row))}. Rename one, or write the recipe by hand (docs/adding_data.md)."
    )
