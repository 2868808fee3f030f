"""Answers a job, as one response or as server-sent events while it is being generated.

Everything here runs in the event loop. The engine's thread only puts results into a `Mailbox`.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from itertools import repeat
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response
from fastapi.responses import StreamingResponse

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.sampling.sampling_params import Completion, Request
from jaxreason.sampling.stopping import MARGIN
from jaxreason.serve.api_errors import ApiError, decoding_error
from jaxreason.serve.choices import ChoiceDelta, ChoiceWriter, TextStream, TokenLogprob, Usage
from jaxreason.serve.engine_thread import EngineThread, QueuedPrompt
from jaxreason.serve.preprocess import GenerationJob
from jaxreason.serve.prompt_logprobs import PromptLogprobs
from jaxreason.serve.token_texts import ReplyPlaces, TokenTexts, prompt_places


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Makes a JSON response in ASCII: an error may quote half of a surrogate pair, which UTF-8 cannot hold."""
    return Response(json.dumps(value), status, headers, "application/json")


async def respond(
    http_request: HttpRequest,
    job: GenerationJob,
    engine_thread: EngineThread,
    tokenizer: Tokenizer,
    model_name: str,
) -> Response:
    """Runs a job and answers the request. If the client disconnects, the engine drops the job.

    Raises:
      ApiError: the job was refused, or failed before its first token.
    """
    running = RunningJob(job, engine_thread, tokenizer)
    watch = asyncio.create_task(_cancel_when_gone(http_request, running))
    try:
        return await _respond(job, running, tokenizer, model_name, watch)
    except BaseException:
        watch.cancel()
        raise


async def _respond(
    job: GenerationJob,
    running: "RunningJob",
    tokenizer: Tokenizer,
    model_name: str,
    watch: asyncio.Task,
) -> Response:
    writer = ChoiceWriter(job.chat, job.logprobs, running.token_texts)
    head = {
        "id": running.id,
        "object": writer.object_name(job.stream),
        "created": int(time.time()),
        "model": model_name,
    }
    if not job.stream:
        body = await _collect(running, writer, job)
        watch.cancel()
        return json_response({**head, "system_fingerprint": running.fingerprint, **body})
    chunks = _chunks(running, writer, job, head)
    # A job that fails before its first chunk gets an error status. After that the status has been sent already.
    first = await anext(chunks)
    return StreamingResponse(_events(first, chunks, watch), media_type="text/event-stream")


async def _cancel_when_gone(http_request: HttpRequest, running: "RunningJob") -> None:
    while (await http_request.receive())["type"] != "http.disconnect":
        pass
    running.cancel()


async def _collect(running: "RunningJob", writer: ChoiceWriter, job: GenerationJob) -> dict:
    """Returns choices and usage of a response that is not streamed."""
    grown = {index: ChoiceDelta("", (), None) for index in range(job.sequences)}
    async for index, delta in running.deltas():
        before = grown[index]
        grown[index] = ChoiceDelta(
            before.text + delta.text, before.tokens + delta.tokens, delta.finish_reason
        )
    choices = [writer.choice(index, whole, chunk=False) for index, whole in grown.items()]
    return {"choices": choices, "usage": running.usage.to_json()}


async def _chunks(
    running: "RunningJob", writer: ChoiceWriter, job: GenerationJob, head: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Yields the chunks of a stream. If it was asked for, the last chunk counts tokens."""
    usage = {"usage": None} if job.include_usage else {}
    opened = set()
    async for index, delta in running.deltas():
        head = {**head, "system_fingerprint": running.fingerprint}
        if index not in opened and (opening := writer.opening(index)) is not None:
            yield {**head, "choices": [opening], **usage}
        opened.add(index)
        if delta.text or delta.tokens or delta.finish_reason:
            yield {**head, "choices": [writer.choice(index, delta, chunk=True)], **usage}
    if job.include_usage:
        yield {**head, "choices": [], "usage": running.usage.to_json()}


async def _events(
    first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], watch: asyncio.Task
) -> AsyncIterator[str]:
    """Yields the chunks as server-sent events. If the job fails, the error is the last event."""
    try:
        yield _event(first)
        async for chunk in rest:
            yield _event(chunk)
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.to_json())
    finally:
        watch.cancel()
        await rest.aclose()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


class Mailbox:
    """Carries values from the engine's thread to a coroutine. It must be made in the event loop that takes them.

    It holds only the newest state of each sequence. So a client that reads slowly gets larger pieces of its stream,
    but the queue does not grow.
    """

    def __init__(self):
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._latest: dict[Any, Any] = {}

    def put(self, key: Any, value: Any) -> None:
        """Replaces the value that has not been taken yet. Any thread may call it."""
        try:
            # Only its own event loop may set an asyncio.Event.
            self._loop.call_soon_threadsafe(self._put, key, value)
        except RuntimeError:
            return  # The loop has ended, so nobody reads any more.

    def _put(self, key: Any, value: Any) -> None:
        self._latest[key] = value
        self._news.set()

    async def take(self) -> dict[Any, Any]:
        """Returns the values put since the last call; waits until there is one."""
        await self._news.wait()
        self._news.clear()
        taken, self._latest = self._latest, {}
        return taken


class RunningJob:
    """A job that the engine's thread works on. It must be made in the event loop.

    Raises:
      ApiError: as `EngineThread.submit`.
    """

    def __init__(self, job: GenerationJob, engine_thread: EngineThread, tokenizer: Tokenizer):
        self._job, self._engine_thread, self._tokenizer = job, engine_thread, tokenizer
        self.id = f"{'chatcmpl' if job.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._mailbox = Mailbox()
        self.token_texts = TokenTexts(tokenizer.decode, tokenizer.token_bytes)
        self._texts: list[TextStream] = []
        self._places: list[ReplyPlaces] = []
        for choice in range(job.sequences):
            self._begin_text(choice // job.samples)
        self._given = [0] * job.sequences  # For each choice, the number of tokens already returned.
        self._reply_tokens = 0
        self._prompts = [self._queued_prompt(index) for index in range(len(job.prompts))]
        engine_thread.submit(self._prompts)

    def _begin_text(self, index: int) -> None:
        """Begins the text of one reply to prompt `index`. A message does not continue a text, a completion does."""
        before = () if self._job.chat else self._job.prompts[index]
        decoding = self._job.decodings[index]
        stop = () if decoding is None else decoding.stop
        decode = self._tokenizer.decode
        start = len(self._job.echoes[index]) if self._job.echoes else 0
        first = not decode(list(before[-MARGIN:]))
        self._texts.append(TextStream(decode, stop, before))
        self._places.append(ReplyPlaces(self.token_texts, start, first))

    def _queued_prompt(self, index: int) -> QueuedPrompt:
        job = self._job
        request = Request(
            f"{self.id}/{index}",
            job.prompts[index],
            job.seeds[index],
            job.samples,
            job.decodings[index],
        )
        return QueuedPrompt(
            request,
            post=lambda key, value: self._mailbox.put((index, key), value),
            streams=job.stream,
            wants_logprobs=bool(job.echoes) and job.logprobs is not None,
            wants_replies=job.decodings[index] is not None,
        )

    @property
    def usage(self) -> Usage:
        """Returns the token counts so far."""
        return Usage(sum(map(len, self._job.prompts)), self._reply_tokens)

    @property
    def fingerprint(self) -> str | None:
        """Returns the fingerprint of the weights that answer the job; None before it has begun."""
        return self._prompts[0].fingerprint

    def cancel(self) -> None:
        """Says that the job's results are no longer wanted."""
        self._engine_thread.cancel(self._prompts)

    async def deltas(self) -> AsyncIterator[tuple[int, ChoiceDelta]]:
        """Yields (choice, what is added to it) until all choices have ended.

        Raises:
          ApiError: a reply has failed; the other replies of the job are cancelled.
        """
        unfinished = self._job.sequences
        try:
            if self._job.logprobs is None:
                for index, text in enumerate(self._job.echoes):
                    for choice in self._choices_of(index):
                        yield choice, ChoiceDelta(text, (), None)
            while unfinished:
                for (index, key), value in (await self._mailbox.take()).items():
                    for choice, delta in self._grow(index, key, value):
                        unfinished -= delta.finish_reason is not None
                        yield choice, delta
        finally:
            # This also runs when the client stops reading, since the generator is closed then.
            self.cancel()

    def _choices_of(self, index: int) -> range:
        """Returns the choices of a prompt. The choices of the first prompt come first."""
        return range(index * self._job.samples, (index + 1) * self._job.samples)

    def _grow(self, index: int, key: Any, value: Any) -> list[tuple[int, ChoiceDelta]]:
        choices = self._choices_of(index)
        if key == "prompt":
            delta = self._prompt_delta(index, value)
            return [(choice, delta) for choice in choices]
        return [(choices[key], self._reply_delta(choices[key], value))]

    def _prompt_delta(self, index: int, found: PromptLogprobs) -> ChoiceDelta:
        tokens, text = self._job.prompts[index], self._job.echoes[index]
        places = prompt_places(self.token_texts, tokens, text)
        shown = map(TokenLogprob, tokens, (None, *found.logprobs), ((), *found.top), places)
        return ChoiceDelta(text, tuple(shown), None)

    def _reply_delta(self, choice: int, completion: Completion) -> ChoiceDelta:
        reason = completion.finish_reason
        if reason == "cancelled":
            raise ApiError(503, "the request was cancelled")
        if reason.startswith("error"):
            raise _engine_error(reason)
        text = self._texts[choice].push(completion.tokens, final=reason != "")
        return ChoiceDelta(text, self._new_tokens(choice, completion), reason or None)

    def _new_tokens(self, choice: int, completion: Completion) -> tuple[TokenLogprob, ...]:
        start, self._given[choice] = self._given[choice], len(completion.tokens)
        self._reply_tokens += len(completion.tokens) - start
        if self._job.logprobs is None:
            return ()
        tokens, logprobs = completion.tokens[start:], completion.logprobs[start:]
        top = completion.top_logprobs[start:] or [()] * len(tokens)
        # Messages have no `text_offset`.
        places = repeat(0) if self._job.chat else self._places[choice].take(tokens)
        return tuple(map(TokenLogprob, tokens, logprobs, top, places))


def _engine_error(finish_reason: str) -> ApiError:
    """Returns the error for a reply that ended with "error: ...": 400 if the engine refused the request itself."""
    reason = finish_reason.removeprefix("error: ")
    if reason.startswith("decoding."):
        return decoding_error(reason)
    ours = reason.startswith(("non-finite", "the engine failed"))
    return ApiError(500 if ours else 400, reason)
