"""HumanEval and MBPP: problems whose tests are assertions that call the program.

The assertions run in a jail of their own (`jail_checker`), the program in another one. When an assertion needs a value
of the program, this process passes the question from the first jail to the second and the answer back. The verdict thus
comes from a jail that does not contain the program.
"""

import ast
import builtins
import json
import re
import time
from typing import Any

from jaxreason.data.examples import Example, question
from jaxreason.errors import UserError
from jaxreason.tasks.code import LIMITS, MOST_TIMEOUTS, Runs, scores_of
from jaxreason.tasks.code_extraction import find_code, parsed
from jaxreason.tasks.isolation import isolation_in_use
from jaxreason.tasks.reply_text import strip_thinking
from jaxreason.tasks.sandbox import Jail, JailError, Limits, Outcome

CHECK_S = 60.0  # For all assertions of a problem, including their calls.
# A return that can only belong to the prompt's function: not indented, or in a text that defines no function.
_RETURNS = re.compile(r"^return\b|\A(?!(?s:.)*\bdef\s)(?s:.)*\n[ \t]+return\b", re.MULTILINE)
# It must be a program's first line.
_FUTURE = re.compile(r"^from __future__ import [^\n(]*\n", re.MULTILINE)
_ENDS_COMPLETION = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\n```")


def extract_humaneval(example: Example, text: str) -> str | None:
    """Returns the whole program: a fenced block that defines the function, or the prompt with its completion.

    A block that does not define it, or a reply that begins with an indented line, continues the prompt.
    """
    function, prompt = _metadata(example, "function"), question(example)
    code = find_code(text, defines=function)
    if code is None:
        first = strip_thinking(text).lstrip("\n")
        if not first.startswith((" ", "\t", "return ")):
            return None
        ends = [first.find(mark) for mark in _ENDS_COMPLETION if mark in first]
        return prompt + _indented(first[: min(ends, default=len(first))])
    if f"def {function}" in code:
        future = "".join(_FUTURE.findall(code))
        return future + _imports(prompt) + _FUTURE.sub("", code)
    return prompt + _indented(code)


def _indented(body: str) -> str:
    """Returns a function's body with the indentation that it needs, if it, or only its first line, has lost it."""
    if body.startswith((" ", "\t", "\n")) or not _RETURNS.search(body):
        return body
    first = f"    {body}"
    tree = parsed(f"def f():\n{first}")
    if tree is not None and len(tree.body) == 1:
        return first
    return re.sub(r"^(?=.)", "    ", body, flags=re.MULTILINE)


def _imports(prompt: str) -> str:
    """Returns the imports and definitions before the prompt's function, since replies often leave them out."""
    try:
        body = ast.parse(prompt).body[:-1]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return "\n".join(ast.unparse(statement) for statement in body) + "\n"


def score_humaneval(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `tests_passed`, `answered`, `compiles` and `timed_out`; the whole test counts as one test.

    Raises:
      UserError: for an example without its test, or if no isolation works.
    """
    function, test = _metadata(example, "function"), _metadata(example, "test")
    calls = [] if _calls_check(test) else [f"check({function})"]
    check = {"setup": [question(example)], "parts": ["\n".join([test, *calls])]}
    return _score(extract_humaneval(example, text), check | {"function": function}, "")


def _calls_check(test: str) -> bool:
    """Returns whether the text calls `check` itself after defining it."""
    return any(
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and getattr(statement.value.func, "id", "") == "check"
        for statement in ast.parse(test).body
    )


def extract_mbpp(example: Example, text: str) -> str | None:
    """Returns the program of the reply without its thoughts, or None."""
    return find_code(text, defines=_called_name(_metadata(example, "assertions")))


def score_mbpp(example: Example, text: str) -> dict[str, float]:
    """Returns the same metrics as `score_humaneval`; each assertion counts as a test.

    Raises:
      UserError: for an example without assertions, or if no isolation works.
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
    """Replaces the outermost calls of unknown names by questions to the program."""

    def __init__(self, known: set[str]):
        self.known, self.first = known, ""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Turns a call into a question. Questions are texts, so only the program's jail evaluates them."""
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
    """Returns the name of the function that the first assertion tests, or ""."""
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
    """Returns which parts held; None if that took too long or the jail of the assertions was lost."""
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
    """Returns the value as it came, or the error. The checker decodes it in its own jail."""
    try:
        told = json.loads(outcome.output) if outcome.ended == "finished" else {}
        return {"value": told["value"]}
    except Exception:  # A program may have tampered with the reply.
        return {"error": outcome.ended}
