"""MC-TACO: is this a plausible answer to a question about time? The likelier of "no" and "yes".

Two thirds of the pairs are "no", so a constant answer is right 66.1 % of the time: look at the
other metrics too. Metadata needed for the whole set's metrics: `sentence` and `question`, which
tell the questions apart.
"""

from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks import yes_no
from jaxreason.tasks.likelihoods import likeliest

CHOICES = ("no", "yes")


def choices(example: Example) -> tuple[str, ...]:
    """The continuations to compare."""
    return CHOICES


def extract(example: Example, logprobs: Sequence[float]) -> str:
    """The likelier of "no" and "yes"; "no" where they are equal."""
    return CHOICES[likeliest(example, CHOICES, logprobs)]


def score(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """`accuracy` of the pair, `yes` (1 when "yes" was chosen) and `answered`, which is 1.

    Raises:
      UserError: when the gold answer is neither "no" nor "yes", or for bad log-likelihoods.
    """
    return yes_no.score(example, extract(example, logprobs) == "yes")


def score_paper(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """`accuracy` of the pair, the one metric of the study.

    Two thirds of the pairs are "no", so a model that always says "no" reaches 66.1 and several
    models of the study's table stand exactly there (or at 33.9, always "yes").

    Raises:
      UserError: as `score`.
    """
    return {"accuracy": score(example, logprobs)["accuracy"]}


def summarize(examples: Sequence[Example], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Metrics of a set of pairs.

    Those of `yes_no.summarize`; `question_em`, the share of questions with every pair right;
    `question_f1`, the mean over questions of the F1 of "yes", with precision 1 where no "yes" was
    said and recall 1 where none was due (the definitions of Zhou et al. 2019); and what constant
    answers score in these two (`question_em_always_no` and so on). On the test set constant "no"
    has accuracy 0.661, balanced accuracy 0.5, question EM and F1 0.174.

    Raises:
      UserError: when the metadata does not tell the questions apart.
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
    """`question_em` and `question_f1` from the pairs of each question."""
    exact = [float(all(gold is said for gold, said in group)) for group in groups]
    return {
        "question_em": yes_no.mean(exact),
        "question_f1": yes_no.mean([yes_no.yes_f1(group) for group in groups]),
    }


def question_of(example: Example) -> tuple[str, str]:
    """The part that the pairs of one question share."""
    metadata = example.metadata
    if "sentence" not in metadata or "question" not in metadata:
        raise UserError(
            f"example {example.id!r}: MC-TACO needs metadata 'sentence' and 'question', "
            f"got {[*metadata]}."
        )
    return metadata["sentence"], metadata["question"]
