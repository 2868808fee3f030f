"""LiveCodeBench as the study's code grades it, including its mistakes.

Differences from `code`, and their effects on a score:
- The last fenced block of the whole text is taken, thoughts included. Without a closed block there is no answer, so a
  reply that was cut off in its block, or whose program has no fence, counts as unanswered.
- In a function problem the function is not called by its name, and its starter code is not shown. The word before the
  first bracket of the program is called instead. `class Solution` always fails (its method is not a global name), and
  so does a program with a helper, a comment or an import before the function that contains a bracket.
- Arguments are read line by line and guessed from their spelling: `true`, `null` and negative text stay texts, a text
  loses its quotes but keeps its escapes, and a line with "=" is cut at its commas.
- Nothing is imported beforehand: `List` in a signature without its import fails.
- A program with a guard `if __name__ == "__main__"` runs it only if it is written with double quotes; otherwise nothing
  is printed. `exit()`, or input by `sys.stdin.buffer`, fails.
- Output is compared as one text, with its ends stripped: trailing spaces inside, `1.0` for `1` and a different last
  digit fail. A final "-" is removed from the expected text. A returned tuple is not a list.
- The first test that fails ends the grading. (Here a test has 6 s. The harness gives all tests together 7 s each and 5
  more, so there one slow test may borrow time from the others.)
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
    """Returns the content of the last closed fence of the text, or None."""
    blocks = re.findall(r"```(?:[a-zA-Z]*)\n(.*?)```", text, re.DOTALL)
    return blocks[-1].split("</code>")[0].replace("<code>", "") if blocks else None


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy` and `answered`. Raises UserError for an example without tests."""
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
