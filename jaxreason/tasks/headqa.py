"""HeadQA: the full text of an option that follows the question most likely, as the study asks it.

Metadata needed: `choices` with `label` and `text`, two lists; the answer is the right label. Its
text is never seen beside the others, so a long option is unlikely for its length alone: that is
what `accuracy_norm` divides out. Which of the two the study reports is not known.
"""

from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.likelihoods import likeliest


def labels_and_texts(example: Example) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels and the texts of the options.

    Raises:
      UserError: when the metadata does not hold them, or the numbers differ.
    """
    try:
        options = example.metadata["choices"]
        labels, texts = tuple(map(str, options["label"])), tuple(options["text"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"example {example.id!r}: HeadQA needs metadata 'choices' with 'label' and 'text', "
            f"got {example.metadata.get('choices')!r}."
        ) from error
    if len(labels) != len(texts) or not all(isinstance(text, str) and text for text in texts):
        raise UserError(
            f"example {example.id!r}: {len(labels)} labels need as many texts, none of them empty, "
            f"got {texts!r}."
        )
    return labels, texts


def choices(example: Example) -> tuple[str, ...]:
    """The texts of the options."""
    return labels_and_texts(example)[1]


def extract(example: Example, logprobs: Sequence[float]) -> str:
    """The label of the likeliest option; of equal ones the first."""
    labels, texts = labels_and_texts(example)
    return labels[likeliest(example, texts, logprobs)]


def score(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """`accuracy` by the largest sum, `accuracy_norm` by the largest sum a character.

    These are `acc` and `acc_norm` of lm-evaluation-harness, which divides by characters, not bytes.

    Raises:
      UserError: for missing options, an answer that is no label, or bad log-likelihoods.
    """
    labels, texts = labels_and_texts(example)
    gold = example.answer.strip()
    if gold not in labels:
        raise UserError(f"example {example.id!r}: the answer {gold[:80]!r} is none of {labels}.")
    normalized = likeliest(example, texts, logprobs, per_character=True)
    return {
        "accuracy": float(extract(example, logprobs) == gold),
        "accuracy_norm": float(labels[normalized] == gold),
    }
