"""The fields that say how a reply is chosen, and where it ends."""

import dataclasses
from typing import Any

from jaxreason.sampling.sampling_params import SamplingParams
from jaxreason.serve.errors import ApiError
from jaxreason.serve.fields import Fields

SAMPLING = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "repetition_penalty": float,
    "think_budget": int,
}
MOST_STOPS, MOST_STOP_BYTES = 16, 256  # the engine looks for each of them after every dispatch


def parse_decoding(
    fields: Fields, defaults: SamplingParams, max_tokens: int
) -> SamplingParams | None:
    """The fields laid over the defaults; None where `max_tokens` is 0.

    Raises:
      ApiError: (400) one is out of range; names it.
    """
    values = {
        name: fields.take(name, kind, getattr(defaults, name)) for name, kind in SAMPLING.items()
    }
    if values["top_k"] == -1:  # how some clients write that it is off
        values["top_k"] = 0
    values["stop"] = _stop(fields.take_any("stop"), defaults.stop)
    if max_tokens == 0:
        return None
    try:
        return dataclasses.replace(defaults, max_tokens=max_tokens, **values)
    except ValueError as error:
        message = str(error).removeprefix("decoding.")
        raise ApiError(400, message, message.partition(":")[0]) from None


def _stop(value: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    if value is None:
        return default
    stop = [value] if isinstance(value, str) else value
    if not isinstance(stop, list) or not all(isinstance(one, str) and one for one in stop):
        raise ApiError(400, "stop: expected a string or a list of strings, none empty", "stop")
    try:
        longest = max((len(one.encode()) for one in stop), default=0)
    except UnicodeEncodeError:
        raise ApiError(400, "stop: half of a surrogate pair is no character", "stop") from None
    if len(stop) > MOST_STOPS or longest > MOST_STOP_BYTES:
        message = f"stop: expected at most {MOST_STOPS} strings of at most {MOST_STOP_BYTES} bytes"
        raise ApiError(400, message, "stop")
    return tuple(stop)
