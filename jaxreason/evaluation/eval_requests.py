"""Requests to the sampling engine for the questions of several jobs, and the replies as they finish."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.grading import EvalReply, opening
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sampling.stopping import before_stop
from jaxreason.tasks.registry import TASKS

CHOOSE_AT_ONCE = 128  # Questions whose continuations are scored before their lines are written.


@dataclass(frozen=True)
class WantedSamples:
    """A job and the samples of it that are wanted."""

    job: EvalJob
    mask: Bool[np.ndarray, "I G"]

    @property
    def places(self) -> list[int]:
        """The questions that lack a sample and can be put."""
        places = np.flatnonzero(self.mask.any(axis=1)).tolist()
        return [place for place in places if place not in self.job.problems]

    def reply(
        self, place: int, sample: int, tokens, text: str, reason: str, prompt=None, **extra: Any
    ) -> EvalReply:
        """Returns the reply to question `place`; `prompt` has the tokens before it, if not the job's."""
        prompt = self.job.prompts[place] if prompt is None else prompt
        return EvalReply(self.job.items[place], sample, prompt, tokens, text, reason, extra)


def make_replies(
    engine: Engine,
    tokenizer: Tokenizer,
    wanted: Sequence[WantedSamples],
    decoding: SamplingParams,
    seed: int,
    check: Callable[[], None],
) -> Iterator[tuple[EvalJob, EvalReply]]:
    """Makes the wanted samples of jobs with one decoding; every process must make the same call.

    All generated replies go through the slots together, so that no slot idles at the end of a benchmark.

    Args:
      engine: with the model.
      tokenizer: the model's.
      wanted: the samples, by job.
      decoding: of the jobs; not used where continuations are compared.
      seed: of the sampling.
      check: called at each block of decoding and of scoring; if it raises an error, the call ends.
    """
    generated = []
    for one in wanted:
        yield from _problems(one)
        if one.job.kind == "choose":
            yield from _choose(engine, tokenizer, one, check)
        else:
            generated.append(one)
    if generated:
        yield from _generate(engine, tokenizer, generated, decoding, seed, check)


def _problems(one: WantedSamples) -> Iterator[tuple[EvalJob, EvalReply]]:
    """Yields failed samples for the questions that cannot be put."""
    for place, problem in one.job.problems.items():
        for sample in np.flatnonzero(one.mask[place]).tolist():
            yield one.job, one.reply(place, sample, (), "", f"error: {problem}")


def _generate(
    engine: Engine,
    tokenizer: Tokenizer,
    wanted: Sequence[WantedSamples],
    decoding: SamplingParams,
    seed: int,
    check: Callable[[], None],
) -> Iterator[tuple[EvalJob, EvalReply]]:
    """Yields replies. If one sample of a question is missing, all of them are sampled again, since they share a
    prefill.

    Long prompts come first: a decode step reads the cache up to the longest of its sequences. With this order, the
    replies that end last are not those with the longest prompts.
    """
    asked: dict[str, tuple[WantedSamples, int]] = {}
    requests = []
    for one in wanted:
        for place in one.places:
            question = one.job.items[place].id
            name, drawn = f"{one.job.key.name}/{question}", f"{one.job.key.benchmark}/{question}"
            asked[name] = one, place
            prompt, samples = one.job.prompts[place], one.job.num_samples
            requests.append(Request(name, prompt, _seed_of(seed, drawn), samples))
    # The seed of a draw depends on the benchmark's name and not on the prompt: prompt formats are compared on the same
    # draws.
    requests.sort(key=lambda request: len(request.tokens), reverse=True)
    for completion in engine.generate(requests, decoding, check=check):
        one, place = asked[completion.id]
        if one.mask[place, completion.sample]:
            tokens, reason = completion.tokens, completion.finish_reason
            text = before_stop(tokens, decoding.stop, tokenizer.decode)
            opened = opening(tokenizer, one.job.prompts[place])
            yield one.job, one.reply(place, completion.sample, tokens, text, reason, **opened)


def _seed_of(seed: int, name: str) -> int:
    """Returns a seed that is equal for every model, prompt and decoding, so that all are compared on the same draws."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _choose(
    engine: Engine, tokenizer: Tokenizer, one: WantedSamples, check: Callable[[], None]
) -> Iterator[tuple[EvalJob, EvalReply]]:
    """Yields the more likely continuation of each question (the first of equal ones); nothing is sampled."""
    for start in range(0, len(one.places), CHOOSE_AT_ONCE):
        for reply in _choose_some(engine, tokenizer, one, one.places[start:][:CHOOSE_AT_ONCE]):
            yield one.job, reply
        check()


def _choose_some(
    engine: Engine, tokenizer: Tokenizer, one: WantedSamples, places: list[int]
) -> Iterator[EvalReply]:
    task = TASKS[next(iter(one.job.graders))]
    choices = [task.choices(one.job.items[place].example) for place in places]
    # With some tokenizers white space at a prompt's end is scored with the choices.
    pairs = [
        tokenizer.encode_after(one.job.prompts[place], one.job.delimiter + choice)
        for place, texts in zip(places, choices, strict=True)
        for choice in texts
    ]
    scores = iter(engine.score(pairs))
    encoded = iter(pairs)
    for place, texts in zip(places, choices, strict=True):
        found = [next(scores) for _ in texts]
        scored = [next(encoded) for _ in texts]
        error = next((score.error for score in found if score.error is not None), None)
        best = 0 if error else int(np.argmax([score.logprob for score in found]))
        logprobs = [score.logprob for score in found] if not error else []
        reason = f"error: {error}" if error else "choice"
        told = {"choices": list(texts), "choice_logprobs": logprobs}
        for sample in np.flatnonzero(one.mask[place]).tolist():
            prompt, tokens = scored[best]
            yield one.reply(place, sample, tokens, texts[best], reason, prompt, **told)
