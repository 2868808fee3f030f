r"""Multiple choice by letter, graded so that accidents of format do not decide.

Metadata read, if present: `choices`, either `{"label": [...], "text": [...]}`, as in ACPBench, or a list of texts,
whose labels are A, B, C ...
"""

from jaxreason.data.examples import Example
from jaxreason.data.rows import is_missing
from jaxreason.errors import UserError
from jaxreason.tasks.letters import find_letter
from jaxreason.tasks.reply_text import score_both_ways, strip_thinking

LETTERS = ("A", "B", "C", "D", "E")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def choices_of(example: Example) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the labels and the texts of the choices; A to E and no texts if there are no choices.

    Raises:
      UserError: for choices of another form, labels of several characters, or more than 26.
    """
    choices = example.metadata.get("choices")
    if choices is None or choices in ([], {}):
        return LETTERS, ()
    listed = not isinstance(choices, dict)
    texts, labels = (choices, ALPHABET) if listed else map(choices.get, ("text", "label"))
    # A text would be taken for the list of its characters.
    if not _are_values(texts) or not (_are_values(labels) or isinstance(labels, str)):
        raise UserError(
            f"example {example.id!r}: `choices` must be a list of texts or have `label` and `text`, two lists "
            f"of texts, got {choices!r:.80}."
        )
    texts = tuple(map(str, texts))
    labels = tuple(map(str, labels))[: len(texts) if listed else None]
    if len(labels) != len(texts) or any(len(label) != 1 for label in labels):
        raise UserError(
            f"example {example.id!r}: {len(texts)} choices need as many labels of one character "
            f"each, got {labels!r:.80}."
        )
    return labels, texts


def _are_values(listed: object) -> bool:
    """Returns whether this is a list of texts or numbers."""
    return isinstance(listed, list | tuple) and all(
        isinstance(one, str | int | float) and not is_missing(one) for one in listed
    )


def letter_in(example: Example, text: str) -> str | None:
    """Returns the letter that a text decides on."""
    labels, texts = choices_of(example)
    return find_letter(text, labels, texts)


def extract(example: Example, text: str) -> str | None:
    """Returns the chosen letter in the reply without its thoughts."""
    return letter_in(example, strip_thinking(text))


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `accuracy_unstripped` and `answered`.

    Raises:
      UserError: as `gold_label`: every reply would count as wrong.
    """
    gold_label(example)  # Also where no reply has an answer to compare with it.
    return score_both_ways(example, text, lambda part: letter_in(example, part), grade)


def grade(example: Example, answer: str) -> float:
    """Returns 1.0 for the gold letter, else 0.0.

    Raises:
      UserError: as `gold_label`.
    """
    return float(answer == gold_label(example))


def gold_label(example: Example) -> str:
    """Returns the label of the right choice, in capitals as replies are read.

    Raises:
      UserError: the answer is none of the labels; or as `choices_of`.
    """
    labels, texts = choices_of(example)
    gold = example.answer.strip().upper()
    if gold not in {label.upper() for label in labels}:
        source = (
            ""
            if texts
            else " (those of `choices` in the dataset's `metadata`; without them A to E)"
        )
        raise UserError(
            f"example {example.id!r}: the answer is {example.answer[:80]!r}; expected the label of a choice: "
            f"{', '.join(labels)}{source}."
        )
    return gold
