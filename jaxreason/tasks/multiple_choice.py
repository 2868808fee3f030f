r"""Multiple choice by letter, graded so that accidents of format do not decide.

Metadata read, if present: `choices`, either `{"label": [...], "text": [...]}`, as in ACPBench, or a list of texts,
whose labels are A, B, C ...
"""

from jaxreason.data.examples import Example
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
    try:
        listed = not isinstance(choices, dict)
        texts = tuple(map(str, choices if listed else choices["text"]))
        labels = tuple(map(str, ALPHABET[: len(texts)] if listed else choices["label"]))
    except (KeyError, TypeError) as error:
        raise UserError(
            f"example {example.id!r}: `choices` must be a list of texts or have `label` and `text`, "
            f"got {choices!r:.80} ({error!r})."
        ) from error
    if len(labels) != len(texts) or any(len(label) != 1 for label in labels):
        raise UserError(
            f"example {example.id!r}: {len(texts)} choices need as many labels of one character "
            f"each, got {labels!r:.80}."
        )
    return labels, texts


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
      UserError: for choices of another form than the module says, or an answer that is none of their labels: every
        reply would count as wrong.
    """
    labels, _ = choices_of(example)
    if _gold(example) not in {label.upper() for label in labels}:
        raise UserError(
            f"example {example.id!r}: the answer {example.answer!r:.80}: expected one of the labels "
            f"{', '.join(labels)} (those of `choices` in the dataset's `metadata`; without them A to E)."
        )
    return score_both_ways(example, text, lambda part: letter_in(example, part), grade)


def grade(example: Example, answer: str) -> float:
    """Returns 1.0 for the gold letter, else 0.0."""
    return float(answer == _gold(example))


def _gold(example: Example) -> str:
    return example.answer.strip().upper()
