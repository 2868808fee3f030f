"""CoQA: the last answer of a conversation about a story, compared word by word with the answers of several people.

Metadata needed: `references`, the texts of all answers, with duplicates; `answer` is the first.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from jaxreason.data.examples import Example, prompt_text
from jaxreason.errors import UserError
from jaxreason.tasks.reply_text import THINK_END
from jaxreason.tasks.short_answer import asked_question, find_answer

NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def references_of(example: Example) -> list[str]:
    """Returns the right answers without blank ones.

    Raises:
      UserError: they are not a list of texts, or all are blank.
    """
    given = example.metadata.get("references")
    texts = given if isinstance(given, (list, tuple)) else ()
    references = [text for text in texts if isinstance(text, str) and text.strip()]
    if not references or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"example {example.id!r}: CoQA needs metadata 'references', a list of texts that are "
            f"not all blank, got {given!r} (metadata: {[*example.metadata]})."
        )
    return references


def normalize(text: str) -> str:
    """Returns SQuAD's normal form: small letters, no punctuation, no articles, single spaces."""
    bare = text.lower().translate(NO_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def exact(reference: str, answer: str) -> float:
    """Returns 1.0 if the normal forms are equal, else 0.0."""
    return float(normalize(reference) == normalize(answer))


def word_f1(reference: str, answer: str) -> float:
    """Returns the F1 of the words of the normal forms; if one of them has no words, whether both have none."""
    gold, said = normalize(reference).split(), normalize(answer).split()
    common = sum((Counter(gold) & Counter(said)).values())
    if not gold or not said:
        return float(gold == said)
    return 2 * common / (len(gold) + len(said))


def leave_one_out(
    measure: Callable[[str, str], float], references: Sequence[str], answer: str
) -> float:
    """Returns the best match with the references, averaged over leaving each of them out in turn.

    The human score is measured in this way, each person against the others, so a model is measured in the same way.
    """
    matches = [measure(reference, answer) for reference in references]
    if len(matches) == 1:
        return matches[0]
    best, second = sorted(matches, reverse=True)[:2]
    return (best * (len(matches) - 1) + second) / len(matches)  # The best one is left out once.


def extract(example: Example, text: str) -> str | None:
    """Returns the short answer of a reply without its thoughts, anywhere in the reply; or None."""
    return find_answer(text, asked_question(prompt_text(example)))


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `f1` (the main metric of CoQA's own evaluation), `em` and `answered`.

    Raises:
      UserError: there is no reference.
    """
    references, answer = references_of(example), extract(example, text)
    return {
        "f1": 0.0 if answer is None else leave_one_out(word_f1, references, answer),
        "em": 0.0 if answer is None else leave_one_out(exact, references, answer),
        "answered": float(answer is not None),
    }


def extract_paper(example: Example, text: str) -> str:
    """Returns the first line after `</think>`, as the study takes it.

    Effects: a reply that restates the question ("Q: ...", two in five of the released RL replies) or begins with a
    sentence has an exact match of 0, regardless of its answer. A reply "A: white" is right only because the normal form
    deletes the article "a".
    """
    return text.rpartition(THINK_END)[2].strip().split("\n")[0]


def score_paper(example: Example, text: str) -> dict[str, float]:
    """Returns `em`, which the study seems to report as accuracy, and `f1`, of the first line.

    Equal references count once, as in lm-evaluation-harness. Effect: if three people say "white" and one "orange",
    "white" scores 0.5 (it is left out once of two); if all four say it, it scores 1.

    Raises:
      UserError: there is no reference.
    """
    distinct = [*{text.lower(): text for text in reversed(references_of(example))}.values()]
    answer = extract_paper(example, text)
    return {
        name: leave_one_out(m, distinct, answer) for name, m in (("em", exact), ("f1", word_f1))
    }
