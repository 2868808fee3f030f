"""The tiny study's questions as rows of jsonl files: disjoint splits, replies in given styles.

The checksum of a question decides its split, so no stage can see a question of another split, whatever its seed. "test"
questions are only for reports, "development" questions are for choosing the recipe, and the rest are for training.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Annotated

from jaxreason.config import at_least, unclaimed
from jaxreason.errors import UserError
from jaxreason.procedural.question_kinds import PROCEDURAL_TASKS, ProceduralTask

SPLITS: dict[str, frozenset[int]] = {
    "test": frozenset({0}),
    "development": frozenset({1}),
    "train": frozenset(range(2, 8)),
}
GIVE_UP_AFTER = 10_000  # Draws in a row without a new question.


@dataclass(frozen=True)
class ProceduralQuestion:
    """A question of `task` and its answer."""

    question: str
    answer: str
    task: str
    group: str


@unclaimed("its question files are compared row by row")
@dataclass(frozen=True)
class TaskMixture:
    """A task in the base mixture."""

    weight: Annotated[float, at_least(0)]
    """Share within its group (any scale)."""
    styles: dict[str, Annotated[float, at_least(0)]]
    """The share of each style of reply (any scale)."""


@unclaimed("its question files are compared row by row")
@dataclass(frozen=True)
class ProceduralConfig:
    """The questions of the tiny study: kinds, styles and numbers."""

    seed: Annotated[int, at_least(0)]
    """The seed of every file that is made."""
    groups: dict[str, Annotated[float, at_least(0)]]
    """The share of each group in the base mixture (any scale)."""
    tasks: dict[str, TaskMixture]
    """The tasks, with their share of the mixture."""
    base_count: Annotated[int, at_least(0)]
    """Rows of the base mixture, drawn with replacement."""
    twin_tasks: tuple[str, ...]
    """Tasks whose train questions the twins learn from, in equal numbers."""
    twin_count: Annotated[int, at_least(1)]
    """Number of questions in that pool (RL gets the questions alone, SFT gets one reply for each)."""
    twin_style: str
    """The style of SFT's replies."""
    development_count: Annotated[int, at_least(0)]
    """Number of development questions of each task."""
    test_count: Annotated[int, at_least(1)]
    """Number of test questions of each task."""
    fewer: dict[str, Annotated[int, at_least(1)]]
    """The number of development and test questions of tasks that have fewer."""


def check_procedural(config: ProceduralConfig) -> None:
    """Refuses a mixture that cannot be drawn, or a field that would not be read.

    Raises:
      UserError: the message names the field.
    """
    unread = [name for name in config.fewer if name not in config.tasks]
    if unread:
        raise UserError(
            f"procedural.fewer: {', '.join(unread)}: expected some of procedural.tasks "
            f"({', '.join(config.tasks)})."
        )
    if not config.twin_tasks or len(set(config.twin_tasks)) < len(config.twin_tasks):
        raise UserError(
            f"procedural.twin_tasks: expected one or more, each once, got {config.twin_tasks}."
        )
    for task in config.twin_tasks:
        _check_styles("twin_tasks, twin_style", task, [config.twin_style])
    for task, mix in config.tasks.items():
        _check_styles(f"tasks.{task}.styles", task, mix.styles)
    weights = {"groups": config.groups}
    weights |= {f"tasks.{name}.styles": mix.styles for name, mix in config.tasks.items()}
    for field, shares in weights.items():
        if config.base_count and not any(shares.values()):
            raise UserError(f"procedural.{field}: expected a share above 0, got {dict(shares)}.")


def _check_styles(field: str, task: str, styles: Iterable[str]) -> None:
    for style in styles:
        try:
            find_trace(task, style)
        except UserError as error:
            raise UserError(f"procedural.{field}: {error}") from error


def split_of(task: str, question: str) -> str:
    """Returns the split a question belongs to: crc32 of its key, modulo 8."""
    residue = zlib.crc32(find_question_kind(task).key(question).encode()) % 8
    return next(split for split, residues in SPLITS.items() if residue in residues)


def find_question_kind(task: str) -> ProceduralTask:
    """Returns the entry of PROCEDURAL_TASKS. Raises ValueError for an unknown name."""
    if task not in PROCEDURAL_TASKS:
        raise UserError(
            f"procedural task {task!r} is unknown; there are {', '.join(PROCEDURAL_TASKS)}."
        )
    return PROCEDURAL_TASKS[task]


def draw_question(task: str, split: str, rng: Random) -> ProceduralQuestion:
    """Returns a random question of the split. Raises ValueError for an unknown task or split."""
    entry = find_question_kind(task)
    if split not in SPLITS:
        raise UserError(f"split {split!r} is unknown; there are {', '.join(SPLITS)}.")
    while True:
        question, answer = entry.make_question(rng)
        if split_of(task, question) == split:
            return ProceduralQuestion(question, answer, task, entry.group)


def make_questions(task: str, split: str, count: int, seed: int) -> list[ProceduralQuestion]:
    """Returns `count` different questions of a split.

    Raises:
      ValueError: unknown task or split, or the split has too few questions.
    """
    rng = Random(f"{task}/{split}/{seed}")
    found: dict[str, ProceduralQuestion] = {}
    draws = 0
    while len(found) < count:
        question = draw_question(task, split, rng)
        draws = draws + 1 if question.question in found else 0
        found[question.question] = question
        if draws == GIVE_UP_AFTER:
            raise UserError(
                f"task {task!r} has only {len(found)} questions in split {split!r}; "
                f"{count} were asked for."
            )
    return list(found.values())


def find_trace(task: str, style: str) -> Callable[[str], str]:
    """Returns what writes the trace of a question. Raises ValueError for a task or a style that there is not."""
    traces = find_question_kind(task).traces
    if style not in traces:
        raise UserError(f"task {task!r} has no style {style!r}; it has {', '.join(traces)}.")
    return traces[style]


def make_reply(question: ProceduralQuestion, style: str) -> str:
    """Returns the reply `trace#answer`. Raises ValueError for a style that the task does not have."""
    return f"{find_trace(question.task, style)(question.question)}#{question.answer}"


def question_row(question: ProceduralQuestion, identifier: str) -> dict[str, str]:
    """Returns a row without a reply: id, question, answer, task, group."""
    return {"id": identifier, **vars(question)}


def reply_row(question: ProceduralQuestion, identifier: str, style: str) -> dict[str, str]:
    """Returns a row with a reply: the fields of `question_row`, and style and response."""
    row = question_row(question, identifier)
    return {**row, "style": style, "response": make_reply(question, style)}


def draw_weighted(rng: Random, weights: dict[str, float]) -> str:
    """Returns a key with a probability in proportion to its weight."""
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def base_rows(config: ProceduralConfig) -> Iterator[dict[str, str]]:
    """Yields the base mixture; each row draws a group, a task of it, a style of the task, and a train question."""
    rng = Random(f"base/{config.seed}")
    weights = {
        group: {
            name: mix.weight
            for name, mix in config.tasks.items()
            if find_question_kind(name).group == group
        }
        for group in config.groups
    }
    empty = [
        group
        for group, tasks in weights.items()
        if config.groups[group] and not any(tasks.values())
    ]
    if empty:
        raise UserError(f"procedural.groups: no task with a weight in {', '.join(empty)}.")
    for number in range(config.base_count):
        task = draw_weighted(rng, weights[draw_weighted(rng, config.groups)])
        question = draw_question(task, "train", rng)
        yield reply_row(question, f"base/{number}", draw_weighted(rng, config.tasks[task].styles))


def twin_questions(config: ProceduralConfig) -> list[ProceduralQuestion]:
    """Returns the twins' pool: `twin_count` different train questions, from the tasks in turn."""
    tasks = config.twin_tasks
    if config.twin_count % len(tasks):
        raise UserError(
            f"procedural.twin_count: {config.twin_count} is no multiple of {len(tasks)} tasks."
        )
    count = config.twin_count // len(tasks)
    pools = [make_questions(task, "train", count, config.seed) for task in tasks]
    return [question for questions in zip(*pools, strict=True) for question in questions]


def sft_rows(config: ProceduralConfig) -> list[dict[str, str]]:
    """Returns the pool with one reply each in `twin_style`."""
    pool = enumerate(twin_questions(config))
    return [reply_row(question, f"twin/{number}", config.twin_style) for number, question in pool]


def rl_rows(config: ProceduralConfig) -> list[dict[str, str]]:
    """Returns the same pool without replies."""
    return [
        question_row(question, f"twin/{i}") for i, question in enumerate(twin_questions(config))
    ]


def evaluation_rows(config: ProceduralConfig, task: str, split: str) -> list[dict[str, str]]:
    """Returns different questions of a task in split "development" or "test"."""
    counts = {"development": config.development_count, "test": config.test_count}
    count = config.fewer.get(task, counts[split])
    questions = make_questions(task, split, count, config.seed)
    return [question_row(question, f"{split}/{task}/{i}") for i, question in enumerate(questions)]


def make_procedural_files(config: ProceduralConfig) -> dict[str, list[dict[str, str]]]:
    """Returns file -> rows: base.jsonl, sft.jsonl, rl.jsonl, and <task>.jsonl in development/ and in test/.

    Raises:
      UserError: the configuration asks for what there is not.
    """
    check_procedural(config)
    files = {
        "base.jsonl": list(base_rows(config)),
        "sft.jsonl": sft_rows(config),
        "rl.jsonl": rl_rows(config),
    }
    for split in ("development", "test"):
        for task in config.tasks:
            files[f"{split}/{task}.jsonl"] = evaluation_rows(config, task, split)
    return files
