"""Question files that a recipe has made for it: the first thing any verb does with such a recipe.

A recipe names them as `{workdir}/questions/...`; `prepare` writes them once and puts the real path in.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import ml_collections
from etils import epath

from jaxreason.config import parse
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.errors import UserError
from jaxreason.procedural import sums, tiny_questions
from jaxreason.procedural.question_kinds import CHARACTERS
from jaxreason.question_set import QuestionsConfig, write_questions
from jaxreason.results.files import absolute, atomic_write_text

WRITERS: dict[str, tuple[type, Callable[[Any], dict[str, list[dict]]]]] = {
    "procedural": (tiny_questions.ProceduralConfig, tiny_questions.make_procedural_files),
    "sums": (sums.SumsConfig, sums.make_sums_files),
}


def prepare(config: ml_collections.ConfigDict, workdir: epath.Path) -> ml_collections.ConfigDict:
    """Writes the recipe's question files below `workdir/questions` and returns the recipe with their paths.

    Every process must call it: process 0 writes and compares, and no other reads before all is there.

    Raises:
      UserError: a file that is there holds other rows than the recipe makes.
    """
    on_process_zero(lambda: _write_all(config, workdir / "questions"))
    return with_workdir(config, workdir)


def _write_all(config: ml_collections.ConfigDict, folder: epath.Path) -> None:
    """All are compared before the first is written; those that are read from sources come last."""
    texts = {}
    for name, (cls, make_files) in WRITERS.items():
        if name in config:
            made = make_files(parse(cls, config[name], f"config.{name}"))
            texts |= {file: _text(rows) for file, rows in made.items()}
    for name in [name for name, text in texts.items() if not _is_there(folder / name, text)]:
        atomic_write_text(folder / name, texts[name])
    if "procedural" in config:
        save_character_tokenizer(folder / "tokenizer", CHARACTERS)
    if "questions" in config:
        write_questions(parse(QuestionsConfig, config.questions, "config.questions"), folder)


def _text(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _is_there(path: epath.Path, text: str) -> bool:
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
    """A copy of the recipe in which `{workdir}` in every text stands for the working directory.

    It is made absolute, since a section may take relative paths as relative to a folder of its own.
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
