"""TASKS: what each kind of question asks for, and how a reply to it is scored.

`grader_version` hashes everything that a grader consists of. By this hash grades are kept or made again.
"""

import ast
import functools
import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.results.code_version import package_version
from jaxreason.results.grade_files import BALANCED
from jaxreason.tasks import (
    code,
    code_asserts,
    code_paper,
    coqa,
    halueval,
    hash_answer,
    headqa,
    hendrycks,
    ifeval,
    last_number,
    math,
    mc_taco,
    multiple_choice,
    paper_letters,
    yes_no,
)

Scores = dict[str, float]
BALANCED_ACCURACY = {"balanced_accuracy": BALANCED}


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
      kind: "generate" (a reply is sampled) or "choose" (the most likely of given continuations).
      primary: the metric that stands for the task.
      score: (example, text) -> metrics of this sample; for "choose", (example, the log-likelihoods of its choices in
        order).
      extract: (example, text or log-likelihoods) -> the answer found, or None.
      choices: example -> the continuations, for "choose"; None for "generate".
      worker_setup: a function that a worker of a VerifierPool calls once before its first reply of this task, so that
        heavy imports take none of a reply's time; None if there is nothing to load.
      summarize: (examples, their scores) -> the metrics of the whole set, if these are not plain means of the scores;
        None if they are.
      packages: distributions whose versions a grade depends on.
      weights: metric -> the metric that weighs each sample in its mean, or BALANCED; all other metrics have plain
        means.
      timeout_s: seconds that a reply of this task may take in a worker, if that is more than the pool allows; None if
        the pool's time is enough.
      runs_code: whether the grader runs code that the model wrote, which requires an isolation.
    """

    kind: Literal["generate", "choose"]
    primary: str
    score: Callable[[Example, Any], Scores]
    extract: Callable[[Example, Any], str | None]
    choices: Callable[[Example], tuple[str, ...]] | None = None
    worker_setup: Callable[[], None] | None = None
    summarize: Callable[[Sequence[Example], Sequence[Scores]], Scores] | None = None
    packages: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    runs_code: bool = False


TASKS: dict[str, Task] = {
    "math": Task(
        "generate",
        "accuracy",
        math.score,
        math.extract,
        worker_setup=math.load_libraries,
        packages=("math-verify", "sympy"),
    ),
    "gsm8k": Task("generate", "accuracy", last_number.score_gsm8k, last_number.extract_gsm8k),
    "math_strict": Task(
        "generate",
        "accuracy",
        math.score_strict,
        math.extract,
        worker_setup=math.load_libraries,
        packages=("math-verify", "sympy"),
    ),
    "math_paper": Task("generate", "accuracy", hendrycks.score, hendrycks.extract),
    "olympiad_paper": Task(
        "generate", "accuracy", hendrycks.score_olympiad, hendrycks.extract_olympiad
    ),
    "last_number": Task("generate", "accuracy", last_number.score, last_number.extract),
    "gsm8k_strict": Task(
        "generate", "accuracy", last_number.score_gsm8k_strict, last_number.extract_gsm8k
    ),
    "last_number_strict": Task(
        "generate", "accuracy", last_number.score_strict, last_number.extract
    ),
    "multiple_choice": Task("generate", "accuracy", multiple_choice.score, multiple_choice.extract),
    "gpqa_paper": Task(
        "generate", "accuracy", paper_letters.score_gpqa, paper_letters.extract_gpqa
    ),
    "acpbench_paper": Task(
        "generate", "accuracy", paper_letters.score_acpbench, paper_letters.extract_acpbench
    ),
    "mc_taco": Task(
        "choose",
        "balanced_accuracy",
        mc_taco.score,
        mc_taco.extract,
        choices=mc_taco.choices,
        summarize=mc_taco.summarize,
        weights=BALANCED_ACCURACY,
    ),
    "mc_taco_paper": Task(
        "choose", "accuracy", mc_taco.score_paper, mc_taco.extract, choices=mc_taco.choices
    ),
    "headqa": Task("choose", "accuracy", headqa.score, headqa.extract, choices=headqa.choices),
    "coqa": Task("generate", "f1", coqa.score, coqa.extract),
    "coqa_paper": Task("generate", "em", coqa.score_paper, coqa.extract_paper),
    "halueval": Task(
        "generate",
        "balanced_accuracy",
        halueval.score,
        halueval.extract,
        summarize=yes_no.summarize,
        weights=BALANCED_ACCURACY,
    ),
    "halueval_paper": Task(
        "generate",
        "accuracy",
        halueval.score_paper,
        halueval.extract_paper,
        summarize=yes_no.summarize,
        weights=BALANCED_ACCURACY,
    ),
    "ifeval_paper": Task(
        "generate",
        "instruction_strict",
        ifeval.score_paper,
        ifeval.extract_paper,
        worker_setup=ifeval.load_libraries,
        summarize=ifeval.summarize,
        packages=("langdetect",),
        weights=ifeval.WEIGHTS,
    ),
    "ifeval": Task(
        "generate",
        "instruction_strict",
        ifeval.score,
        ifeval.extract,
        worker_setup=ifeval.load_libraries,
        summarize=ifeval.summarize,
        packages=("langdetect",),
        weights=ifeval.WEIGHTS,
    ),
    **{
        name: Task(
            "generate",
            "accuracy",
            score,
            extract,
            worker_setup=code.prepare,
            timeout_s=code.TIMEOUT_S,
            runs_code=True,
        )
        for name, score, extract in (
            ("code", code.score, code.extract),
            ("code_paper", code_paper.score, code_paper.extract),
            ("humaneval", code_asserts.score_humaneval, code_asserts.extract_humaneval),
            ("mbpp", code_asserts.score_mbpp, code_asserts.extract_mbpp),
        )
    },
    "hash_answer": Task("generate", "accuracy", hash_answer.score, hash_answer.extract),
}


def find_task(name: str, tasks: Mapping[str, Task] = TASKS) -> Task:
    """Returns the task of that name. Raises ValueError for an unknown one."""
    if name not in tasks:
        raise UserError(f"task {name!r} is unknown; there are {', '.join(tasks)}.")
    return tasks[name]


def strict_task(name: str, tasks: Mapping[str, Task] = TASKS) -> str:
    """Returns the name of the task that asks the same but only accepts an answer that is written out, for rewards."""
    return f"{name}_strict" if f"{name}_strict" in tasks else name


def summarize(task: Task, examples: Sequence[Example], scores: Sequence[Scores]) -> Scores:
    """Returns the metrics of a whole set: the task's own, or the mean of each score.

    A sample that could not be graded has no scores and is left out.

    Raises:
      UserError: no sample has scores.
    """
    graded = [(example, row) for example, row in zip(examples, scores, strict=True) if row]
    if not graded:
        raise UserError("there is nothing to summarize: no scored samples.")
    rows = [row for _, row in graded]
    if task.summarize is not None:
        return task.summarize([example for example, _ in graded], rows)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


TASKS_PACKAGE = "jaxreason.tasks"


def grader_version(task: Task) -> str:
    """Returns a hash of a task's grader.

    It covers the grader's source, the modules of `jaxreason.tasks` that it uses, and the versions of its `packages`.
    """
    waiting, seen = [task.score.__module__], {}
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name] = _source(name)
            waiting += used_modules(seen[name])
    versions = [f"{name} {package_version(name)}" for name in task.packages]
    digest = hashlib.sha256()
    for part in [seen[name] for name in sorted(seen)] + versions:
        digest.update(part.encode(errors="surrogatepass"))
    return digest.hexdigest()


def _source(module: str) -> str:
    try:
        return inspect.getsource(importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"a task's grader is in the module {module!r}, which the processes that grade cannot import. Expected a "
            "file of jaxreason/tasks/ or of an installed package; a recipe cannot hold it (docs/adding_benchmarks.md)."
        ) from error


@functools.cache  # Needed for every grade file; parsing all sources takes 60 ms.
def used_modules(source: str) -> tuple[str, ...]:
    """Returns the modules of `jaxreason.tasks` that a source imports, or imports from."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == TASKS_PACKAGE:
            found += [f"{TASKS_PACKAGE}.{name.name}" for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    return tuple(name for name in found if name.startswith(f"{TASKS_PACKAGE}."))
