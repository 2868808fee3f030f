"""A request body as what the engine is to do."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.serve.decodings import parse_decoding
from jaxreason.serve.errors import ApiError, shorten
from jaxreason.serve.fields import Fields
from jaxreason.serve.messages import parse_messages
from jaxreason.serve.settings import ServeConfig

# Of a text so many characters for each token that there is room for are made tokens first: what is far too long is
# refused then, and nobody waits for the rest. Where the text is cut, tokens may be others than in the whole.
CHARACTERS_A_TOKEN, CUT_TOKENS = 8, 64
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


@dataclass(frozen=True)
class Call:
    """One HTTP request.

    Attributes:
      chat: whether it was /v1/chat/completions.
      prompts: token ids of each.
      seeds: of each prompt.
      samples: replies to each prompt.
      decoding: of all; None where only the prompts' log-probabilities are wanted.
      stream: whether chunks are wanted.
      usage: whether the last chunk is to count tokens.
      logprobs: how many likeliest tokens to show at each; None for no log-probabilities at all.
      echo: whether the prompt is part of the text.
    """

    chat: bool
    prompts: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    samples: int
    decoding: SamplingParams | None
    stream: bool
    usage: bool
    logprobs: int | None
    echo: bool

    @property
    def sequences(self) -> int:
        """Replies of all prompts; a prompt that is only scored counts as one."""
        return len(self.prompts) * self.samples


class Parser:
    """Reads the bodies of one server's requests.

    Args:
      config: its limits and defaults.
      tokenizer: the model's.
      vocab_size: of the model.
      names: of the model, the first is the one that is shown.
    """

    def __init__(
        self, config: ServeConfig, tokenizer: Tokenizer, vocab_size: int, names: Sequence[str]
    ):
        self._config, self._tokenizer = config, tokenizer
        self._vocab_size, self._names = vocab_size, tuple(names)

    def completion(self, body: Any) -> Call:
        """A body of /v1/completions.

        Raises:
          ApiError: (400, 404) for what cannot be served; names the field.
        """
        fields = Fields(body)
        texts = _several(fields.take_any("prompt"))
        samples = self._samples(fields, len(texts))  # before so many are made tokens
        prompts = tuple(self._prompt(text) for text in texts)
        echo = fields.take("echo", bool, False)
        shown = fields.take("logprobs", int)
        least = 0 if echo else 1
        tokens = fields.take("max_tokens", int)
        return self._call(fields, prompts, samples, tokens, least, echo=echo, logprobs=shown)

    def chat(self, body: Any) -> Call:
        """A body of /v1/chat/completions.

        Raises:
          ApiError: (400, 404) for what cannot be served; names the field.
        """
        fields = Fields(body)
        messages = fields.take("messages", list, [])
        self._check_count(len(messages))
        messages = parse_messages(messages)
        samples = self._samples(fields, 1)
        thinking = self._thinking(fields)
        self._check_length("messages", [text for one in messages for text in one.values()])
        prompt = self._encoded("messages", self._tokenizer.encode_prompt, messages, thinking)
        tokens = (fields.take("max_completion_tokens", int), fields.take("max_tokens", int))
        tokens = tokens[1] if tokens[0] is None else tokens[0]
        alternatives = fields.take("top_logprobs", int)
        shown = fields.take("logprobs", bool, False)
        if alternatives and not shown:
            raise ApiError(400, "top_logprobs: needs logprobs to be true", "top_logprobs")
        shown = (alternatives or 0) if shown else None
        return self._call(
            fields, (prompt,), samples, tokens, 1, echo=False, logprobs=shown, chat=True
        )

    def _call(
        self,
        fields: Fields,
        prompts: tuple[tuple[int, ...], ...],
        samples: int,
        max_tokens: int | None,
        least: int,
        *,
        echo: bool,
        logprobs: int | None,
        chat: bool = False,
    ) -> Call:
        seed = fields.take("seed", int)
        seeds = [secrets.randbits(63) if seed is None else seed % 2**64 for _ in prompts]
        max_tokens = self._max_tokens(prompts, max_tokens, least)
        decoding = parse_decoding(fields, self._config.decoding, max_tokens)
        stream = fields.take("stream", bool, False)
        usage = _include_usage(fields.take("stream_options", dict, {}))
        fields.finish()
        self._check_logprobs(logprobs)
        return Call(chat, prompts, tuple(seeds), samples, decoding, stream, usage, logprobs, echo)

    def _samples(self, fields: Fields, prompts: int) -> int:
        """How many replies there are to each prompt; what is not served, or too much, is refused first of all."""
        name = fields.take("model", str)
        if name is not None and name not in self._names:
            message = f"model: {shorten(name, 80)!r} is not served here; this is {self._names[0]!r}"
            raise ApiError(404, message, "model", "model_not_found")
        samples, most = fields.take("n", int, 1), self._config.max_sequences
        if fields.take("best_of", int, samples) != samples:
            raise ApiError(400, "best_of: this server does not support it", "best_of")
        if samples < 1:
            raise ApiError(400, f"n: expected at least 1, got {samples}", "n")
        if prompts * samples > most:
            message = f"{prompts} prompts with n={samples} exceed the limit of {most} replies"
            raise ApiError(400, message, "n")
        return samples

    def _thinking(self, fields: Fields) -> bool | None:
        """The template's own switch; an effort of "none" turns it off, and other efforts have no counterpart here."""
        switches = Fields(fields.take("chat_template_kwargs", dict, {}))
        effort = fields.take("reasoning_effort", str)
        if effort not in (None, *EFFORTS):
            expected = ", ".join(EFFORTS)
            message = f"reasoning_effort: expected one of {expected}, got {shorten(effort, 60)!r}"
            raise ApiError(400, message, "reasoning_effort")
        default = False if effort == "none" else self._config.thinking
        thinking = switches.take("enable_thinking", bool, default)
        switches.finish()
        return thinking

    def _prompt(self, prompt: Any) -> tuple[int, ...]:
        if isinstance(prompt, str):
            self._check_length("prompt", [prompt])
            ids = self._encoded("prompt", self._tokenizer.encode, prompt)
        elif prompt and _is_list_of(prompt, (int,)):
            ids = tuple(prompt)
        else:
            raise ApiError(400, "prompt: expected text, token ids, or a list of either", "prompt")
        if not ids:
            raise ApiError(400, "the prompt is empty", "prompt")
        if not all(0 <= token < self._vocab_size for token in ids):
            message = f"prompt: a token id is outside the vocabulary of {self._vocab_size}"
            raise ApiError(400, message, "prompt")
        return ids

    def _encoded(self, name: str, encode: Callable, *arguments: Any) -> tuple[int, ...]:
        try:
            return tuple(encode(*arguments))
        except ValueError as error:  # where the model lies is no business of the client's
            message = str(error).replace(self._tokenizer.name, self._names[0])
            raise ApiError(400, f"{name}: {message}", name) from None

    def _check_count(self, messages: int) -> None:
        """Each takes a token at least: so many are not even looked at."""
        size = self._config.sampler.max_length
        if messages > size:
            message = f"messages: {messages} of them exceed the limit of {size} tokens"
            raise ApiError(400, message, "messages", "context_length_exceeded")

    def _check_length(self, name: str, texts: Sequence[str]) -> None:
        size = self._config.sampler.max_length
        most = CHARACTERS_A_TOKEN * size
        if sum(map(len, texts)) <= most:
            return
        start = "".join(text[:most] for text in texts)[:most]
        if len(self._encoded(name, self._tokenizer.encode_part, start)) > size + CUT_TOKENS:
            message = f"{name}: the first {most} characters alone exceed the limit of {size} tokens"
            raise ApiError(400, message, name, "context_length_exceeded")

    def _max_tokens(self, prompts: Sequence, wanted: int | None, least: int) -> int:
        """How long replies may be: what was asked for, which must fit, or the default as far as it does."""
        size, longest = self._config.sampler.max_length, max(map(len, prompts))
        if wanted is None:
            wanted = max(min(self._config.decoding.max_tokens, size - longest), 1)
        if not least <= wanted <= self._config.max_tokens:
            message = f"max_tokens: expected {least} to {self._config.max_tokens}, got {wanted}"
            raise ApiError(400, message, "max_tokens")
        if longest + wanted > size:
            message = f"a prompt of {longest} tokens and max_tokens={wanted} exceed the limit of {size} tokens"
            raise ApiError(400, message, "max_tokens", "context_length_exceeded")
        return wanted

    def _check_logprobs(self, wanted: int | None) -> None:
        most = self._config.sampler.top_logprobs
        if wanted is not None and not 0 <= wanted <= most:
            raise ApiError(400, f"logprobs: expected 0 to {most}, got {wanted}", "logprobs")


def _several(prompt: Any) -> list:
    """A string, a list of strings, token ids, or a list of lists of them, as a list of prompts."""
    return prompt if prompt and _is_list_of(prompt, (str, list)) else [prompt]


def _is_list_of(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, list) and all(type(one) in kinds for one in value)


def _include_usage(options: dict) -> bool:
    options = Fields(options)
    usage = options.take("include_usage", bool, False)
    options.take("include_obfuscation", bool, False)
    options.finish()
    return usage
