"""HumanEval and MBPP: problems whose tests are assertions that call the program.

The assertions run in a jail of their own (`jail_checker`), the program in another. Whenever an
assertion needs a value of the program's, this process passes the question from the one to the other
and the answer back; the verdict comes from the jail in which the program is not.
"""

import ast
import builtins
import json
import time
from typing import Any

from jaxreason.data.examples import Example, question
from jaxreason.errors import UserError
from jaxreason.tasks.code import LIMITS, MOST_TIMEOUTS, Runs, find_code, scores_of
from jaxreason.tasks.isolation import isolation_in_use
from jaxreason.tasks.sandbox import Jail, JailError, Limits, Outcome

CHECK_S = 60.0  # for all assertions of a problem, with the calls they make
_ENDS_COMPLETION = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\n```")


def extract_humaneval(example: Example, text: str) -> str | None:
    """The whole program: a fenced block that defines the function, or the prompt with its completion.

    A block that does not define it, and a reply that begins with an indented line, continue the prompt.
    """
    function, prompt = _metadata(example, "function"), question(example)
    code = find_code(text, defines=function)
    if code is None:
        first = text.lstrip("\n")
        if not first.startswith((" ", "\t")):
            return None
        ends = [first.find(mark) for mark in _ENDS_COMPLETION if mark in first]
        return prompt + first[: min(ends, default=len(first))]
    if f"def {function}" in code:
        return _imports(prompt) + code
    return prompt + code


def _imports(prompt: str) -> str:
    """The imports and definitions of the prompt before its function: replies often leave them out."""
    try:
        body = ast.parse(prompt).body[:-1]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return "\n".join(ast.unparse(statement) for statement in body) + "\n"


def score_humaneval(example: Example, text: str) -> dict[str, float]:
    """`accuracy`, `tests_passed`, `answered`, `compiles`, `timed_out`; the test counts as one.

    Raises:
      UserError: for an example without its test, or where nothing isolates.
    """
    function, test = _metadata(example, "function"), _metadata(example, "test")
    calls = [] if _calls_check(test) else [f"check({function})"]
    check = {"setup": [question(example)], "parts": ["\n".join([test, *calls])]}
    return _score(extract_humaneval(example, text), check | {"function": function}, "")


def _calls_check(test: str) -> bool:
    """Whether the text already calls `check` after having defined it."""
    return any(
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and getattr(statement.value.func, "id", "") == "check"
        for statement in ast.parse(test).body
    )


def extract_mbpp(example: Example, text: str) -> str | None:
    """The program of the reply without its thoughts, or None."""
    return find_code(text, defines=_called_name(_metadata(example, "assertions")))


def score_mbpp(example: Example, text: str) -> dict[str, float]:
    """The metrics of `score_humaneval`; each assertion counts as a test.

    Raises:
      UserError: for an example without assertions, or where nothing isolates.
    """
    assertions = _metadata(example, "assertions")
    imports = example.metadata.get("imports") or ""
    setup = example.metadata.get("setup") or ""
    known = set(dir(builtins)) | _imported(imports)
    parts = [_asking(assertion, known) for assertion in assertions]
    check = {"setup": [imports], "parts": parts, "function": ""}
    return _score(extract_mbpp(example, text), check, f"{imports}\n{setup}")


def _metadata(example: Example, name: str) -> Any:
    value = example.metadata.get(name)
    if not value:
        raise UserError(
            f"example {example.id!r}: metadata has no {name}: there is nothing to test."
        )
    return value


def _imported(code: str) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(code)) if hasattr(node, "names")]
    return {(alias.asname or alias.name).split(".")[0] for node in nodes for alias in node.names}


class _Ask(ast.NodeTransformer):
    """Replaces the outermost calls of names that are not known by questions to the program."""

    def __init__(self, known: set[str]):
        self.known, self.first = known, ""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Questions are texts, so that the program alone makes sense of what stands in them."""
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name is None or name in self.known:
            return self.generic_visit(node)
        self.first = self.first or name
        asked = ast.keyword("expression", ast.Constant(ast.unparse(node)))
        return ast.Call(ast.Name("ask", ast.Load()), [], [asked])


def _asking(assertion: str, known: set[str]) -> str:
    tree = _Ask(known).visit(ast.parse(assertion))
    return ast.unparse(ast.fix_missing_locations(tree))


def _called_name(assertions: list[str]) -> str:
    """The function that the first assertion is about, or ""."""
    ask = _Ask(set(dir(builtins)))
    ask.visit(ast.parse(assertions[0]))
    return ask.first


def _score(code: str | None, check: dict[str, Any], setup: str) -> dict[str, float]:
    failed = [False] * len(check["parts"])
    if code is None:
        return scores_of(failed, answered=False, compiles=False)
    with Runs(LIMITS) as runs:
        if not runs.compiles(code):
            return scores_of(failed, compiles=False)
        passed = _converse(runs, code, check, setup)
        return scores_of(passed or failed, timed_out=passed is None)


def _converse(runs: Runs, code: str, check: dict[str, Any], setup: str) -> list[bool] | None:
    """The parts that held; None if that took too long or the jail of the assertions was lost."""
    deadline = time.monotonic() + CHECK_S
    message: dict[str, Any] = check | {"kind": "check", "seconds": CHECK_S}
    with Jail(isolation_in_use(), Limits(seconds=CHECK_S)) as checker:
        while runs.timeouts < MOST_TIMEOUTS:
            try:
                told = checker.exchange(message, deadline - time.monotonic())
            except JailError:
                return None
            if "broken" in told:
                raise UserError(f"the test itself cannot be run: {told['broken']}")
            if "passed" in told:
                return told["passed"]
            message = _reply(runs.run(_request(told, code, setup)))
    return None


def _request(asked: dict[str, Any], code: str, setup: str) -> dict[str, Any]:
    if "expression" in asked:
        return {"kind": "eval", "code": code, "setup": setup, "expression": asked["expression"]}
    call = {"function": asked["function"], "arguments": asked["arguments"]}
    return {"kind": "call", "code": code} | call


def _reply(outcome: Outcome) -> dict[str, Any]:
    """The value as it came, or what went wrong. The checker takes it apart, in its jail."""
    try:
        told = json.loads(outcome.output) if outcome.ended == "finished" else {}
        return {"value": told["value"]}
    except Exception:  # a program may have made anything of it
        return {"error": outcome.ended}
