"""TASKS: what each kind of question asks for and how a reply to it is scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import hash_answer, ifeval, last_number, math, mc_taco, multiple_choice

Scores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
      kind: "generate" (a reply is sampled) or "choose" (the likelier of given continuations).
      primary: the metric that stands for the task.
      score: (example, text) -> metrics of this sample; for "choose" the second argument is the
        sequence of the log-likelihoods of `choices(example)`, in nats.
      extract: (example, the same) -> the answer found in it, or None.
      choices: example -> the continuations, for "choose"; None for "generate".
      worker_setup: what a worker of a VerifierPool calls once before its first reply of this task,
        so that heavy imports take none of a reply's time; None if there is nothing to load.
      summarize: (examples, their scores) -> the metrics of the whole set, where these are no plain
        means of the scores; None where they are.
      packages: distributions whose versions a grade depends on.
    """

    kind: Literal["generate", "choose"]
    primary: str
    score: Callable[[Example, Any], Scores]
    extract: Callable[[Example, Any], str | None]
    choices: Callable[[Example], tuple[str, ...]] | None = None
    worker_setup: Callable[[], None] | None = None
    summarize: Callable[[Sequence[Example], Sequence[Scores]], Scores] | None = None
    packages: tuple[str, ...] = ()


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
    "last_number": Task("generate", "accuracy", last_number.score, last_number.extract),
    "multiple_choice": Task("generate", "accuracy", multiple_choice.score, multiple_choice.extract),
    "mc_taco": Task(
        "choose",
        "accuracy",
        mc_taco.score,
        mc_taco.extract,
        choices=mc_taco.choices,
        summarize=mc_taco.summarize,
    ),
    "ifeval": Task(
        "generate",
        "instruction_strict",
        ifeval.score,
        ifeval.extract,
        worker_setup=ifeval.load_libraries,
        summarize=ifeval.summarize,
    ),
    "hash_answer": Task("generate", "accuracy", hash_answer.score, hash_answer.extract),
}


def find_task(name: str, tasks: Mapping[str, Task] = TASKS) -> Task:
    """The entry of that name. Raises ValueError for an unknown one."""
    if name not in tasks:
        raise UserError(f"task {name!r} is unknown; there are {', '.join(tasks)}.")
    return tasks[name]


def summarize(task: Task, examples: Sequence[Example], scores: Sequence[Scores]) -> Scores:
    """The metrics of a whole set: the task's own, or the mean of each score.

    Raises:
      ValueError: for an empty set.
    """
    if not scores:
        raise UserError("there is nothing to summarize: no scored samples.")
    if task.summarize is not None:
        return task.summarize(examples, scores)
    return {name: sum(row[name] for row in scores) / len(scores) for name in scores[0]}
