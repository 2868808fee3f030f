"""MC-TACO: is this a plausible answer to a question about time? The likelier of "no" and "yes".

Two thirds of the pairs are "no", so a constant answer is right 66.1 % of the time: look at the
other metrics too. Metadata needed for the whole set's metrics: `sentence` and `question`, which
tell the questions apart.
"""

from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError

CHOICES = ("no", "yes")


def choices(example: Example) -> tuple[str, ...]:
    """The continuations to compare; they follow the prompt after one space."""
    return CHOICES


def extract(example: Example, logprobs: Sequence[float]) -> str | None:
    """The likelier continuation, "no" or "yes"; "no" where they are alike."""
    return CHOICES[max(range(len(CHOICES)), key=lambda place: logprobs[place])]


def score(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """`accuracy` of the pair, and `yes` (1 when "yes" was chosen).

    Raises:
      ValueError: when the gold answer is neither "no" nor "yes".
    """
    if example.answer not in CHOICES:
        raise UserError(
            f"example {example.id!r}: the answer must be no or yes, got {example.answer!r}."
        )
    answer = extract(example, logprobs)
    return {"accuracy": float(answer == example.answer), "yes": float(answer == "yes")}


def summarize(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Metrics of a set of pairs.

    `accuracy` over pairs; `balanced_accuracy`, the mean of the recalls of no and yes (of those that
    occur); `question_em`, the share of questions with every pair right; `question_f1`, the mean
    over questions of the F1 of "yes", with precision 1 where no "yes" was said and recall 1 where
    none was due (the definitions of Zhou et al. 2019); `yes`, the share of "yes". Constant "no" has
    accuracy 0.661, balanced accuracy 0.5, EM and F1 0.174.

    Raises:
      ValueError: when the metadata does not tell the questions apart.
    """
    questions: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    for example, row in zip(examples, scores, strict=True):
        pair = (example.answer == "yes", row["yes"] == 1.0)
        questions.setdefault(question_of(example), []).append(pair)
    pairs = [pair for group in questions.values() for pair in group]
    recalls = [
        mean([float(gold == chosen) for gold, chosen in pairs if gold == label])
        for label in {gold for gold, _ in pairs}
    ]
    return {
        "accuracy": mean([row["accuracy"] for row in scores]),
        "balanced_accuracy": mean(recalls),
        "question_em": mean([float(all(g == c for g, c in group)) for group in questions.values()]),
        "question_f1": mean([f1(group) for group in questions.values()]),
        "yes": mean([row["yes"] for row in scores]),
    }


def question_of(example: Example) -> tuple[str, str]:
    """What the pairs of one question share."""
    metadata = example.metadata
    if "sentence" not in metadata or "question" not in metadata:
        raise UserError(
            f"example {example.id!r}: MC-TACO needs metadata 'sentence' and 'question', "
            f"got {[*metadata]}."
        )
    return metadata["sentence"], metadata["question"]


def f1(pairs: Sequence[tuple[bool, bool]]) -> float:
    """F1 of "yes" over the (gold, chosen) pairs of one question."""
    hits = sum(gold and chosen for gold, chosen in pairs)
    said, due = sum(chosen for _, chosen in pairs), sum(gold for gold, _ in pairs)
    precision = hits / said if said else 1.0
    recall = hits / due if due else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
