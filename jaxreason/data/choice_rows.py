"""Conversions of multiple-choice questions: HEAD-QA, GPQA, MMLU and ACPBench.

Each yields `question`, `choices` ({"label": letters, "text": texts}), `answer` (a letter), `answer_text`, and the
choices as text for templates: `options` (lines "A. ...") and `options_in_line` ("A) ..., B) ...").
"""

import random
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from jaxreason.data.flat_rows import (
    Columns,
    each,
    hashed,
    records,
    seed_of,
    text_of,
    unfold,
    whole_number,
)
from jaxreason.data.rows import RowError, SourceRow

# The order of a question's options: (texts, the right one's index, the question's id) -> indices.
Order = Callable[[Sequence[str], str], list[int]]


def order_by(shuffle: str | int) -> Order:
    """Returns the order that `options.shuffle` names.

    "none" keeps the order. "paper" shuffles every question by a new generator with seed 42, as the released evaluation
    did: of four options the first one always becomes the last. An integer is a seed: the options are sorted by a hash
    of seed, question and place, so the order does not depend on other questions.

    Raises:
      UserError: for anything else.
    """
    if shuffle == "none":
        return lambda texts, id: list(range(len(texts)))
    if shuffle == "paper":
        return _paper_order
    seed = seed_of("shuffle", shuffle)
    return lambda texts, id: sorted(range(len(texts)), key=lambda place: hashed(seed, id, place))


def _paper_order(texts: Sequence[str], id: str) -> list[int]:
    order = list(range(len(texts)))
    random.Random(42).shuffle(order)
    return order


def choice_columns(texts: Sequence[str], right: int, order: Sequence[int]) -> Columns:
    """Returns the columns of a question's options in `order`; `right` is an index into `texts`.

    Raises:
      RowError: there are fewer than two options, or more options than letters.
    """
    if not 2 <= len(texts) <= 26:
        raise RowError("wrong length", f"{len(texts)} options; expected 2 to 26")
    letters, shown = string.ascii_uppercase[: len(texts)], [texts[index] for index in order]
    pairs = list(zip(letters, shown))
    return {
        "choices": {"label": list(letters), "text": shown},
        "answer": letters[order.index(right)],
        "answer_text": texts[right],
        "options": "\n".join(f"{letter}. {text}" for letter, text in pairs),
        "options_in_line": ", ".join(f"{letter}) {text}" for letter, text in pairs),
    }


def headqa(rows: Iterable[SourceRow], shuffle: str | int = "none") -> Iterator[SourceRow]:
    """Converts HEAD-QA: a file of exams, or the hub's flat rows; the id is exam and number of the question.

    `ra` is the `aid` of the right answer. Questions with a picture, which is not shown, are kept, as in every published
    run.
    """
    return each(unfold(rows, exam_questions), partial(_headqa_columns, order_by(shuffle)))


def exam_questions(columns: Columns) -> Iterator[Any] | None:
    """Returns the questions in a file of HEAD-QA's exams; None for a flat row."""
    exams = columns.get("exams")
    return _questions_of(exams) if isinstance(exams, dict) else None


def _questions_of(exams: Columns) -> Iterator[Any]:
    for key, exam in exams.items():
        questions = exam.get("data") if isinstance(exam, dict) else None
        if not isinstance(questions, list):
            yield RowError("missing field", f"exam {key!r} has no list 'data'")
            continue
        about = {name: value for name, value in exam.items() if name != "data"}
        for question in questions:
            yield {"name": key} | about | question if isinstance(question, dict) else question


def _headqa_columns(order: Order, columns: Columns) -> Columns:
    answers = records(columns, "answers")
    numbers = [whole_number(answer, "aid") for answer in answers]
    right = whole_number(columns, "ra")
    if numbers.count(right) != 1:
        raise RowError("wrong answer", f"'ra' is {right}, the answers have the numbers {numbers}")
    texts = [text_of(answer, "atext") for answer in answers]
    id, question = (
        f"{text_of(columns, 'name')}/{text_of(columns, 'qid')}",
        text_of(columns, "qtext"),
    )
    about = {"id": id, "question": question, "category": columns.get("category")}
    return about | choice_columns(texts, numbers.index(right), order(texts, id))


def gpqa(rows: Iterable[SourceRow], shuffle: str | int = 0) -> Iterator[SourceRow]:
    """Converts GPQA: the csv and the hub have the same columns; the id is the record's.

    With `shuffle` "paper" texts are shown unchanged, otherwise without surrounding white space.
    """
    return each(rows, partial(_gpqa_columns, order_by(shuffle), shuffle == "paper"))


_GPQA_ANSWERS = ("Correct Answer", *(f"Incorrect Answer {number}" for number in (1, 2, 3)))


def _gpqa_columns(order: Order, as_is: bool, columns: Columns) -> Columns:
    texts = [text_of(columns, name) for name in _GPQA_ANSWERS]
    question, id = text_of(columns, "Question"), text_of(columns, "Record ID")
    if not as_is:
        question, texts = question.strip(), [text.strip() for text in texts]
    about = {"domain": columns.get("High-level domain"), "subdomain": columns.get("Subdomain")}
    return {"id": id, "question": question} | about | choice_columns(texts, 0, order(texts, id))


def mmlu(rows: Iterable[SourceRow], shuffle: str | int = "none") -> Iterator[SourceRow]:
    """Converts MMLU: columns question, A to D and answer (a letter) of the csv files, or the hub's choices.

    A csv file has no header, so `options.columns` names its columns. The subject is the hub's column, or the name of
    the file without `_dev`, `_val` or `_test`.
    """
    order = order_by(shuffle)
    for row in rows:
        yield from each([row], partial(_mmlu_columns, order, _subject(row)))


def _subject(row: SourceRow) -> str:
    name = row.file.rsplit("/", 1)[-1].split(".", 1)[0]
    return row.columns.get("subject") or re.sub(r"_(dev|val|test)$", "", name)


def _mmlu_columns(order: Order, subject: str, columns: Columns) -> Columns:
    question = text_of(columns, "question")
    if isinstance(columns.get("choices"), list):
        named = {str(place): text for place, text in enumerate(columns["choices"])}
        texts, right = [text_of(named, name) for name in named], whole_number(columns, "answer")
    else:
        texts = [text_of(columns, letter) for letter in "ABCD"]
        answer = text_of(columns, "answer").strip()
        right = "ABCD".find(answer) if len(answer) == 1 else -1  # "AB" is no letter.
    if not 0 <= right < len(texts):
        raise RowError("wrong answer", f"{columns['answer']!r} is none of the {len(texts)} options")
    place = order(texts, f"{subject}\n{question}")
    return {"question": question, "subject": subject} | choice_columns(texts, right, place)


def acpbench(rows: Iterable[SourceRow], shuffle: str | int = "none") -> Iterator[SourceRow]:
    """Converts ACPBench: its questions include the options ("... A. sail. B. board."); here they are separated.

    `asked` is the question as published, `question` the same without its options.
    """
    return each(rows, partial(_acpbench_columns, order_by(shuffle)))


def _acpbench_columns(order: Order, columns: Columns) -> Columns:
    id, asked, answer = (text_of(columns, name) for name in ("id", "question", "answer"))
    choices = records(columns, "choices")
    labels, texts = ([text_of(choice, name) for choice in choices] for name in ("label", "text"))
    if labels.count(answer) != 1:
        raise RowError("wrong answer", f"{answer!r} is none of the options {labels}")
    listed = " ".join(f"{label}. {text}." for label, text in zip(labels, texts))
    if not asked.rstrip().endswith(listed):
        raise RowError("wrong question", f"it does not end with its options ({listed[:80]!r} ...)")
    stem = asked.rstrip().removesuffix(listed).rstrip()
    about = {"context": text_of(columns, "context"), "group": columns.get("group")}
    flat = choice_columns(texts, labels.index(answer), order(texts, f"{id}\n{stem}"))
    return {"id": id, "asked": asked, "question": stem} | about | flat
