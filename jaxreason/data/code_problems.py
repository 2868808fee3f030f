"""Conversions of programming problems: LiveCodeBench, HumanEval, MBPP."""

import ast
import json
from collections.abc import Iterable, Iterator
from typing import Any

from jaxreason.data.code_tests import FUNCTION, all_tests
from jaxreason.data.flat_rows import Columns, each, text_of
from jaxreason.data.rows import RowError, SourceRow

# The instruction depends on the kind of problem, so it is a column. In the study it is one sentence, directly before
# the problem and without a space; a function problem shows neither its name nor its starter code.
_STUDY = {
    "stdin": "Write an executable Python function for the task that follows. It takes its input from "
    "stdin and prints the output. After its definition, call it.",
    "function": "Write an executable Python function for the task that follows. The final solution is "
    "the function alone, without a call of it.",
}
_BLOCK = "You may think first. End with the whole {what} in one block that begins with ```python."
_INSTRUCTIONS = {
    "stdin": "Write a Python program that reads the input from standard input and prints the answer to "
    "standard output. " + _BLOCK.format(what="program"),
    "function": "Write the method of this Python class. " + _BLOCK.format(what="class"),
}


def livecodebench(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Converts LiveCodeBench: one row per problem, with its tests checked and kept packed.

    Columns: `id`, `prompt` (the problem), `title`, `kind` ("stdin" or "function"), `function` (the method of `Solution`
    that is called, or ""), `instruction` (what to write, after the starter code if there is any), `study_instruction`
    (the study's instruction), `tests` ({"public", "private"} for `code_tests.all_tests`; unpacked they would have
    gigabytes), `num_tests`, `platform`, `difficulty`, `contest_date`.

    Its release_v2, which the study uses, is the hub's files test.jsonl and test2.jsonl: 511 problems.
    """
    return each(rows, _livecodebench)


def _livecodebench(columns: Columns) -> Columns:
    tests = {
        "public": _text_or_none(columns, "public_test_cases"),
        "private": _text_or_none(columns, "private_test_cases"),
    }
    found = all_tests(tests)
    is_function = found[0]["testtype"] == FUNCTION
    kind = "function" if is_function else "stdin"
    return {
        "id": text_of(columns, "question_id"),
        "prompt": text_of(columns, "question_content"),
        "title": _text_or_none(columns, "question_title") or "",
        "kind": kind,
        "function": _function_name(columns) if is_function else "",
        "instruction": _starter(columns) + _INSTRUCTIONS[kind],
        "study_instruction": _STUDY[kind],
        "tests": tests,
        "num_tests": len(found),
        **{
            name: _text_or_none(columns, name) or ""
            for name in ("platform", "difficulty", "contest_date")
        },
    }


def _starter(columns: Columns) -> str:
    code = (_text_or_none(columns, "starter_code") or "").rstrip()
    return f"```python\n{code}\n```\n\n" if code else ""


def _function_name(columns: Columns) -> str:
    metadata = columns.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError):
            metadata = None
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name.isidentifier():
        raise RowError("missing field", "metadata.func_name, which a function problem needs")
    return name


def humaneval(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Converts HumanEval: one row per function to complete.

    Columns: `id`, `prompt` (the code to continue), `begun` (without newlines at its end), `function`, `test` (the text
    that defines `check`), `solution`. If `entry_point` is missing, the last function that the prompt defines is used.
    """
    return each(rows, _humaneval)


def _humaneval(columns: Columns) -> Columns:
    prompt, test = text_of(columns, "prompt"), text_of(columns, "test")
    function = _text_or_none(columns, "entry_point") or _last_function(prompt)
    return {
        "id": text_of(columns, "task_id"),
        "prompt": prompt,
        "begun": prompt.rstrip("\n"),
        "function": function,
        "test": test,
        "solution": _text_or_none(columns, "canonical_solution") or "",
    }


def _last_function(code: str) -> str:
    try:
        names = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RowError("unreadable code", f"'prompt': {error}"[:200]) from None
    if not names:
        raise RowError("missing field", "entry_point, and the prompt defines no function")
    return names[-1]


def mbpp(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Converts MBPP, full or sanitized: one row per function to write.

    Columns: `id`, `prompt` (the sentence), `assertions` (a list of texts), `shown` (the same as lines), `imports` and
    `setup` (code that the assertions need), `solution`.
    """
    return each(rows, _mbpp)


def _mbpp(columns: Columns) -> Columns:
    assertions = _texts(columns, "test_list")
    if not assertions:
        raise RowError("no tests", "'test_list' is empty")
    return {
        "id": text_of(columns, "task_id"),
        "prompt": text_of(columns, "text" if columns.get("text") else "prompt"),
        "assertions": assertions,
        "shown": "\n".join(assertions),
        "imports": "\n".join(_texts(columns, "test_imports")),
        "setup": _text_or_none(columns, "test_setup_code") or "",
        "solution": _text_or_none(columns, "code") or "",
    }


def _texts(columns: Columns, name: str) -> list[str]:
    value: Any = columns.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RowError("wrong type", f"{name!r}: expected a list of texts")
    return value


def _text_or_none(columns: Columns, name: str) -> str | None:
    value = columns.get(name)
    if value is not None and not isinstance(value, str):
        raise RowError("wrong type", f"{name!r}: expected text, got {type(value).__name__}")
    return value
