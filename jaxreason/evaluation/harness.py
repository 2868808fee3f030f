"""lm-eval's tasks on our engine (extra `harness`), with the same numbers as lm-eval's own `hf` model.

The tokens before a text, and the truncation of a text that is too long, follow that model. Special tokens are those
that the tokenizer puts around a text, unless the text begins with its BOS. A text without context follows BOS, or the
end of sequence if there is no BOS. A text that is too long is cut on the left.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sampling.scoring import Score
from jaxreason.sampling.stopping import before_stop

_LOG = logging.getLogger(__name__)
Encoded = tuple[Any, list[int], list[int]]  # The request, context, continuation.


def _on_mesh(method: Callable) -> Callable:
    """Returns the method, to run under the model's mesh: lm-eval calls it from anywhere."""

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        with jax.set_mesh(self._engine.mesh):
            return method(self, *args, **kwargs)

    return call


class HarnessModel(TemplateLM):
    """Our model as lm-eval sees one; `simple_evaluate(model=HarnessModel(...), ...)`.

    Args:
      engine: with the model.
      tokenizer: the model's.
      name: of the model, for lm-eval's records.
      max_gen_toks: the most tokens of a reply if a task does not set it.
      thinking: `enable_thinking` of the chat template; None leaves it to the template.
      think_end: text that ends a model's thoughts; the text up to it is not part of a reply. "" for none.
      add_bos_token: whether texts begin with BOS; None leaves it to the tokenizer.
      prefix_token_id: the token before a text without context; None for BOS, or the end of sequence if there is no BOS.
      seed: of the sampling.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        name: str,
        max_gen_toks: int = 256,
        thinking: bool | None = None,
        think_end: str = "",
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self._engine, self._tokens, self._name = engine, tokenizer, name
        self._max_gen_toks, self._seed = max_gen_toks, seed
        self._thinking, self._think_end = thinking, think_end
        self._add_bos, self._prefix = add_bos_token, prefix_token_id

    @property
    def max_length(self) -> int:
        """The most tokens that the model reads, not counting the token that it predicts from the last of them."""
        return self._engine.max_length

    @property
    def eot_token_id(self) -> int:
        """The tokenizer's end of sequence, or another token that ends a reply."""
        end = self._tokens.eos_id
        return self._tokens.stop_ids[0] if end is None else end

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without context."""
        if self._prefix is not None:
            return self._prefix
        begin = self._tokens.bos_id
        return self.eot_token_id if begin is None else begin

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's name for lm-eval's cache of requests."""
        return self._name.replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs
    ) -> list[int]:
        """Returns a text's token ids; with `add_special_tokens` None, a text that begins with BOS gets no second."""
        del kwargs
        if add_special_tokens is None:
            add_special_tokens = self._adds_special(string, self.prefix_token_id)
        return self._encode(string, add_special_tokens)

    def _adds_special(self, text: str, first: int | None) -> bool:
        if first is not None and text.startswith(self._tokens.show([first])):
            return False
        return self._add_bos is not False

    def _encode(self, text: str, special: bool) -> list[int]:
        if not special:
            return self._tokens.encode_part(text)
        ids, begin = self._tokens.encode_framed(text), self._tokens.bos_id
        if self._add_bos and begin is not None and ids[:1] != [begin]:
            return [begin, *ids]
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Returns the conversation as text, with the start of the reply, or with the last message left open.

        If the template does not support a system message, it is left out, as in the `hf` model.
        """
        try:
            text = self._tokens.render(chat_history, self._thinking, add_generation_prompt)
        except UserError as error:
            others = [message for message in chat_history if message["role"] != "system"]
            if len(others) == len(chat_history):
                raise
            _LOG.warning("the system message is left out: %s", error)
            text = self._tokens.render(others, self._thinking, add_generation_prompt)
        return text if add_generation_prompt else _open(text, chat_history[-1]["content"])

    @_on_mesh
    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Returns the log-likelihood of each continuation after its context, and whether it is the greedy one.

        Raises:
          UserError: the model was asked to think, which is impossible with given continuations.
        """
        if self._thinking:
            raise UserError(
                "enable_thinking=True: continuations are compared without a thought before them; leave it out, or "
                "run generative tasks only"
            )
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(self, requests: list[Encoded], **kwargs) -> list[tuple[float, bool]]:
        del kwargs
        pairs = [self._cut(context, text) for _, context, text in requests]
        scores = self._engine.score(pairs)
        self._warn(requests, pairs, scores)
        return [
            (s.logprob, s.greedy) if s.error is None else (-float("inf"), False) for s in scores
        ]

    def _cut(self, context: list[int], text: list[int]) -> tuple[list[int], list[int]]:
        """Returns the pair, cut on the left if it is too long; at least one token of context is kept."""
        text = text[-self.max_length :]
        return context[-(self.max_length + 1 - len(text)) :], text

    def _warn(
        self, requests: list[Encoded], pairs: list[tuple[list[int], list[int]]], scores: list[Score]
    ) -> None:
        lost = [
            len(context) + len(text) - len(pair[0]) - len(pair[1])
            for (_, context, text), pair in zip(requests, pairs, strict=True)
        ]
        if any(lost):
            _LOG.warning(
                "%d of %d texts are longer than max_length=%d; up to %d tokens of their beginning were left out",
                sum(map(bool, lost)),
                len(lost),
                self.max_length,
                max(lost),
            )
        for (asked, _, _), score in zip(requests, scores, strict=True):
            if score.error is not None:
                _LOG.warning("no log-likelihood (counts as -inf): %s: %.200r", score.error, asked)

    @_on_mesh
    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Returns the log-likelihood of whole texts, long ones in windows of the maximum length."""
        del disable_tqdm
        windows = [list(self._windows(*request.args)) for request in requests]
        scores = iter(self._loglikelihood_tokens([w for text in windows for w in text]))
        return [sum(next(scores)[0] for _ in text) for text in windows]

    def _windows(self, text: str) -> Iterator[Encoded]:
        rolling = get_rolling_token_windows(
            self.tok_encode(text), self.prefix_token_id, self.max_length, context_len=1
        )
        return ((text, *make_disjoint_window(window)) for window in rolling)

    @_on_mesh
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Returns replies, without the stop string that ended them.

        Raises:
          UserError: a setting that the engine does not have, or replies as long as a whole sequence may be.
        """
        del disable_tqdm
        groups: dict[SamplingParams, list[int]] = {}
        for number, request in enumerate(requests):
            decoding = read_decoding(request.args[1], self._max_gen_toks)
            groups.setdefault(decoding, []).append(number)
        replies = [""] * len(requests)
        for decoding, numbers in groups.items():
            texts = {number: requests[number].args[0] for number in numbers}
            for number, text in self._generate(texts, decoding):
                replies[number] = text
        return replies

    def _generate(
        self, texts: dict[int, str], decoding: SamplingParams
    ) -> Iterator[tuple[int, str]]:
        requests = [
            Request(
                str(number), tuple(self._prompt(text, decoding.max_tokens)), self._seed + number, 1
            )
            for number, text in texts.items()
        ]
        for completion in self._engine.generate(requests, decoding):
            number = int(completion.id)
            if completion.finish_reason.startswith("error"):
                _LOG.warning("%s: %.200r", completion.finish_reason, texts[number])
            text = before_stop(completion.tokens, decoding.stop, self._tokens.decode)
            if self._think_end and self._think_end in text:
                text = text.rpartition(self._think_end)[2].lstrip()
            yield number, text

    def _prompt(self, text: str, max_tokens: int) -> list[int]:
        """Returns the prompt's tokens, cut on the left so that there is room for the reply."""
        room = self.max_length - max_tokens
        if room < 1:
            raise UserError(
                f"max_gen_toks={max_tokens} leaves no room for a prompt in max_length={self.max_length}"
            )
        return self._encode(text, self._adds_special(text, self._tokens.bos_id))[-room:]


def _open(text: str, last: str) -> str:
    """Returns the rendered conversation up to the end of its last message, which the model continues."""
    place = text.rfind(last.strip())
    if place < 0:
        raise UserError(
            f"the chat template changes the text that the reply begins with: {last[:60]!r}"
        )
    whole = last.lstrip()
    kept = whole if text.startswith(whole, place) else last.strip()
    return text[: place + len(kept)]


# The names that tasks use for the length of a reply; the first one that is set counts, as in lm-eval.
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SETTINGS = (
    "until",
    "do_sample",
    "temperature",
    *LENGTHS,
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
)
# Settings that the engine does not have, with the values at which they have no effect.
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "use_cache": True, "early_stopping": False}


def read_decoding(settings: dict[str, Any], max_gen_toks: int) -> SamplingParams:
    """Returns the decoding that a task's `generation_kwargs` require; with `max_gen_toks` if they do not set a length.

    Raises:
      UserError: a setting that the engine does not have, or a value out of range.
    """
    _check_known(settings)

    def value(names: str | tuple[str, ...], default: float) -> float:
        names = (names,) if isinstance(names, str) else names
        given = (settings[name] for name in names if settings.get(name) is not None)
        return next(given, default)

    until = settings.get("until") or ()
    # A task that requires sampling without a temperature means 1; a task that sets neither means greedy decoding.
    sampled = settings.get("do_sample")
    top_k = int(value("top_k", 0))  # vLLM's tasks write -1 for off.
    return SamplingParams(
        temperature=0.0 if sampled is False else float(value("temperature", bool(sampled))),
        top_k=0 if top_k == -1 else top_k,
        top_p=float(value("top_p", 1.0)),
        max_tokens=int(value(LENGTHS, max_gen_toks)),
        stop=(until,) if isinstance(until, str) else tuple(text for text in until if text),
        min_p=float(value("min_p", 0.0)),
        repetition_penalty=float(value("repetition_penalty", 1.0)),
    )


def _check_known(settings: dict[str, Any]) -> None:
    for name, given in settings.items():
        if name in SETTINGS or given is None or (name in NEUTRAL and given == NEUTRAL[name]):
            continue
        raise UserError(
            f"generation setting {name}={str(given)[:60]} is not known; "
            f"expected some of {', '.join(SETTINGS)}."
        )
