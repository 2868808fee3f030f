"""LiveCodeBench: does the program pass every test?

The program runs in a jail (`sandbox`). Its output or return value is compared here, outside: the right answers are
never where the program is. Metadata needed: `tests` (`data.code_tests.all_tests`) and `function`, which is "" for a
program that reads its input.

Outputs are compared as LiveCodeBench compares them: line by line without surrounding white space, and a line of numbers
by value and not by spelling. One rule is looser. A number that the test writes as a decimal fraction may differ by a
millionth, relative or absolute, as the contests themselves allow; LiveCodeBench requires every digit.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from jaxreason.data.code_tests import CodeTest, all_tests
from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.code_extraction import find_code
from jaxreason.tasks.isolation import isolation_in_use
from jaxreason.tasks.jail_values import from_plain
from jaxreason.tasks.sandbox import Jail, Limits, Outcome

LIMITS = Limits()  # 6 s a test, as in the study.
MOST_TIMEOUTS = 3  # After this many tests that ran out of time, the rest counts as failed.
TIMEOUT_S = 900.0  # For one problem: 100 slow tests and their starts.


def prepare() -> None:
    """Finds the isolation in advance, so that no item pays for it."""
    isolation_in_use()


def tests_of(example: Example) -> list[CodeTest]:
    """Returns the tests of an example.

    Raises:
      UserError: there are none, or they cannot be read.
    """
    packed = example.metadata.get("tests")
    if not isinstance(packed, dict):
        raise UserError(
            f"example {example.id!r}: metadata has no tests; got {[*example.metadata]}."
        )
    return all_tests(packed)


def extract(example: Example, text: str) -> str | None:
    """Returns the program of the reply without its thoughts, or None."""
    function = example.metadata.get("function") or ""
    return find_code(text, defines=function)


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy` (1 if every test passed), `tests_passed` (their share), `answered`, `compiles` and
    `timed_out`.

    Raises:
      UserError: for an example without tests, or if no isolation works.
    """
    tests, code = tests_of(example), extract(example, text)
    if code is None:
        return scores_of([False] * len(tests), answered=False, compiles=False)
    return program_metrics(code, tests, example.metadata.get("function") or "")


def program_metrics(
    code: str, tests: Sequence[CodeTest], function: str, limits: Limits = LIMITS
) -> dict[str, float]:
    """Returns the metrics of a program. Raises JailError if no jail starts.

    Args:
      code: the program.
      tests: inputs, each with what the program should print or return.
      function: the function to call, or "" for a program that reads its input.
      limits: of each test.
    """
    with Runs(limits) as runs:
        if not runs.compiles(code):
            return scores_of([False] * len(tests), compiles=False)
        requests = (request_for(code, test, function) for test in tests)
        judge = judge_value if function else judge_output
        passed = [judge(test, outcome) for test, outcome in zip(tests, runs.outcomes(requests))]
    missing = [False] * (len(tests) - len(passed))
    return scores_of(passed + missing, timed_out=runs.timeouts > 0)


def scores_of(
    passed: list[bool], answered: bool = True, compiles: bool = True, timed_out: bool = False
) -> dict[str, float]:
    """Returns the metrics that follow from the results of all tests."""
    return {
        "accuracy": float(bool(passed) and all(passed)),
        "tests_passed": sum(passed) / len(passed),
        "answered": float(answered),
        "compiles": float(compiles),
        "timed_out": float(timed_out),
    }


def request_for(code: str, test: CodeTest, function: str) -> dict[str, Any]:
    """Returns the request to a jail for one test: it contains the input, never the expected output."""
    if function:
        what = {"kind": "call", "function": function, "arguments": test["input"]}
    else:
        what = {"kind": "stdin", "stdin": test["input"]}
    return what | {"code": code, "prelude": True}


def judge_output(test: CodeTest, outcome: Outcome) -> bool:
    """Returns whether a program ended without an error and printed what the test expects."""
    if outcome.ended != "finished":
        return False
    return same_output(test["output"], outcome.output.decode("utf-8", errors="replace"))


def judge_value(test: CodeTest, outcome: Outcome) -> bool:
    """Returns whether a function returned what the test expects, which is JSON."""
    try:
        expected = json.loads(test["output"])
    except ValueError as error:
        raise UserError(f"a test expects {test['output'][:40]!r}, which is no JSON.") from error
    found, value = value_of(outcome)
    try:
        return found and same_returned(expected, value)
    except RecursionError:
        return False


def value_of(outcome: Outcome) -> tuple[bool, Any]:
    """Returns whether a value came back, and the value. The jail's reply is not trusted: it may be anything."""
    if outcome.ended != "finished":
        return False, None
    try:
        message = json.loads(outcome.output)
        return "value" in message, from_plain(message["value"])
    except Exception:  # A program may have tampered with the reply.
        return False, None


class Runs:
    """A jail that is replaced when it is lost, and a count of the runs that timed out.

    It is a context manager. One jail serves all tests of one program, which share nothing but its start.
    """

    def __init__(self, limits: Limits):
        self.limits, self.timeouts = limits, 0
        self._jail: Jail | None = None

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._jail is not None:
            self._jail.close()
        self._jail = None

    def run(self, request: dict[str, Any]) -> Outcome:
        """Runs one request. Raises JailError if no jail starts."""
        if self._jail is None:
            self._jail = Jail(isolation_in_use(), self.limits)
        outcome = self._jail.run(request)
        if outcome.ended == "lost":
            self._drop()
        if outcome.ended in ("lost", "timeout"):
            self.timeouts += 1
        return outcome

    def outcomes(self, requests: Iterable[dict[str, Any]]) -> Iterator[Outcome]:
        """Yields one outcome for each request, until MOST_TIMEOUTS of them have run out of time."""
        for request in requests:
            yield self.run(request)
            if self.timeouts >= MOST_TIMEOUTS:
                return

    def compiles(self, code: str) -> bool:
        """Returns whether Python can parse the program. This runs in the jail, since parsing may crash Python."""
        found, value = value_of(self.run({"kind": "compile", "code": code}))
        return found and value is True


TOLERANCE = 1e-6


def same_output(expected: str, printed: str) -> bool:
    """Returns whether the printed text equals the expected one."""
    wanted, found = (text.strip().split("\n") for text in (expected, printed))
    return len(wanted) == len(found) and all(map(_same_line, wanted, found))


def _same_line(expected: str, printed: str) -> bool:
    if expected.strip() == printed.strip():
        return True
    wanted, found = expected.split(), printed.split()
    return len(wanted) == len(found) and all(map(_same_number, wanted, found))


def _same_number(expected: str, printed: str) -> bool:
    """Returns whether both are numbers and equal."""
    try:
        wanted, found = Decimal(expected), Decimal(printed)
        if wanted == found or not any(mark in expected for mark in ".eE"):
            return wanted == found
        return abs(wanted - found) <= Decimal(TOLERANCE) * max(1, abs(wanted))
    except (ArithmeticError, ValueError):  # They are not numbers, or practically infinite.
        return False


def same_returned(expected: Any, found: Any) -> bool:
    """Returns whether a returned value equals the expected JSON value; a tuple counts as a list.

    Raises:
      RecursionError: for a value that is nested deeper than Python's stack.
    """
    if isinstance(expected, list):
        return (
            isinstance(found, (list, tuple))
            and len(expected) == len(found)
            and all(map(same_returned, expected, found))
        )
    if isinstance(expected, float) and type(found) in (int, float):
        return expected == found or _close(expected, found)
    return expected == found


def _close(expected: float, found: int | float) -> bool:
    try:
        return abs(expected - found) <= TOLERANCE * max(1, abs(expected))
    except OverflowError:  # An integer with hundreds of digits.
        return False
