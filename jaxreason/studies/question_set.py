"""Makes the set of questions that a study trains on, from several sources.

Only questions with a usable gold answer are kept, and each question once. If a recipe has a section `questions`, the
set is made once, in `<workdir>/questions`: questions.jsonl and questions_report.json. The report is written last, so it
shows that the other file is complete.
"""

import copy
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import ml_collections
from etils import epath

from jaxreason.config import FREE, LEARNED, above, at_least, claimed, nearest, parse
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.decontamination import without_duplicates
from jaxreason.data.examples import Example, load_examples, question, question_hash
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.errors import UserError
from jaxreason.procedural import sums, tiny_questions
from jaxreason.procedural.question_kinds import CHARACTERS
from jaxreason.results.atomic_files import absolute, atomic_write_text, read_object, write_json
from jaxreason.results.claims import changes, refuse
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.tasks.verify import Verdict, VerifierPool

_LOG = logging.getLogger(__name__)

QUESTIONS, REPORT = "questions.jsonl", "questions_report.json"
SHAPE = {"claimed": dict, "sha256": str, "questions": int, "sources": dict}
# The most words of prose in a gold answer; replies seldom repeat a longer one word by word.
MOST_WORDS = 6


@dataclass(frozen=True)
class SourceConfig:
    """One source of questions."""

    data: DatasetConfig
    """The dataset of the questions; its task decides which gold answers can be used."""
    level: Annotated[str, LEARNED] = ""
    """The column with a question's level or difficulty, one of `data.metadata`; "" if there is none."""


@dataclass(frozen=True)
class QuestionsConfig:
    """The questions that `jaxreason questions` writes: their sources, and which ones are left out."""

    sources: dict[str, SourceConfig]
    """Sources by name. If a question occurs twice, the first one in the order of the names is kept."""
    near_duplicates: Annotated[bool, LEARNED] = True
    """Whether reworded duplicates are left out too (`data.decontamination`)."""
    num_workers: Annotated[int, at_least(1), FREE] = 2
    """Processes that check the gold answers."""
    timeout_s: Annotated[float, above(0), FREE] = 20.0
    """Seconds that checking one gold answer may take."""


def write_question_set(config: QuestionsConfig, folder: epath.Path) -> None:
    """Writes both files if they do not exist yet. Called on one process only.

    Raises:
      UserError: there is no source, the level of one is no column that its dataset keeps, the files exist and hold
        other questions or were changed, a source cannot be read, or no gold answer of any source can be used.
    """
    check_sources(config)
    if _is_there(config, folder):
        return
    examples, sources = _usable(config)
    if not examples:
        raise UserError(f"questions.sources: no question is left. {_lost(sources)}")
    kept, dropped = without_duplicates(examples, config.near_duplicates)
    text = "".join(json.dumps(_row(config, e), ensure_ascii=False) + "\n" for e in kept)
    for name in config.sources:
        mine = [item for item in dropped if item["source"] == name]
        sources[name]["duplicates"] = dict(Counter(item["reason"] for item in mine))
        sources[name]["questions"] = sum(example.source == name for example in kept)
    report = {
        "claimed": claimed(config),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "questions": len(kept),
        "sources": sources,
        "duplicates": dropped,
    }
    atomic_write_text(folder / QUESTIONS, text)
    write_json(folder / REPORT, report)
    _LOG.info("%s: %d questions of %d sources", folder / QUESTIONS, len(kept), len(sources))


def check_sources(config: QuestionsConfig) -> None:
    """Checks the fields of all sources; no row is read.

    Raises:
      UserError: there is no source, one has no task, or the level of one is no column that its dataset keeps.
    """
    if not config.sources:
        raise UserError("questions.sources: expected at least one source, got none.")
    for name, source in config.sources.items():
        if not source.data.task:
            raise UserError(
                f"questions.sources.{name}.data.task: expected a task, whose grader tries the gold answers, got ''."
            )
        kept = source.data.metadata
        if source.level and source.level not in kept:
            raise UserError(
                f"questions.sources.{name}.level={source.level!r}: expected a column of data.metadata "
                f"({', '.join(kept) or 'now empty'}){nearest(source.level, kept) or '.'}"
            )


def _is_there(config: QuestionsConfig, folder: epath.Path) -> bool:
    if not (folder / REPORT).exists():
        return False
    report = read_report(folder)
    mend = f"Remove {folder / REPORT} to have them made again, or use another --workdir."
    changed = changes(report["claimed"], claimed(config), {"": QuestionsConfig})
    refuse(folder / QUESTIONS, changed, mend)
    path = folder / QUESTIONS
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != report["sha256"]:
        raise UserError(f"{path}: is not as it was written. {mend}")
    return True


def read_report(folder: epath.Path) -> dict[str, Any]:
    """Reads questions_report.json.

    Raises:
      UserError: the file is broken or does not exist.
    """
    if not (folder / REPORT).exists():
        raise UserError(f"{folder / REPORT}: not found; no questions were made here.")
    return read_object(folder / REPORT, SHAPE)


def _usable(config: QuestionsConfig) -> tuple[list[Example], dict[str, dict[str, Any]]]:
    """Returns the examples of all sources whose gold answers can be used, and for each source a count of its rows."""
    examples, sources = [], {}
    with VerifierPool(config.num_workers, config.timeout_s) as pool:
        for name, source in config.sources.items():
            drops = DropLog()
            found = [replace(e, source=name) for e in load_examples(source.data, drops)]
            reasons = unusable_answers(found, pool)
            examples += [e for e, reason in zip(found, reasons, strict=True) if not reason]
            counts = drops.to_json()[source.data.label]
            unusable = Counter(reason for reason in reasons if reason)
            sources[name] = {key: counts[key] for key in ("rows", "dropped", "left_out")}
            sources[name] |= {"unusable_answers": dict(unusable)}
            sources[name] |= {"first_unusable": _first(found, reasons)}
    return examples, sources


def _lost(sources: dict[str, dict[str, Any]]) -> str:
    """Explains why nothing of the sources can be used, with the first answer of each."""
    return " ".join(
        f"{name}: {counts['rows']} rows; the first cannot be used because: {first['reason']} ({first['where']}: "
        f"{first['answer']!r})."
        for name, counts in sources.items()
        for first in counts["first_unusable"][:1]
    )


def _first(examples: Sequence[Example], reasons: Sequence[str]) -> list[dict[str, str]]:
    items = [
        {"where": e.metadata["where"], "reason": reason, "answer": e.answer[:200]}
        for e, reason in zip(examples, reasons, strict=True)
        if reason
    ]
    return items[:20]


def unusable_answers(examples: Sequence[Example], pool: VerifierPool) -> list[str]:
    """Returns for each gold answer why it cannot reward a reply; "" if it can.

    It is tried with a reply whose box holds the gold answer. Raises UserError for an unknown task.
    """
    tasks = {example.task for example in examples}
    verdicts: dict[int, Verdict] = {}
    for task in tasks:
        places = [place for place, example in enumerate(examples) if example.task == task]
        replies = [(examples[p], f"\\boxed{{{examples[p].answer.strip()}}}") for p in places]
        verdicts |= dict(zip(places, pool.score(task, replies), strict=True))
    return [_reason(e, pool, verdicts[place]) for place, e in enumerate(examples)]


def _reason(example: Example, pool: VerifierPool, verdict: Verdict) -> str:
    if verdict.error is not None:
        return f"grader: {verdict.error.split(':')[0]}"
    if verdict.scores[pool.tasks[example.task].primary] != 1:
        return "not right by its own grader"
    answer = example.answer
    if "\\boxed" in answer or "[asy]" in answer:
        return "no plain answer"
    words = re.findall(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+", " ", answer))
    return "prose" if len(words) > MOST_WORDS else ""


def _row(config: QuestionsConfig, example: Example) -> dict[str, Any]:
    level = config.sources[example.source].level
    text = question(example)
    return {
        "id": f"{example.source}-{question_hash(text)}",
        "question": text,
        "answer": example.answer.strip(),
        "data_source": example.source,
        "level": example.metadata.get(level) if level else None,
    }


def describe_questions(report: dict[str, Any]) -> str:
    """Describes all questions in one line and each source in another: its rows, how many were left out and why."""
    lines = [f"questions: {report['questions']}"]
    for name, counts in report["sources"].items():
        lost = {**counts["dropped"], **counts["left_out"], **counts["unusable_answers"]}
        lost |= {f"duplicate ({reason})": n for reason, n in counts["duplicates"].items()}
        reasons = "".join(f", {reason} {count}" for reason, count in lost.items())
        lines.append(f"  {name}: {counts['rows']} rows, {counts['questions']} kept{reasons}")
    differ = sum(not item["same_answer"] for item in report["duplicates"])
    if differ:
        lines.append(f"  {differ} duplicates have another gold answer than the question that stays")
    return "\n".join(lines)


WRITERS: dict[str, tuple[type, Callable[[Any], dict[str, list[dict]]]]] = {
    "procedural": (tiny_questions.ProceduralConfig, tiny_questions.make_procedural_files),
    "sums": (sums.SumsConfig, sums.make_sums_files),
}


def prepare_questions(
    config: ml_collections.ConfigDict, workdir: epath.Path
) -> ml_collections.ConfigDict:
    """Writes the recipe's question files into `workdir/questions` and returns the recipe with their paths.

    Every process must call it: process 0 writes and compares, and the others wait until it has.

    Raises:
      UserError: an existing file has other rows than the recipe makes.
    """
    on_process_zero(lambda: _write_all(config, workdir / "questions"))
    return with_workdir(config, workdir)


def _write_all(config: ml_collections.ConfigDict, folder: epath.Path) -> None:
    """Compares all existing files before it writes the first one. The files that are read from sources come last."""
    texts = {}
    for name, (cls, make_files) in WRITERS.items():
        if name in config:
            made = make_files(parse(cls, config[name], f"config.{name}"))
            texts |= {file: _text(rows) for file, rows in made.items()}
    for name in [name for name, text in texts.items() if not _holds(folder / name, text)]:
        atomic_write_text(folder / name, texts[name])
    if "procedural" in config:
        save_character_tokenizer(folder / "tokenizer", CHARACTERS)
    if "questions" in config:
        write_question_set(parse(QuestionsConfig, config.questions, "config.questions"), folder)


def _text(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _holds(path: epath.Path, text: str) -> bool:
    if not path.exists():
        return False
    found = path.read_bytes()
    if found != text.encode():
        counts = found.count(b"\n"), text.count("\n")
        raise UserError(
            f"{path}: holds other rows than the recipe makes ({counts[0]} lines there, {counts[1]} made). "
            "Remove it to have it made again, or use another --workdir."
        )
    return True


def with_workdir(
    config: ml_collections.ConfigDict, workdir: epath.Path
) -> ml_collections.ConfigDict:
    """Returns a copy of the recipe in which `{workdir}` in any text is replaced by the working directory.

    The path is made absolute, because a section may read a relative path as relative to a folder of its own.
    """
    return _replaced(copy.deepcopy(config), str(absolute(workdir)))


def _replaced(value: Any, workdir: str) -> Any:
    if isinstance(value, str):
        return value.replace("{workdir}", workdir)
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(item, workdir) for item in value)
    if isinstance(value, (dict, ml_collections.ConfigDict)):
        for key in list(value.keys()):
            value[key] = _replaced(value[key], workdir)
    return value
