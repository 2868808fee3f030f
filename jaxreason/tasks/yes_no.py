"""Yes-or-no questions: their gold answers, and the metrics of a set of answers to them.

Such sets are seldom balanced, so every summary contains the score of a constant answer.
"""

from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError

# Whether "yes" is right, and whether "yes" was said (None: neither).
Pair = tuple[bool, bool | None]


def gold_of(example: Example) -> bool:
    """Returns whether "yes" is the right answer.

    Raises:
      UserError: the answer is neither yes nor no.
    """
    answer = example.answer.strip().lower()
    if answer not in ("yes", "no"):
        raise UserError(
            f"example {example.id!r}: the answer must be yes or no, got {example.answer[:80]!r}."
        )
    return answer == "yes"


def score(example: Example, said: bool | None) -> dict[str, float]:
    """Returns `accuracy`, `yes` (1 if "yes" was said) and `answered` (0 if neither was said).

    `balanced_accuracy` is `accuracy` again, for means in which yes and no have equal weight.

    Raises:
      UserError: the gold answer is neither yes nor no.
    """
    gold = gold_of(example)
    return {
        "accuracy": float(said is gold),
        "balanced_accuracy": float(said is gold),
        "yes": float(said is True),
        "answered": float(said is not None),
    }


def pairs_of(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> list[Pair]:
    """Returns (gold, said) of each example, from the metrics that `score` gave."""
    said = [bool(row["yes"]) if row["answered"] else None for row in scores]
    return list(zip(map(gold_of, examples), said, strict=True))


def constant(pairs: Sequence[Pair], said: bool) -> list[Pair]:
    """Returns the pairs of a model that always gives the same answer."""
    return [(gold, said) for gold, _ in pairs]


def summarize(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the metrics of a set of yes-or-no questions, where no answer counts as a wrong answer.

    They are `accuracy`; `balanced_accuracy`, the mean of the recalls of yes and no (of those that occur); `f1_yes`;
    `yes`, the share of "yes"; `answered`; and the accuracy and F1 of constant answers: `accuracy_always_yes`,
    `accuracy_always_no`, `f1_yes_always_yes` (that of always no is 0). The balanced accuracy of a constant answer is
    0.5 if both occur.
    """
    pairs = pairs_of(examples, scores)
    always_yes, always_no = constant(pairs, True), constant(pairs, False)
    return {
        "accuracy": accuracy(pairs),
        "balanced_accuracy": balanced_accuracy(pairs),
        "f1_yes": yes_f1(pairs),
        "yes": mean([float(said is True) for _, said in pairs]),
        "answered": mean([float(said is not None) for _, said in pairs]),
        "accuracy_always_yes": accuracy(always_yes),
        "accuracy_always_no": accuracy(always_no),
        "f1_yes_always_yes": yes_f1(always_yes),
    }


def accuracy(pairs: Sequence[Pair]) -> float:
    """Returns the share of right answers."""
    return mean([float(said is gold) for gold, said in pairs])


def balanced_accuracy(pairs: Sequence[Pair]) -> float:
    """Returns the mean of the accuracies on the questions of each gold answer that occurs."""
    groups = [[pair for pair in pairs if pair[0] is gold] for gold in (True, False)]
    return mean([accuracy(group) for group in groups if group])


def yes_f1(pairs: Sequence[Pair]) -> float:
    """Returns the F1 of "yes": precision is 1 if no "yes" was said, recall is 1 if none was due."""
    hits = sum(gold and said is True for gold, said in pairs)
    said, due = sum(said is True for _, said in pairs), sum(gold for gold, _ in pairs)
    precision = hits / said if said else 1.0
    recall = hits / due if due else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def mean(values: Sequence[float]) -> float:
    """Returns the arithmetic mean."""
    return sum(values) / len(values)
