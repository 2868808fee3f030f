"""Renders chat templates, as a script in a process of its own, since a template is a program that a stranger wrote.

It reads one JSON object per line (`template`, `calls`, `most`) and answers each with one (`texts`, or `error`). If a
template computes for more than `SECONDS`, the process ends, whatever it is doing and even if nobody waits for it any
more; if it needs more than `MEMORY`, that is an error. The environment is the one that transformers gives a template,
except that its day is always the same.
"""

import datetime
import json
import resource
import signal
import sys
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

SECONDS = 3.0
MEMORY = 2**30  # Bytes of address space.


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks text that an assistant has written; the text is rendered unchanged."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_as_is"), [], [], body).set_lineno(line)

    def _as_is(self, caller: Any) -> str:
        return caller()


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _fixed_date(form: str) -> str:
    """Returns the date that Llama 3 and Mistral print: with today's, prompts would change from day to day."""
    return datetime.datetime(2024, 7, 26).strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    options = {"indent": indent, "separators": separators, "sort_keys": sort_keys}
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _environment() -> jinja2.Environment:
    extensions = [_Generation, jinja2.ext.loopcontrols]
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=extensions
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _fixed_date}
    return environment


def _render(template: jinja2.Template, variables: dict[str, Any], most: int) -> str:
    pieces, length = [], 0
    for piece in template.generate(**variables):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            raise ValueError(f"it writes more than {most} characters")
    return "".join(pieces)


def _answer(environment: jinja2.Environment, compiled: dict, request: dict) -> dict[str, Any]:
    source = request["template"]
    try:
        if source not in compiled:
            compiled[source] = environment.from_string(source)
        calls, most = request["calls"], request["most"]
        return {"texts": [_render(compiled[source], call, most) for call in calls]}
    except MemoryError:
        return {"error": f"it takes more than {MEMORY >> 20} MiB of memory"}
    except Exception as error:  # A template may raise any error.
        return {"error": str(error)[:1000]}


def main() -> None:
    """Answers requests until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    environment, compiled = _environment(), {}
    for line in sys.stdin:
        # Nothing handles the signal, so it ends this process.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answer = json.dumps(_answer(environment, compiled, json.loads(line)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
