"""MC-TACO: is this a plausible answer to a question about time? The more likely of "no" and "yes" counts.

Two thirds of the pairs are "no", so a constant answer is right 66.1 % of the time: look at the other metrics too.
Metadata needed for the metrics of the whole set: `sentence` and `question`, which identify the question.
"""

from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import yes_no
from jaxreason.tasks.likelihoods import likeliest

CHOICES = ("no", "yes")


def choices(example: Example) -> tuple[str, ...]:
    """Returns the continuations to compare."""
    return CHOICES


def extract(example: Example, logprobs: Sequence[float]) -> str:
    """Returns the more likely of "no" and "yes"; "no" if they are equally likely."""
    return CHOICES[likeliest(example, CHOICES, logprobs)]


def score(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """Returns `accuracy` of the pair, `yes` (1 if "yes" was chosen) and `answered`, which is 1.

    Raises:
      UserError: the gold answer is neither "no" nor "yes", or log-likelihoods are bad.
    """
    return yes_no.score(example, extract(example, logprobs) == "yes")


def score_paper(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """Returns `accuracy` of the pair, the only metric of the study.

    Two thirds of the pairs are "no", so a model that always says "no" reaches 66.1. Several models of the study's table
    have exactly this score (or 33.9, always "yes").

    Raises:
      UserError: as `score`.
    """
    return {"accuracy": score(example, logprobs)["accuracy"]}


def summarize(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the metrics of a set of pairs.

    They are those of `yes_no.summarize`; `question_em`, the share of questions with every pair right; `question_f1`,
    the mean over questions of the F1 of "yes", with precision 1 if no "yes" was said and recall 1 if none was due (the
    definitions of Zhou et al. 2019); and the scores of constant answers in these two (`question_em_always_no` and so
    on). On the test set constant "no" has accuracy 0.661, balanced accuracy 0.5, question EM and F1 0.174.

    Raises:
      UserError: the metadata does not identify the questions.
    """
    questions: dict[tuple[str, str], list[yes_no.Pair]] = {}
    for example, pair in zip(examples, yes_no.pairs_of(examples, scores), strict=True):
        questions.setdefault(question_of(example), []).append(pair)
    groups = [*questions.values()]
    metrics = yes_no.summarize(examples, scores) | by_question(groups)
    for name, said in (("no", False), ("yes", True)):
        found = by_question([yes_no.constant(group, said) for group in groups])
        metrics |= {f"{metric}_always_{name}": value for metric, value in found.items()}
    return metrics


def by_question(groups: Sequence[Sequence[yes_no.Pair]]) -> dict[str, float]:
    """Returns `question_em` and `question_f1` from the pairs of each question."""
    exact = [float(all(gold is said for gold, said in group)) for group in groups]
    return {
        "question_em": yes_no.mean(exact),
        "question_f1": yes_no.mean([yes_no.yes_f1(group) for group in groups]),
    }


def question_of(example: Example) -> tuple[str, str]:
    """Returns the metadata that all pairs of one question share."""
    metadata = example.metadata
    if "sentence" not in metadata or "question" not in metadata:
        raise UserError(
            f"example {example.id!r}: MC-TACO needs metadata 'sentence' and 'question', "
            f"got {[*metadata]}."
        )
    return metadata["sentence"], metadata["question"]
