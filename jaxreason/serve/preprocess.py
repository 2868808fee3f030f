"""Turns a request body into a job for the engine: prompts as tokens, sampling parameters, and this server's limits."""

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.serve.api_errors import ApiError, decoding_error, shorten
from jaxreason.serve.protocol import (
    TOO_LONG,
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
    validate,
)
from jaxreason.serve.serve_config import ServeConfig

# At first, only this many characters per token of free room are tokenized of a long text. So a text that is far
# too long is refused early and nobody waits for the rest. The cut may split a word and change a few tokens;
# CUT_TOKENS is the margin for that.
CHARACTERS_PER_TOKEN, CUT_TOKENS = 8, 64
SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "think_budget",
    "stop",
)


@dataclass(frozen=True)
class GenerationJob:
    """One HTTP request as a job for the engine.

    Attributes:
      chat: whether the request came to /v1/chat/completions.
      prompts: token ids of each prompt.
      seeds: seed of each prompt.
      samples: replies to each prompt.
      decodings: sampling parameters of each prompt; None if only its log-probabilities are wanted.
      stream: whether chunks are wanted.
      include_usage: whether the last chunk should count tokens.
      logprobs: how many of the most likely tokens are shown at each place; None for no log-probabilities.
      echoes: the text of each prompt, if it is to be part of the choices' texts; else ().
    """

    chat: bool
    prompts: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    samples: int
    decodings: tuple[SamplingParams | None, ...]
    stream: bool
    include_usage: bool
    logprobs: int | None
    echoes: tuple[str, ...]

    @property
    def sequences(self) -> int:
        """The number of replies to all prompts; a prompt that is only scored counts as one."""
        return len(self.prompts) * self.samples


class Preprocessor:
    """Turns request bodies into jobs. Cheap checks come before tokenization, which takes long for a long text.

    Args:
      config: limits and defaults of the server.
      tokenizer: the model's tokenizer.
      vocab_size: the model's vocabulary size.
      names: the model's names; the first one is shown.
    """

    def __init__(
        self, config: ServeConfig, tokenizer: Tokenizer, vocab_size: int, names: Sequence[str]
    ):
        self._config, self._tokenizer = config, tokenizer
        self._vocab_size, self._names = vocab_size, tuple(names)

    def completion(self, body: Any) -> GenerationJob:
        """Makes the job of a body of /v1/completions.

        Raises:
          ApiError: (400, 404) the request cannot be served; names the field.
        """
        request = validate(CompletionRequest, body)
        self._check_request(request, len(request.prompts))
        prompts = tuple(self._tokenize_prompt(prompt) for prompt in request.prompts)
        return self._make_job(
            request,
            prompts,
            least=0 if request.echo else 1,
            echoes=tuple(map(self._shown, request.prompts)) if request.echo else (),
            logprobs=request.logprobs,
        )

    def chat(self, body: Any) -> GenerationJob:
        """Makes the job of a body of /v1/chat/completions.

        Raises:
          ApiError: (400, 404) the request cannot be served; names the field.
        """
        longest = self._config.sampler.max_length
        request = validate(ChatCompletionRequest, body, max_length=longest)
        self._check_request(request, 1)
        messages = [message.for_template() for message in request.messages]
        self._check_length("messages", [text for one in messages for text in one.values()])
        thinking = self._thinking(request)
        prompt = self._tokenize("messages", self._tokenizer.encode_prompt, messages, thinking)
        return self._make_job(
            request,
            (prompt,),
            logprobs=(request.top_logprobs or 0) if request.logprobs else None,
            chat=True,
        )

    def _make_job(
        self,
        request: GenerationRequest,
        prompts: tuple[tuple[int, ...], ...],
        *,
        logprobs: int | None,
        least: int = 1,
        echoes: tuple[str, ...] = (),
        chat: bool = False,
    ) -> GenerationJob:
        seed = request.seed
        seeds = tuple(secrets.randbits(63) if seed is None else seed % 2**64 for _ in prompts)
        limits = self._limits(prompts, request, least)
        self._check_logprobs("top_logprobs" if chat else "logprobs", logprobs)
        return GenerationJob(
            chat=chat,
            prompts=prompts,
            seeds=seeds,
            samples=request.n,
            decodings=tuple(self._sampling_params(request, limit) for limit in limits),
            stream=request.stream,
            include_usage=request.stream_options.include_usage,
            logprobs=logprobs,
            echoes=echoes,
        )

    def _check_request(self, request: GenerationRequest, prompts: int) -> None:
        """Refuses a wrong model name, and more replies than the server may run at the same time."""
        name, most = request.model, self._config.max_sequences
        if name is not None and name not in self._names:
            message = f"model: {shorten(name, 80)!r} is not served here; this is {self._names[0]!r}"
            raise ApiError(404, message, "model", "model_not_found")
        if prompts * request.n > most:
            message = f"{prompts} prompts with n={request.n} exceed the limit of {most} replies"
            raise ApiError(400, message, "n")

    def _thinking(self, request: ChatCompletionRequest) -> bool | None:
        """Returns the template's thinking switch. The effort "none" turns it off; templates know no other efforts."""
        switch = request.chat_template_kwargs.enable_thinking
        if switch is not None:
            return switch
        return False if request.reasoning_effort == "none" else self._config.thinking

    def _tokenize_prompt(self, prompt: str | list[int]) -> tuple[int, ...]:
        if isinstance(prompt, str):
            self._check_length("prompt", [prompt])
            ids = self._tokenize("prompt", self._tokenizer.encode, prompt)
        else:
            ids = tuple(prompt)
        if not ids:
            raise ApiError(400, "the prompt is empty", "prompt")
        if not all(0 <= token < self._vocab_size for token in ids):
            message = f"prompt: a token id is outside the vocabulary of {self._vocab_size}"
            raise ApiError(400, message, "prompt")
        return ids

    def _shown(self, prompt: str | list[int]) -> str:
        """Returns a prompt's text as the client sent it, without the BOS that the tokenizer adds."""
        return prompt if isinstance(prompt, str) else self._tokenizer.show(prompt)

    def _tokenize(self, name: str, encode: Callable, *arguments: Any) -> tuple[int, ...]:
        try:
            return tuple(encode(*arguments))
        except ValueError as error:  # The clients need not know the folder of the model.
            message = str(error).replace(self._tokenizer.name, self._names[0])
            raise ApiError(400, f"{name}: {message}", name) from None

    def _check_length(self, name: str, texts: Sequence[str]) -> None:
        size = self._config.sampler.max_length
        most = CHARACTERS_PER_TOKEN * size
        if sum(map(len, texts)) <= most:
            return
        start = "".join(text[:most] for text in texts)[:most]
        if len(self._tokenize(name, self._tokenizer.encode_part, start)) > size + CUT_TOKENS:
            message = f"{name}: the first {most} characters alone exceed the limit of {size} tokens"
            raise ApiError(400, message, name, TOO_LONG)

    def _limits(self, prompts: Sequence, request: GenerationRequest, least: int) -> tuple[int, ...]:
        """Returns the limit of each reply: the requested one, which must fit, or the default as far as it fits."""
        size, longest = self._config.sampler.max_length, max(map(len, prompts))
        name = request.limit_field
        wanted = getattr(request, name)
        if wanted is None:
            if longest >= size:
                message = f"a prompt of {longest} tokens and a reply of at least 1 exceed the limit of {size} tokens"
                field = "messages" if isinstance(request, ChatCompletionRequest) else "prompt"
                raise ApiError(400, message, field, TOO_LONG)
            return tuple(min(self._config.decoding.max_tokens, size - len(p)) for p in prompts)
        if not least <= wanted <= self._config.max_tokens:
            message = f"{name}: expected {least} to {self._config.max_tokens}, got {wanted}"
            raise ApiError(400, message, name)
        if longest + wanted > size:
            message = f"a prompt of {longest} tokens and {name}={wanted} exceed the limit of {size} tokens"
            raise ApiError(400, message, name, TOO_LONG)
        return (wanted,) * len(prompts)

    def _sampling_params(
        self, request: GenerationRequest, max_tokens: int
    ) -> SamplingParams | None:
        """Returns the defaults with the request's fields applied; None if `max_tokens` is 0: nothing is sampled then.

        Raises:
          ApiError: (400) a field is out of range; names it.
        """
        fields = {name: getattr(request, name) for name in SAMPLING_FIELDS}
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            found = dataclasses.replace(
                self._config.decoding, max_tokens=max(max_tokens, 1), **given
            )
        except ValueError as error:
            raise decoding_error(str(error)) from None
        return found if max_tokens else None

    def _check_logprobs(self, name: str, wanted: int | None) -> None:
        most = self._config.sampler.top_logprobs
        if wanted is not None and not 0 <= wanted <= most:
            raise ApiError(400, f"{name}: expected 0 to {most}, got {wanted}", name)
