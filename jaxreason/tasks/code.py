"""LiveCodeBench: does the program pass every test?

The program is run in a jail (`sandbox`); what it prints or returns is compared here, where the right
answers are and the program is not. Metadata needed: `tests` (`data.code_tests.all_tests`) and
`function`, "" for a program that reads its input.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jaxreason.data.code_tests import CodeTest, all_tests
from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.code_blocks import find_code
from jaxreason.tasks.code_outputs import same_output, same_value
from jaxreason.tasks.isolation import isolation_in_use
from jaxreason.tasks.jail_values import from_plain
from jaxreason.tasks.sandbox import Jail, Limits, Outcome

LIMITS = Limits()  # 6 s a test, as in the study
MOST_TIMEOUTS = 3  # tests that may run out of time before the rest counts as failed
TIMEOUT_S = 900.0  # of a problem: 100 slow tests and their starts


def prepare() -> None:
    """Finds the isolation, so that no item pays for it."""
    isolation_in_use()


def tests_of(example: Example) -> list[CodeTest]:
    """The tests of an example.

    Raises:
      UserError: where there are none, or they cannot be read.
    """
    packed = example.metadata.get("tests")
    if not isinstance(packed, dict):
        raise UserError(
            f"example {example.id!r}: metadata has no tests; got {[*example.metadata]}."
        )
    return all_tests(packed)


def extract(example: Example, text: str) -> str | None:
    """The program of the reply without its thoughts, or None."""
    function = example.metadata.get("function") or ""
    return find_code(text, defines=function)


def score(example: Example, text: str) -> dict[str, float]:
    """`accuracy` (every test passed), `tests_passed` (share), `answered`, `compiles`, `timed_out`.

    Raises:
      UserError: for an example without tests, or where nothing isolates.
    """
    tests, code = tests_of(example), extract(example, text)
    if code is None:
        return scores_of([False] * len(tests), answered=False, compiles=False)
    return measure(code, tests, example.metadata.get("function") or "")


def measure(
    code: str, tests: Sequence[CodeTest], function: str, limits: Limits = LIMITS
) -> dict[str, float]:
    """The metrics of a program. Raises JailError where no jail starts.

    Args:
      code: the program.
      tests: what it is given, and what it should print or return.
      function: what to call, or "" for a program that reads its input.
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
    """The metrics of a list of tests."""
    return {
        "accuracy": float(bool(passed) and all(passed)),
        "tests_passed": sum(passed) / len(passed),
        "answered": float(answered),
        "compiles": float(compiles),
        "timed_out": float(timed_out),
    }


def request_for(code: str, test: CodeTest, function: str) -> dict[str, Any]:
    """What a jail is asked to do for a test: it is given the input, never the output."""
    if function:
        what = {"kind": "call", "function": function, "arguments": test["input"]}
    else:
        what = {"kind": "stdin", "stdin": test["input"]}
    return what | {"code": code, "prelude": True}


def judge_output(test: CodeTest, outcome: Outcome) -> bool:
    """Whether a program ended well and printed what the test expects."""
    if outcome.ended != "finished":
        return False
    return same_output(test["output"], outcome.output.decode("utf-8", errors="replace"))


def judge_value(test: CodeTest, outcome: Outcome) -> bool:
    """Whether a function returned what the test expects, which is JSON."""
    try:
        expected = json.loads(test["output"])
    except ValueError as error:
        raise UserError(f"a test expects {test['output'][:40]!r}, which is no JSON.") from error
    found, value = value_of(outcome)
    try:
        return found and same_value(expected, value)
    except RecursionError:
        return False


def value_of(outcome: Outcome) -> tuple[bool, Any]:
    """Whether a value came back, and the value. What the jail says may be anything."""
    if outcome.ended != "finished":
        return False, None
    try:
        message = json.loads(outcome.output)
        return "value" in message, from_plain(message["value"])
    except Exception:  # a program may have made anything of it
        return False, None


class Runs:
    """A jail that is replaced when it is lost, and a count of what ran out of time.

    A context manager. One jail serves all tests of one program: they share nothing but its start.
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
        """One request. Raises JailError where no jail starts."""
        if self._jail is None:
            self._jail = Jail(isolation_in_use(), self.limits)
        outcome = self._jail.run(request)
        if outcome.ended == "lost":
            self._drop()
        if outcome.ended in ("lost", "timeout"):
            self.timeouts += 1
        return outcome

    def outcomes(self, requests: Iterable[dict[str, Any]]) -> Iterator[Outcome]:
        """One for each request, until MOST_TIMEOUTS of them have run out of time."""
        for request in requests:
            yield self.run(request)
            if self.timeouts >= MOST_TIMEOUTS:
                return

    def compiles(self, code: str) -> bool:
        """Whether Python can read the program; asked in the jail, since reading may take a crash."""
        found, value = value_of(self.run({"kind": "compile", "code": code}))
        return found and value is True
