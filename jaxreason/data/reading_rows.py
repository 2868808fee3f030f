"""Conversions of CoQA's stories, HaluEval's candidates and MC-TACO's pairs."""

from collections.abc import Iterable, Iterator
from functools import partial

from jaxreason.data.flat_rows import Columns, each, hashed, records, seed_of, text_of, unfold
from jaxreason.data.rows import RowError, SourceRow


def coqa(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Converts CoQA: one row per story, which asks its last question after the dialogue so far, as in the study.

    Columns: `id`, `story`, `dialogue` (earlier turns: a blank line, "Q: ...", a blank line, "A: ..."; "" if there are
    none), `question`, `answer`, and `references`, the answer and the further ones in order. Turns may be lists of
    objects (the original file) or objects of lists (the hub).
    """
    return each(unfold(rows, stories), _last_turn)


def stories(columns: Columns) -> list | None:
    """Returns the stories of CoQA's original file; None for a row that is a story."""
    nested = columns.get("data")
    return nested if isinstance(nested, list) else None


def _last_turn(columns: Columns) -> Columns:
    questions, answers = records(columns, "questions"), records(columns, "answers")
    if not questions or len(questions) != len(answers):
        raise RowError("wrong length", f"{len(questions)} questions, {len(answers)} answers")
    if [turn.get("turn_id") for turn in questions] != [turn.get("turn_id") for turn in answers]:
        raise RowError("wrong order", "questions and answers have different turn_id")
    asked, told = ([text_of(turn, "input_text") for turn in part] for part in (questions, answers))
    earlier = zip(asked[:-1], told[:-1])
    return {
        "id": text_of(columns, "id"),
        "story": text_of(columns, "story"),
        "dialogue": "".join(f"\n\nQ: {question}\n\nA: {answer}" for question, answer in earlier),
        "question": asked[-1],
        "answer": told[-1],
        "references": [told[-1], *_further(columns, len(answers))],
    }


def _further(columns: Columns, turns: int) -> Iterator[str]:
    """Yields the last turn's answers of further people; a person without answers is skipped."""
    people = columns.get("additional_answers") or {}
    if not isinstance(people, dict):
        raise RowError("wrong type", "'additional_answers': expected an object")
    for person in sorted(people):
        answers = records(people, person)
        if len(answers) not in (0, turns):
            detail = f"additional_answers {person!r}: {len(answers)} answers for {turns} turns"
            raise RowError("wrong length", detail)
        if answers:
            yield text_of(answers[-1], "input_text")


# The judged text: its name in the original files and on the hub, and the columns that are shown with it.
_JUDGED = {
    "answer": ("knowledge", "question"),
    "response": ("knowledge", "dialogue_history"),
    "summary": ("document",),
}


def halueval(rows: Iterable[SourceRow], pick: str | int = 0) -> Iterator[SourceRow]:
    """Converts HaluEval: one candidate per row, and whether it is made up.

    The hub's `*_samples` have one candidate and `hallucination`. A row of the original files has a right and an
    invented candidate. `pick` is the seed by which one of them is taken: the parity of a hash of seed and row, so the
    choice does not depend on other rows, and about half of the candidates are made up. Columns: `candidate`, `answer`
    ("yes": made up, "no"), and its context: `knowledge` and `question` or `dialogue_history`, or `document`.
    """
    return each(rows, partial(_halueval_columns, seed_of("pick", pick)))


def _halueval_columns(seed: int, columns: Columns) -> Columns:
    for kind, names in _JUDGED.items():
        pair = (f"right_{kind}", f"hallucinated_{kind}")
        if kind not in columns and not any(name in columns for name in pair):
            continue
        shown = {name: text_of(columns, name) for name in names}
        if kind in columns:
            return shown | {"candidate": text_of(columns, kind), "answer": _label(columns)}
        candidates = [text_of(columns, name) for name in pair]
        invented = hashed(seed, *shown.values(), *candidates)[0] % 2
        return shown | {"candidate": candidates[invented], "answer": ("no", "yes")[invented]}
    kinds = ", ".join(_JUDGED)
    raise RowError("missing field", f"none of {kinds}, and no right_ and hallucinated_ one either")


def _label(columns: Columns) -> str:
    label = text_of(columns, "hallucination").strip().lower()
    if label not in ("yes", "no"):
        raise RowError("wrong answer", f"'hallucination': expected yes or no, got {label!r}")
    return label


def mc_taco(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Converts MC-TACO: the tsv's columns (candidate; label yes or no), or the hub's (answer; label 0 or 1)."""
    return each(rows, _mc_taco_columns)


def _mc_taco_columns(columns: Columns) -> Columns:
    label = text_of(columns, "label").strip()
    answer = {"0": "no", "1": "yes", "no": "no", "yes": "yes"}.get(label)
    if answer is None:
        raise RowError("wrong answer", f"'label': expected yes, no, 0 or 1, got {label!r}")
    name = "candidate" if "candidate" in columns else "answer"
    shown = {name: text_of(columns, name) for name in ("sentence", "question")}
    category = columns.get("category")
    return shown | {"candidate": text_of(columns, name), "label": answer, "category": category}
