"""What tasks of lm-eval say about generation, as SamplingParams."""

from typing import Any

from jaxreason.errors import UserError
from jaxreason.sampling.sampling_params import SamplingParams

# The length of a reply, by the names that tasks give it; the first that is there counts, as in lm-eval.
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
SETTINGS = (
    *("until", "do_sample", "temperature", *LENGTHS),
    *("top_p", "top_k", "min_p", "repetition_penalty"),
)
# What the engine does not have, and the values with which it asks for nothing.
NEUTRAL = {"num_beams": 1, "num_return_sequences": 1, "use_cache": True, "early_stopping": False}


def read_decoding(settings: dict[str, Any], max_gen_toks: int) -> SamplingParams:
    """The decoding that a task's `generation_kwargs` ask for; `max_gen_toks` where they do not say.

    Raises:
      UserError: a setting that the engine does not have, or a value out of range.
    """
    _check_known(settings)

    def value(names: str | tuple[str, ...], default: float) -> float:
        names = (names,) if isinstance(names, str) else names
        given = (settings[name] for name in names if settings.get(name) is not None)
        return next(given, default)

    until = settings.get("until") or ()
    # A task that asks for sampling without a temperature means 1; one that asks for nothing, the likeliest tokens.
    sampled = settings.get("do_sample")
    top_k = int(value("top_k", 0))  # vLLM's tasks write -1 where it is off
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
