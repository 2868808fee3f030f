"""LiveCodeBench as the study's code grades it, with its mistakes.

What differs from `code`, and what it does to a score:
- The last fenced block of the whole text is taken, thoughts included; none closed, no answer. A
  reply cut off in its block, or one whose program stands without a fence, counts as unanswered.
- A function problem's function is not called by its name, and its starter code is not shown: the
  word before the first bracket of the program is called. `class Solution` always fails (its method
  is no global name), and so does a program with a helper, a comment or an import before the function
  that has a bracket in it.
- Arguments are read line by line by the look of them: `true`, `null` and negative text stay texts,
  a text loses its quotes but keeps its escapes, and a line with "=" is cut at its commas.
- Nothing is imported beforehand: `List` in a signature without its import fails.
- A program runs with its guard `if __name__ == "__main__"` only where it is spelled with double
  quotes; else nothing is printed. `exit()`, or input by `sys.stdin.buffer`, fails.
- Output is compared as one text, ends stripped: trailing space inside, `1.0` for `1` and a last digit
  fail. A final "-" is taken off what is expected. A returned tuple is no list.
- The first test that fails ends it. (Here a test has 6 s; the harness gives all tests together 7 s each
  and 5 more, so that there one slow test may borrow from the others.)
"""

import json
import re
from typing import Any

from jaxreason.data.code_tests import CodeTest
from jaxreason.data.examples import Example
from jaxreason.tasks.code import LIMITS, Runs, tests_of, value_of
from jaxreason.tasks.jail_values import to_plain
from jaxreason.tasks.sandbox import Outcome


def extract(example: Example, text: str) -> str | None:
    """The content of the last closed fence of the text, or None."""
    blocks = re.findall(r"```(?:[a-zA-Z]*)\n(.*?)```", text, re.DOTALL)
    return blocks[-1].split("</code>")[0].replace("<code>", "") if blocks else None


def score(example: Example, text: str) -> dict[str, float]:
    """`accuracy` and `answered`. Raises UserError for an example without tests."""
    tests, code = tests_of(example), extract(example, text)
    if not code:
        return {"accuracy": 0.0, "answered": 0.0}
    function = _word_before_bracket(code) if example.metadata.get("function") else None
    with Runs(LIMITS) as runs:
        right = all(_passes(runs, code, test, function) for test in tests)
    return {"accuracy": float(right), "answered": 1.0}


def _word_before_bracket(code: str) -> str:
    words = code.split("(")[0].split()
    return words[-1] if words else ""


def _passes(runs: Runs, code: str, test: CodeTest, function: str | None) -> bool:
    if function is None:
        outcome = runs.run({"kind": "stdin", "code": code, "stdin": test["input"], "like": "study"})
        return outcome.ended == "finished" and _printed(outcome) == _expected_text(test["output"])
    arguments = [_argument(line) for line in _lines(test["input"])]
    request = {"kind": "call", "code": code, "function": function, "arguments": to_plain(arguments)}
    found, value = value_of(runs.run(request | {"like": "study"}))
    return found and value == _expected_value(test["output"])


def _printed(outcome: Outcome) -> str:
    return outcome.output.decode("utf-8", errors="replace").strip()


def _expected_text(output: str) -> str:
    output = output.strip()
    return output[:-1].rstrip() if output.endswith("-") else output


def _lines(given: str) -> list[str]:
    if "=" in given:
        parts = given.split(",") if "," in given else [given]
        return [part.split("=")[-1].strip() for part in parts]
    return [line.strip() for line in given.split("\n") if line.strip()]


def _argument(line: str) -> Any:
    if line.startswith('"') and line.endswith('"'):
        return line.strip('"')
    if line.startswith("[") and line.endswith("]"):
        return json.loads(line)
    for kind in (int, float):
        try:
            return kind(line)
        except ValueError:
            continue
    return line


def _expected_value(output: str) -> Any:
    try:
        return json.loads(output.strip())
    except ValueError:
        return output.strip()
