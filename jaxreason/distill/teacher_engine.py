"""Samples the replies of a teacher that runs here, on all processes together; process 0 writes them."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreason.config import claimed
from jaxreason.data.thoughts import OPEN
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.distill.passes import HELD, Pass, TeacherQuestion, reply_line, reply_seed
from jaxreason.models.huggingface import ModelSource
from jaxreason.results.jsonl import JsonlWriter
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.open_engine import engine_for
from jaxreason.sampling.sampling_params import Completion, Request
from jaxreason.sampling.stopping import before_stop
from jaxreason.tracking.metric_logger import ProgressBar

SEED_BITS = 64


def engine_identity(
    source: ModelSource, tokenizer: Tokenizer, sampler: SamplerConfig
) -> dict[str, Any]:
    """Returns what replies depend on beside question, decoding and seed."""
    return {
        "teacher": source.identity | {"dtype": source.config.dtype},
        "stop_ids": list(tokenizer.stop_ids),
        "max_length": sampler.max_length,
        "dtypes": [sampler.cache_dtype, sampler.weight_dtype],
        HELD: claimed(source.config),
    }


def make_teacher_engine(
    source: ModelSource, tokenizer: Tokenizer, sampler: SamplerConfig, mesh: Mesh
) -> Engine:
    """Makes the engine with the teacher's weights."""
    model, params = source.open()
    return engine_for(model, params, sampler, mesh, tokenizer)


def ask_engine(
    engine: Engine,
    tokenizer: Tokenizer,
    one: Pass,
    questions: Sequence[TeacherQuestion],
    missing: Sequence[tuple[int, int]],
    seed: int,
    path: Any,
    check: Callable[[], None],
) -> None:
    """Samples the missing replies of a pass and writes each one as soon as it has ended.

    Args:
      engine: the engine with the teacher.
      tokenizer: the teacher's tokenizer.
      one: the pass.
      questions: all questions.
      missing: (place of the question, sample) of each missing reply; the same on every process.
      seed: seed of the run.
      path: the file of replies.
      check: called at each block of decoding; an exception that it raises ends the sampling.
    """
    requests = _requests(one, questions, missing, seed)
    total = len(questions) * one.samples
    with contextlib.ExitStack() as stack:
        writer = None
        if jax.process_index() == 0:
            writer = stack.enter_context(contextlib.closing(JsonlWriter(path)))
        done = total - len(missing)
        progress = stack.enter_context(
            contextlib.closing(ProgressBar(f"distill {one.name}", total, done))
        )
        for completion in engine.generate(requests, one.decoding, check=check):
            done += 1
            if writer is not None:
                writer.write(_line(tokenizer, one, questions, completion))
                writer.flush_if_due()
            progress.update(done, completion.finish_reason)


def _requests(
    one: Pass, questions: Sequence[TeacherQuestion], missing: Sequence[tuple[int, int]], seed: int
) -> list[Request]:
    """Returns a request for each reply, long prompts first.

    The replies to a question stand together, so that they share the pages of its prompt.
    """
    found = [
        Request(
            f"{place} {sample}",
            one.prompts[place],
            reply_seed(seed, one.name, questions[place].key, sample, SEED_BITS),
            1,
        )
        for place, sample in missing
    ]
    return sorted(found, key=lambda request: len(request.tokens), reverse=True)


def _line(
    tokenizer: Tokenizer, one: Pass, questions: Sequence[TeacherQuestion], completion: Completion
) -> dict[str, Any]:
    place, sample = map(int, completion.id.split())
    tokens = list(completion.tokens)
    text = before_stop(tokens, one.decoding.stop, tokenizer.decode)
    # If the prompt ends with the opening mark, the reply starts inside a thought; put the mark back.
    if tokenizer.opens_thought(one.prompts[place]):
        text = f"{OPEN}\n{text}"
    reason = completion.finish_reason
    return reply_line(one, questions[place], place, sample, text, None, reason, len(tokens))
