"""A call that the worker has: what comes back, as growing choices."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.sampling.sampling_params import Completion, Request
from jaxreason.serve.calls import Call
from jaxreason.serve.errors import ApiError, of_reason
from jaxreason.serve.mailbox import Mailbox
from jaxreason.serve.scores import PromptScores
from jaxreason.serve.shapes import Delta, Shown, Usage
from jaxreason.serve.text import TextStream
from jaxreason.serve.tickets import Ticket
from jaxreason.serve.worker import Worker


class Pending:
    """Hands the call to the worker; to be made in the event loop.

    Raises:
      ApiError: as `Worker.submit`.
    """

    def __init__(self, call: Call, worker: Worker, tokenizer: Tokenizer):
        self._call, self._worker, self._tokenizer = call, worker, tokenizer
        self.id = f"{'chatcmpl' if call.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._mailbox = Mailbox()
        stop = call.decoding.stop if call.decoding is not None else ()
        self._texts = [TextStream(tokenizer.decode, stop) for _ in range(call.sequences)]
        self._shown = [0] * call.sequences  # tokens of each choice that have been given out
        self._replies = 0
        self._tickets = [self._ticket(index) for index in range(len(call.prompts))]
        worker.submit(self._tickets)

    def _ticket(self, index: int) -> Ticket:
        call = self._call
        request = Request(
            f"{self.id}/{index}",
            call.prompts[index],
            call.seeds[index],
            call.samples,
            call.decoding,
        )
        return Ticket(
            request,
            post=lambda key, value: self._mailbox.put((index, key), value),
            streams=call.stream,
            scores=call.echo and call.logprobs is not None,
            replies=call.decoding is not None,
        )

    @property
    def usage(self) -> Usage:
        """So far."""
        return Usage(sum(map(len, self._call.prompts)), self._replies)

    @property
    def fingerprint(self) -> str | None:
        """Of the weights that answer it, once it has begun."""
        return self._tickets[0].fingerprint

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._worker.cancel(self._tickets)

    async def deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """(choice, what it grows by) until all choices have ended.

        Raises:
          ApiError: a reply has failed; the others of the call are cancelled.
        """
        unfinished = self._call.sequences
        try:
            if self._call.echo and self._call.logprobs is None:
                for index, tokens in enumerate(self._call.prompts):
                    for choice in self._choices(index):
                        yield choice, Delta(self._tokenizer.show(tokens), (), None)
            while unfinished:
                for (index, key), value in (await self._mailbox.take()).items():
                    for choice, delta in self._grown(index, key, value):
                        unfinished -= delta.finish_reason is not None
                        yield choice, delta
        finally:
            self.cancel()

    def _choices(self, index: int) -> range:
        return range(index * self._call.samples, (index + 1) * self._call.samples)

    def _grown(self, index: int, key: Any, value: Any) -> list[tuple[int, Delta]]:
        if key == "prompt":
            delta = self._prompt(self._call.prompts[index], value)
            return [(choice, delta) for choice in self._choices(index)]
        choice = self._choices(index)[key]
        return [(choice, self._reply(choice, value))]

    def _prompt(self, tokens: tuple[int, ...], scores: PromptScores) -> Delta:
        first = Shown(tokens[0], None, ())
        rest = map(Shown, tokens[1:], scores.logprobs, scores.top)
        return Delta(self._tokenizer.show(tokens), (first, *rest), None)

    def _reply(self, choice: int, completion: Completion) -> Delta:
        reason = completion.finish_reason
        if reason == "cancelled":
            raise ApiError(503, "the request was cancelled")
        if reason.startswith("error"):
            raise of_reason(reason)
        text = self._texts[choice].push(completion.tokens, final=reason != "")
        return Delta(text, self._new_tokens(choice, completion), reason or None)

    def _new_tokens(self, choice: int, completion: Completion) -> tuple[Shown, ...]:
        start, self._shown[choice] = self._shown[choice], len(completion.tokens)
        self._replies += len(completion.tokens) - start
        if self._call.logprobs is None:
            return ()
        tokens, logprobs = completion.tokens[start:], completion.logprobs[start:]
        top = completion.top_logprobs[start:] or [()] * len(tokens)
        return tuple(map(Shown, tokens, logprobs, top))
