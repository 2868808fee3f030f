"""HeadQA: the answer is the option whose full text is the most likely continuation of the question, as in the study.

Metadata needed: `choices` with `label` and `text`, two lists; the answer is the right label. The model never sees the
texts of the options together. A long option is unlikely because of its length alone, so `accuracy_norm` divides by the
length. It is not known which of the two the study reports.
"""

from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.likelihoods import likeliest


def labels_and_texts(example: Example) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the labels and the texts of the options.

    Raises:
      UserError: the metadata does not contain them, or the numbers differ.
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
    """Returns the texts of the options."""
    return labels_and_texts(example)[1]


def extract(example: Example, logprobs: Sequence[float]) -> str:
    """Returns the label of the most likely option; the first one of equal ones."""
    labels, texts = labels_and_texts(example)
    return labels[likeliest(example, texts, logprobs)]


def score(example: Example, logprobs: Sequence[float]) -> dict[str, float]:
    """Returns `accuracy` by the largest sum, and `accuracy_norm` by the largest sum per character.

    These are `acc` and `acc_norm` of lm-evaluation-harness, which divides by characters, not bytes.

    Raises:
      UserError: options are missing, the answer is not a label, or log-likelihoods are bad.
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
