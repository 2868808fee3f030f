"""Removes training questions that are questions of an evaluation, and reports which and why.

Questions are compared as words (`question_words`), without sentences about the form of the answer and without stock
phrases: runs of 8 words that occur in at least 5 questions with different numbers, from any source. On the remaining
words, a training question is removed for one of three reasons:

- "same question": all of it is equal, however short it is;
- "shared words": it shares a run of 13 words (as in GPT-3, arXiv 2005.14165, appendix C) with an evaluation question,
  and of the shorter of the two at least half of the words and 60 % of the numbers, in runs of 4 words or more;
- "reworded": the same numbers in the same order, the same answer, and half of all runs of 3 words.

Questions that share 13 words but have different numbers in them are different problems of one pattern: they stay, and
are counted as `alike`. Prompt templates and replies are not compared.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from jaxreason.data.examples import Example, question, question_hash
from jaxreason.data.question_words import answer_key, is_number, numbers, read_question
from jaxreason.data.word_runs import Texts, covered

NGRAM = 13
PHRASE_WORDS, PHRASE_QUESTIONS = 8, 5
SHARED_WORDS, SHARED_NUMBERS, SHORTEST_BLOCK = 0.5, 0.6, 4
REWORDED_RUN, REWORDED_SHARE = 3, 0.5
# A run that joins more pairs of questions than this does not identify any of them.
MOST_PAIRS = 500
SHOWN = 200  # Characters of a question in a report.


def decontaminate(
    train: Sequence[Example], evaluation: Sequence[Example]
) -> tuple[list[Example], dict[str, Any]]:
    """Returns the clean training examples, and a report of what was removed and why.

    Returns:
      The kept examples in order, and a JSON-ready dict: `ngram`, `train`, `evaluation` (numbers of questions), `kept`,
      `removed` by reason, `by_source` (of the training question), `by_evaluation_source`, `alike`, and `items`, one for
      each removed example: `id`, `source`, `question` (its hash), `reason`, `evaluation_id`, `evaluation_source`, and
      `text`: the run of words that they share, or the beginning of the question.
    """
    matches, alike = find_matches(train, evaluation)
    items = [
        _item(train[place], reason, evaluation[other], text)
        for place, (reason, other, text) in sorted(matches.items())
    ]
    kept = [example for place, example in enumerate(train) if place not in matches]
    return kept, {
        "ngram": NGRAM,
        "train": len(train),
        "evaluation": len(evaluation),
        "kept": len(kept),
        "removed": dict(Counter(item["reason"] for item in items)),
        "by_source": dict(Counter(item["source"] for item in items)),
        "by_evaluation_source": dict(Counter(item["evaluation_source"] for item in items)),
        "alike": alike,
        "items": items,
    }


Match = tuple[str, int, str]  # Reason, place of the evaluation question, shared text.


def find_matches(
    train: Sequence[Example], evaluation: Sequence[Example]
) -> tuple[dict[int, Match], int]:
    """Returns by place why a training question is one of the evaluation's, and which one; and how many are alike."""
    sides = _sides(train, evaluation)
    matches = _same_questions(train, *sides)
    alike = set()
    for place, other, run in _pairs(*sides, NGRAM):
        if place in matches:
            continue
        if _shares_most(sides[0].words_of[place], sides[1].words_of[other]):
            matches[place] = ("shared words", other, run)
        else:
            alike.add(place)
    for place, other in _same_answers(train, evaluation, *sides):
        share = run_share(sides[0].words_of[place], sides[1].words_of[other])
        if place not in matches and share >= REWORDED_SHARE:
            matches[place] = ("reworded", other, question(train[place])[:SHOWN])
    return matches, len(alike - set(matches))


class _Side:
    """The questions of one side as words, and the same words as arrays."""

    def __init__(self, examples: Sequence[Example], vocabulary: dict[str, int]):
        read = [read_question(question(example)) for example in examples]
        self.words_of, self.keys = [words for words, _ in read], [key for _, key in read]
        self.texts = Texts(self.words_of, vocabulary)

    def drop_phrases(self, phrases: np.ndarray) -> None:
        """Removes the words of stock phrases."""
        hashes, places = self.texts.runs(PHRASE_WORDS)
        inside = places[np.isin(hashes, phrases)]
        wanted = ~covered(len(self.texts.words), inside, PHRASE_WORDS)
        kept, begin = [], 0
        for words in self.words_of:
            mask = wanted[begin : begin + len(words)]
            kept.append([word for word, stays in zip(words, mask, strict=True) if stays])
            begin += len(words)
        self.words_of = kept
        self.texts.keep(wanted)


def _sides(train: Sequence[Example], evaluation: Sequence[Example]) -> tuple[_Side, _Side]:
    vocabulary: dict[str, int] = {}
    sides = _Side(train, vocabulary), _Side(evaluation, vocabulary)
    phrases = _phrases(sides)
    for side in sides:
        side.drop_phrases(phrases)
    return sides


def _phrases(sides: Iterable[_Side]) -> np.ndarray:
    """Returns hashes of the runs that occur in many questions with different numbers; copies of one count once."""
    contents: dict[tuple[str, ...], int] = {}
    runs, owners = [], []
    for side in sides:
        said = [
            contents.setdefault(tuple(numbers(words) or words), len(contents))
            for words in side.words_of
        ]
        hashes, places = side.texts.runs(PHRASE_WORDS)
        runs.append(hashes)
        owners.append(np.asarray(said, np.uint64)[side.texts.owner[places]])
    pairs = np.unique(np.stack([np.concatenate(runs), np.concatenate(owners)], 1), axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    return found[counts >= PHRASE_QUESTIONS]


def _same_questions(train: Sequence[Example], mine: _Side, theirs: _Side) -> dict[int, Match]:
    of_key = {key: other for other, key in reversed(list(enumerate(theirs.keys)))}
    return {
        place: ("same question", of_key[key], question(train[place])[:SHOWN])
        for place, key in enumerate(mine.keys)
        if key in of_key
    }


def _pairs(train: _Side, evaluation: _Side, length: int) -> list[tuple[int, int, str]]:
    """Returns, in order, places of training and evaluation questions with a common run of words, and that run."""
    mine, theirs = train.texts.runs(length), evaluation.texts.runs(length)
    shared = np.intersect1d(mine[0], theirs[0])
    others = defaultdict(dict)
    for run, place in _of_runs(theirs, shared):
        others[run][int(evaluation.texts.owner[place])] = None
    found: dict[tuple[int, int], str] = {}
    counts = Counter(run for run, _ in _of_runs(mine, shared))
    starts = np.searchsorted(train.texts.owner, np.arange(len(train.words_of)))
    for run, place in _of_runs(mine, shared):
        owner = int(train.texts.owner[place])
        if counts[run] * len(others[run]) > MOST_PAIRS:
            continue
        begin = place - starts[owner]
        for other in others[run]:
            text = train.words_of[owner][begin : begin + length]
            found.setdefault((owner, other), " ".join(text))
    return [(owner, other, text) for (owner, other), text in sorted(found.items())]


def _of_runs(runs: tuple[np.ndarray, np.ndarray], wanted: np.ndarray) -> list[tuple[int, int]]:
    chosen = np.isin(runs[0], wanted)
    return list(zip(runs[0][chosen].tolist(), runs[1][chosen].tolist(), strict=True))


def _shares_most(words: list[str], others: list[str]) -> bool:
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    blocks = [b for b in matcher.get_matching_blocks() if b.size >= SHORTEST_BLOCK]
    shared = [word for block in blocks for word in words[block.a : block.a + block.size]]
    fewest = min(_num_numbers(words), _num_numbers(others))
    return len(shared) >= SHARED_WORDS * min(len(words), len(others)) and (
        _num_numbers(shared) >= SHARED_NUMBERS * fewest
    )


def _num_numbers(words: list[str]) -> int:
    return sum(map(is_number, words))


def _same_answers(
    train: Sequence[Example], evaluation: Sequence[Example], mine: _Side, theirs: _Side
) -> Iterator[tuple[int, int]]:
    """Yields places of questions with the same numbers and the same answer."""
    of_key = defaultdict(list)
    for other, example in enumerate(evaluation):
        of_key[content_key(example, theirs.words_of[other])].append(other)
    for place, example in enumerate(train):
        found = content_key(example, mine.words_of[place])
        if found is not None:
            yield from ((place, other) for other in of_key.get(found, ()))


def content_key(example: Example, words: list[str]) -> tuple[str, ...] | None:
    """Returns the numbers of a question in order, and its answer; None if it lacks either."""
    found = numbers(words)
    return (*found, answer_key(example.answer)) if found and example.answer else None


def run_share(words: list[str], others: list[str]) -> float:
    """Returns the share of all runs of 3 words that both questions have; 0 if they are too short for any."""
    mine, theirs = _run_set(words), _run_set(others)
    return len(mine & theirs) / max(1, len(mine | theirs))


def _run_set(words: list[str]) -> set[tuple[str, ...]]:
    return {
        tuple(words[i : i + REWORDED_RUN]) for i in range(max(0, len(words) - REWORDED_RUN + 1))
    }


def _item(example: Example, reason: str, other: Example, text: str) -> dict[str, str]:
    return {
        "id": example.id,
        "source": example.source,
        "question": question_hash(question(example)),
        "reason": reason,
        "evaluation_id": other.id,
        "evaluation_source": other.source,
        "text": text,
    }


# Share of all runs of 3 words. Questions of one pattern that have the same numbers and, by chance, the same answer
# share less.
NEAR_SHARE = 0.7


def without_duplicates(
    examples: Sequence[Example], near: bool
) -> tuple[list[Example], list[dict[str, str | bool]]]:
    """Returns the examples without those that repeat an earlier one.

    Two are equal if they are up to typesetting and the form of the answer. With `near` they are also equal if they have
    the same numbers in the same order, the same answer, and seven tenths of all runs of 3 words.

    Returns:
      The kept ones in order, and for each other one: `id`, `source`, `reason` ("same question" or "reworded"), `of`
      (the id of the earlier one), and `same_answer` (False if their gold answers differ, so one may be wrong).
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
            dropped.append(_duplicate(example, earlier, reason))
    return kept, dropped


def _nearest(words: list[str], others: list[tuple[Example, list[str]]]) -> Example | None:
    """Returns the first of the others that is the same except for a few words."""
    return next((e for e, theirs in others if run_share(words, theirs) >= NEAR_SHARE), None)


def _duplicate(example: Example, earlier: Example, reason: str) -> dict[str, str | bool]:
    same = answer_key(example.answer) == answer_key(earlier.answer)
    return {"id": example.id, "source": example.source, "reason": reason} | {
        "of": earlier.id,
        "same_answer": same,
    }
