"""lm-eval's tasks on our engine (extra `harness`): give a HarnessModel to `simple_evaluate`.

Text begins with the token that the tokenizer puts before one (BOS), if it does; other special tokens come from the
chat template, which lm-eval asks for with `apply_chat_template=True`.
"""

from collections.abc import Iterator
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import Engine, Request
from jaxreason.sampling.stopping import before_stop

# The length of a reply, by the names that tasks give it; the first that is there counts, as in lm-eval.
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SETTINGS = (
    *("until", "do_sample", "temperature", *LENGTHS),
    *("top_p", "top_k", "min_p", "repetition_penalty"),
)
# What the engine does not have, and the values with which it asks for nothing.
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "use_cache": True, "early_stopping": False}


class HarnessModel(TemplateLM):
    """A model of ours as lm-eval sees one.

    Args:
      engine: with the model; call lm-eval under `jax.set_mesh`.
      tokenizer: the model's.
      name: of the model, for lm-eval's records.
      max_length: of the engine.
      max_tokens: most tokens of a reply where a task does not say.
      thinking: `enable_thinking` of the chat template; None leaves it to the template.
      seed: of the sampling.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        name: str,
        max_length: int,
        max_tokens: int,
        thinking: bool | None,
        seed: int,
    ):
        super().__init__()
        self._engine, self._tokens, self._name = engine, tokenizer, name
        self._max_length, self._max_tokens = max_length, max_tokens
        self._thinking, self._seed = thinking, seed

    @property
    def eot_token_id(self) -> int:
        """A token that ends a reply."""
        return self._tokens.stop_ids[0]

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before a text without context."""
        return self._tokens.begin[0] if self._tokens.begin else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's cache of requests."""
        return self._name.replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs
    ) -> list[int]:
        """Token ids of the text, after BOS where the tokenizer puts one and `add_special_tokens` does not say no."""
        del kwargs
        whole = add_special_tokens is not False
        return self._tokens.encode(string) if whole else self._tokens.encode_part(string)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text, with the start of the reply if asked for."""
        return self._tokens.render(chat_history, self._thinking, add_generation_prompt)

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **kwargs
    ) -> list[tuple[float, bool]]:
        del kwargs
        scores = self._engine.score([(context, text) for _, context, text in requests])
        for score, (texts, _, _) in zip(scores, requests, strict=True):
            if score.error is not None:
                raise UserError(f"{self._name}: {score.error}: {str(texts)[:200]}")
        return [(score.logprob, score.greedy) for score in scores]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of whole texts, long ones in windows of the maximum length."""
        del disable_tqdm
        windows = [list(self._windows(*request.args)) for request in requests]
        scores = iter(self._loglikelihood_tokens([w for text in windows for w in text]))
        return [sum(next(scores)[0] for _ in text) for text in windows]

    def _windows(self, text: str) -> Iterator[tuple[str, list[int], list[int]]]:
        tokens = self.tok_encode(text, add_special_tokens=False)
        rolling = get_rolling_token_windows(
            tokens, self.prefix_token_id, self._max_length - 1, context_len=1
        )
        return ((text, *make_disjoint_window(window)) for window in rolling)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Replies, without the stop string that ended them.

        Raises:
          ValueError: for a setting that the engine does not have, or a prompt that does not fit.
        """
        del disable_tqdm
        groups: dict[Decoding, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(self._decoding(request.args[1]), []).append(number)
        replies = [""] * len(requests)
        for decoding, numbers in groups.items():
            prompts = {number: self.tok_encode(requests[number].args[0]) for number in numbers}
            for number, text in self._generate(prompts, decoding):
                replies[number] = text
        return replies

    def _generate(
        self, prompts: dict[int, list[int]], decoding: Decoding
    ) -> Iterator[tuple[int, str]]:
        requests = [
            Request(str(number), tuple(tokens), self._seed + number, 1)
            for number, tokens in prompts.items()
        ]
        for completion in self._engine.generate(requests, decoding):
            if completion.finish_reason.startswith("error"):
                raise UserError(f"{self._name}: {completion.finish_reason}")
            text = before_stop(completion.tokens, decoding.stop, self._tokens.decode)
            yield int(completion.id), text

    def _decoding(self, settings: dict[str, Any]) -> Decoding:
        _check_known(settings)

        def value(names: str | tuple[str, ...], default: float) -> float:
            names = (names,) if isinstance(names, str) else names
            given = (settings[name] for name in names if settings.get(name) is not None)
            return next(given, default)

        until = settings.get("until") or ()
        # A task that asks for sampling without a temperature means 1; one that asks for nothing, the likeliest tokens.
        sampled = settings.get("do_sample")
        top_k = int(value("top_k", 0))  # vLLM's tasks write -1 where it is off
        return Decoding(
            temperature=0.0 if sampled is False else float(value("temperature", bool(sampled))),
            top_k=0 if top_k == -1 else top_k,
            top_p=float(value("top_p", 1.0)),
            max_tokens=int(value(LENGTHS, self._max_tokens)),
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
