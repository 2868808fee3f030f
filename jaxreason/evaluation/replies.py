"""Replies of a model to the questions of one part, as they finish."""

import hashlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation.grading import Reply
from jaxreason.evaluation.parts import Part
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import Engine, Request
from jaxreason.tasks.registry import TASKS

CHOOSE_AT_ONCE = 128  # questions whose continuations are scored before their lines are written


class Replies:
    """Makes the missing samples of a part; every process calls it alike.

    Args:
      engine: with the model.
      tokenizer: the model's.
      part: the questions.
      decoding: of the part; plays no role where continuations are compared.
      missing: [items, samples] which are wanted.
      seed: of the sampling.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        part: Part,
        decoding: Decoding,
        missing: Bool[np.ndarray, "I G"],
        seed: int,
    ):
        self._engine, self._tokenizer, self._part = engine, tokenizer, part
        self._decoding, self._mask, self._seed = decoding, missing, seed
        self._task = TASKS[part.benchmark.task]

    def __iter__(self) -> Iterator[Reply]:
        return self._choose() if self._task.kind == "choose" else self._generate()

    def _generate(self) -> Iterator[Reply]:
        """All samples of a question are made again where one is missing: they share its prefill."""
        part = self._part
        places = {part.items[i].id: i for i in np.flatnonzero(self._mask.any(axis=1))}
        requests = [
            Request(name, part.prompts[i], self._seed_of(name), part.num_samples)
            for name, i in places.items()
        ]
        for completion in self._engine.generate(requests, self._decoding):
            place = places[completion.id]
            if self._mask[place, completion.sample]:
                text = self._tokenizer.decode(list(completion.tokens))
                yield self._reply(
                    place, completion.sample, completion.tokens, text, completion.finish_reason, {}
                )

    def _reply(self, place: int, sample: int, tokens, text: str, reason: str, extra) -> Reply:
        part = self._part
        return Reply(part.items[place], sample, part.prompts[place], tokens, text, reason, extra)

    def _seed_of(self, item: str) -> int:
        """The same for every model and decoding: what differs is then not the draw."""
        text = f"{self._seed}/{self._part.name}/{item}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")

    def _choose(self) -> Iterator[Reply]:
        """The likelier continuation of each question (the first of equal ones); no sampling."""
        places = np.flatnonzero(self._mask.any(axis=1))
        for start in range(0, len(places), CHOOSE_AT_ONCE):
            yield from self._choose_some(places[start : start + CHOOSE_AT_ONCE].tolist())

    def _choose_some(self, places: list[int]) -> Iterator[Reply]:
        choices = [self._task.choices(self._part.items[place].example) for place in places]
        pairs = [
            (self._part.prompts[place], self._tokenizer.encode(choice))
            for place, texts in zip(places, choices, strict=True)
            for choice in texts
        ]
        scores = iter(self._engine.score(pairs))
        encoded = iter(pairs)
        for place, texts in zip(places, choices, strict=True):
            found = [next(scores) for _ in texts]
            tokens = [next(encoded)[1] for _ in texts]
            error = next((score.error for score in found if score.error is not None), None)
            best = 0 if error else int(np.argmax([score.logprob for score in found]))
            logprobs = {t: s.logprob for t, s in zip(texts, found, strict=True) if not error}
            reason = f"error: {error}" if error else "choice"
            extra = {"choice_logprobs": logprobs}
            for sample in np.flatnonzero(self._mask[place]).tolist():
                yield self._reply(place, sample, tokens[best], texts[best], reason, extra)
