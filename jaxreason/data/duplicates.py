"""Questions that occur more than once in a collection: the first stays."""

from collections import defaultdict
from collections.abc import Sequence

from jaxreason.data.decontamination import content_key, run_share
from jaxreason.data.examples import Example, question
from jaxreason.data.question_words import answer_key, read_question

# Of all runs of 3 words: questions of one pattern with the same numbers and, by chance, the same answer share less.
NEAR_SHARE = 0.7


def without_duplicates(
    examples: Sequence[Example], near: bool
) -> tuple[list[Example], list[dict[str, str | bool]]]:
    """The examples without those that an earlier one says already.

    Two are the same where all but typesetting and the form of the answer is equal; with `near` also where they have the
    same numbers in the same order, the same answer, and seven tenths of all runs of 3 words.

    Returns:
      The kept ones in order, and for each other one: `id`, `source`, `reason` ("same question" or "reworded"), `of`
      (the id of the earlier one), and `same_answer` (False where their gold answers differ, so one may be wrong).
    """
    first: dict[str, Example] = {}
    alike: dict[tuple[str, ...], list[tuple[Example, list[str]]]] = defaultdict(list)
    kept, dropped = [], []
    for example in examples:
        words, key = read_question(question(example))
        content = content_key(example, words) if near else None
        earlier, reason = first.get(key), "same question"
        if earlier is None and content is not None:
            earlier, reason = _nearest(words, alike[content]), "reworded"
        if earlier is None:
            kept.append(example)
            first[key] = example
            if content is not None:
                alike[content].append((example, words))
        else:
            dropped.append(_item(example, earlier, reason))
    return kept, dropped


def _nearest(words: list[str], others: list[tuple[Example, list[str]]]) -> Example | None:
    """The first of others that is the same but for a few words."""
    return next((e for e, theirs in others if run_share(words, theirs) >= NEAR_SHARE), None)


def _item(example: Example, earlier: Example, reason: str) -> dict[str, str | bool]:
    same = answer_key(example.answer) == answer_key(earlier.answer)
    return {"id": example.id, "source": example.source, "reason": reason} | {
        "of": earlier.id,
        "same_answer": same,
    }
