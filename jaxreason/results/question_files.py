"""questions/<benchmark>.json of an evaluation: raw questions joined with gold answers, as the study's script does."""

from typing import Any

from etils import epath

from jaxreason.results.files import read_object, write_json

SHAPE = {"benchmark": str, "group": str, "columns": list, "num_rows": int, "texts": list}


def questions_folder(evaluation: epath.PathLike) -> epath.Path:
    """Where the questions of an `evaluation` folder lie."""
    return epath.Path(evaluation) / "questions"


def question_path(evaluation: epath.PathLike, benchmark: str) -> epath.Path:
    """The file of one benchmark."""
    return questions_folder(evaluation) / f"{benchmark}.json"


def write_questions(evaluation: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes the questions of one benchmark, whole or not at all; docs/evaluation_files.md says what is in it."""
    write_json(question_path(evaluation, value["benchmark"]), value)


def read_questions(evaluation: epath.PathLike) -> list[dict[str, Any]]:
    """The questions of every benchmark that has them, by name.

    Raises:
      UserError: a file is broken.
    """
    return [
        read_object(path, SHAPE) for path in sorted(questions_folder(evaluation).glob("*.json"))
    ]
