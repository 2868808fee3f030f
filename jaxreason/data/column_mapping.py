"""Turns a row into the parts of an Example: field map, prompt template, and reasons to drop the row."""

import json
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.config import nearest
from jaxreason.data.given_messages import first_user, given_messages, unread
from jaxreason.data.rows import FIELDS, DatasetConfig, RowError, SourceRow, is_missing
from jaxreason.errors import UserError

_CONVERSATION = ("prompt", "system", "response", "reasoning")
# Of a conversation. No model reads as many, and its tokens would take gigabytes before they could be counted.
MOST_CHARACTERS = 10**7
_MOST_LEVELS = 200  # Lists and objects within each other. Some more would end Python's recursion.


def check_columns(config: DatasetConfig) -> None:
    """Refuses field maps, templates and shared options that cannot work, before anything is read.

    Raises:
      ValueError: the message names the field of the config.
    """
    for name in config.fields:
        if name not in FIELDS:
            raise UserError(
                f"{config.label}: fields.{name}: no such field; valid: {', '.join(FIELDS)}"
                f"{nearest(name, FIELDS)}"
            )
    if "messages" in config.fields:
        both = [name for name in _CONVERSATION if name in config.fields]
        if both or config.prompt_template != "{prompt}":
            extra = ", ".join(both) or "prompt_template"
            raise UserError(
                f"{config.label}: fields.messages already holds what {extra} would say."
            )
    elif "prompt" not in config.fields:
        raise UserError(f"{config.label}: fields must map prompt (or messages) to a column.")
    if "reasoning" in config.fields and "response" not in config.fields:
        raise UserError(f"{config.label}: fields.reasoning needs fields.response.")
    _template_columns(config)
    _check_kept_columns(config)
    _check_shared_options(config)


def _check_kept_columns(config: DatasetConfig) -> None:
    """Refuses columns whose place in the metadata is taken by what every example has there."""
    prompt = config.fields.get("prompt")
    for field, names in (
        ("metadata", config.metadata),
        ("options.group_by", group_columns(config)),
    ):
        if "where" in names:
            raise UserError(
                f"{config.label}: {field}: 'where' is the name of a row's file and number; rename the column."
            )
        if "question" in names and prompt != "question":
            instead = prompt and (
                f"; set fields.prompt to 'question' and write {{{prompt}}} for {{prompt}} in prompt_template"
            )
            raise UserError(
                f"{config.label}: {field}: 'question' is the name of the prompt before its template, which is in "
                f"{prompt or config.fields['messages']!r}{instead or '; rename the column'}."
            )


def _check_shared_options(config: DatasetConfig) -> None:
    options = config.options
    if ("part" in options) != ("test_one_in" in options):
        raise UserError(f"{config.label}: options.part and options.test_one_in go together.")
    if options.get("part", "train") not in ("train", "test"):
        raise UserError(
            f"{config.label}: options.part: expected 'train' or 'test', got {options['part']!r}."
        )
    one_in = options.get("test_one_in", 2)
    if type(one_in) is not int or one_in < 2:
        raise UserError(
            f"{config.label}: options.test_one_in must be a whole number of at least 2, got {one_in!r}."
        )
    if options.get("distinct", 0) not in (0, 1):
        raise UserError(
            f"{config.label}: options.distinct: expected 0 or 1, got {options['distinct']!r}."
        )
    for option, field in (("answer_after", "answer"), ("response_remove", "response")):
        if option in options and field not in config.fields:
            raise UserError(f"{config.label}: options.{option} needs fields.{field}.")
    if options.get("answer_after") == "":
        raise UserError(f"{config.label}: options.answer_after: expected a text, got ''.")
    try:
        re.compile(str(options.get("response_remove", "")))
    except re.error as error:
        raise UserError(f"{config.label}: options.response_remove: {error}.") from error


def _template_columns(config: DatasetConfig) -> list[str]:
    """Returns the columns named by the template."""
    try:
        parsed = list(string.Formatter().parse(config.prompt_template))
    except ValueError as error:
        raise UserError(
            f"{config.label}: prompt_template: {error}; double literal braces."
        ) from error
    names = [re.split(r"[.\[]", name)[0] for _, name, _, _ in parsed if name is not None]
    if not all(name and not name.isdigit() for name in names):
        raise UserError(
            f"{config.label}: prompt_template: a field needs a name; literal braces are doubled."
        )
    if not names:
        raise UserError(
            f"{config.label}: prompt_template={config.prompt_template!r} asks the same of every row: expected "
            "{prompt}, or a column, in it."
        )
    return [name for name in names if name != "prompt"]


def group_columns(config: DatasetConfig) -> list[str]:
    """Returns the columns whose equal rows `options.group_by` keeps together; examples have them in their metadata."""
    return [
        name.strip() for name in str(config.options.get("group_by", "")).split(",") if name.strip()
    ]


def group_of(config: DatasetConfig, columns: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the texts of a row's group columns; () without such columns, or if the row has nothing in one of them."""
    texts = [
        "" if is_missing(value) else str(value) for value in map(columns.get, group_columns(config))
    ]
    return tuple(texts) if all(text.strip() for text in texts) else ()


class ColumnCheck:
    """Records which of a config's columns were seen in each file."""

    def __init__(self, config: DatasetConfig):
        self._config = config
        self._needed = {
            **{column: f"fields.{name}" for name, column in config.fields.items()},
            **dict.fromkeys(config.metadata, "metadata"),
            **dict.fromkeys(_template_columns(config), "prompt_template"),
            **dict.fromkeys(group_columns(config), "options.group_by"),
        }
        self._seen: dict[str, Counter] = {}

    def see(self, row: SourceRow) -> None:
        """Records the columns of a readable row."""
        self._seen.setdefault(row.file, Counter()).update(row.columns.keys())

    def finish(self) -> None:
        """Refuses a column that no row of a file has.

        Raises:
          ValueError: with the file, the columns that it has, and the nearest name.
        """
        for file, seen in self._seen.items():
            for column, user in self._needed.items():
                if column not in seen:
                    raise UserError(
                        f"{file}: no row has the column {column!r} ({user}); columns: "
                        f"{', '.join(map(str, seen))}{nearest(column, seen)}{_header_hint(file)}"
                    )


def _header_hint(file: str) -> str:
    hint = " (Where the file has no header, options.columns names its columns.)"
    return hint if file.endswith((".csv", ".tsv")) else ""


def build(config: DatasetConfig, row: SourceRow) -> dict[str, Any]:
    """Returns the parts of an Example: `id`, `messages`, `answer`, `metadata`; and `group`, for `group_by`.

    Metadata has the chosen columns, `question` (the prompt before the template, or the first user message) and `where`
    (file and row number). `unread` names the fields of messages that are left out.

    Raises:
      RowError: the row cannot be used.
    """
    if row.problem is not None:
        raise row.problem
    _check_text(row.columns)
    columns, fields = row.columns, config.fields
    messages = (
        given_messages(row, config.fields["messages"])
        if "messages" in fields
        else _made_messages(row, config)
    )
    _check_length(messages)
    question = _required_text(row, fields["prompt"]) if "prompt" in fields else first_user(messages)
    return {
        "id": _required_text(row, fields["id"]) if "id" in fields else _made_id(row),
        "messages": messages,
        "answer": _answer(row, config),
        "metadata": {name: columns.get(name) for name in (*config.metadata, *group_columns(config))}
        | {"question": question, "where": row.where},
        "group": group_of(config, columns) or row.where,
        "unread": unread(row, fields.get("messages")),
    }


def _check_length(messages: Sequence[dict[str, str]]) -> None:
    characters = sum(len(text) for message in messages for text in message.values())
    if characters > MOST_CHARACTERS:
        raise RowError("too long", f"{characters:,} characters, at most {MOST_CHARACTERS:,}")


def _made_id(row: SourceRow) -> str:
    return f"{row.file.rsplit('/', 1)[-1]}:{row.number}"


def _check_text(value: Any, levels: int = _MOST_LEVELS) -> None:
    """Refuses text from bytes that are not UTF-8 (or text with half a surrogate pair), and values nested too deep."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowError(
                "not UTF-8", ascii(value[max(0, error.start - 20) : error.end + 20])
            ) from None
    elif isinstance(value, dict | list):
        if levels == 0:
            raise RowError("too deep", f"values within more than {_MOST_LEVELS} others")
        for item in value if isinstance(value, list) else [*value.keys(), *value.values()]:
            _check_text(item, levels - 1)


def _required_text(row: SourceRow, column: str) -> str:
    """Returns the column as text: of a list with one item the item, of a longer one all items joined by ", ".

    Nulls in a list are left out.

    Raises:
      RowError: it is absent, null or blank.
    """
    value = row.columns.get(column)
    if is_missing(value):
        raise RowError(
            "missing field", f"{column!r} is {'null' if column in row.columns else 'absent'}"
        )
    text = _text(value)
    if not text.strip():
        raise RowError("empty", f"{column!r}")
    return text


def _text(value: Any) -> str:
    if isinstance(value, list):
        # A list of nulls within a list leaves nothing either.
        texts = [(item, _text(item)) for item in value if not is_missing(item)]
        return ", ".join(text for item, text in texts if text or not isinstance(item, list))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _optional_text(row: SourceRow, column: str | None) -> str:
    value = row.columns.get(column)
    return "" if is_missing(value) else _text(value)


def _answer(row: SourceRow, config: DatasetConfig) -> str:
    if "answer" not in config.fields:
        return ""
    text, mark = _required_text(row, config.fields["answer"]), config.options.get("answer_after")
    if mark is None:
        return text
    if str(mark) not in text:
        raise RowError("missing field", f"{mark!r} does not occur in {config.fields['answer']!r}")
    answer = text.rpartition(str(mark))[2].strip()
    if not answer:
        raise RowError("empty", "nothing of the answer is left by options.answer_after")
    return answer


def _made_messages(row: SourceRow, config: DatasetConfig) -> tuple[dict[str, str], ...]:
    fields = config.fields
    prompt = _required_text(row, fields["prompt"])
    messages = [{"role": "user", "content": _fill(row, config, prompt)}]
    system = _optional_text(row, fields.get("system"))
    if system.strip():
        messages.insert(0, {"role": "system", "content": system})
    if "response" in fields:
        messages.append(_reply(row, config))
    return tuple(messages)


def _reply(row: SourceRow, config: DatasetConfig) -> dict[str, str]:
    response = _required_text(row, config.fields["response"])
    if "response_remove" in config.options:
        response = re.sub(str(config.options["response_remove"]), "", response)
    if not response.strip():
        raise RowError("empty", "nothing of the response is left by options.response_remove")
    message = {"role": "assistant", "content": response}
    reasoning = _optional_text(row, config.fields.get("reasoning"))
    return message | {"reasoning_content": reasoning} if reasoning.strip() else message


def _fill(row: SourceRow, config: DatasetConfig, prompt: str) -> str:
    columns = {name: "" if is_missing(value) else value for name, value in row.columns.items()}
    try:
        return config.prompt_template.format_map(columns | {"prompt": prompt})
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise RowError("missing field", f"prompt_template: {error!r}") from error
