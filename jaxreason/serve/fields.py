"""The fields of a request body, taken one by one; what nobody takes must change nothing, or is refused by name."""

from typing import Any

from jaxreason.config import nearest
from jaxreason.serve.errors import ApiError, shorten

# They say who asks or how it is booked, not what is asked.
IGNORED = (
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "parallel_tool_calls", "cache_control", "request_id"),
)
# What is not supported, and the values with which it asks for nothing.
NEUTRAL: dict[str, tuple] = {
    "add_generation_prompt": (True,),
    "add_special_tokens": (True,),
    "annotations": ([],),
    "audio": (),
    "continue_final_message": (False,),
    "detokenize": (True,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "guided_json": (),
    "guided_regex": (),
    "ignore_eos": (False,),
    "include_reasoning": (True,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "prediction": (),
    "presence_penalty": (0,),
    "priority": (0,),
    "refusal": ("",),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop_token_ids": ([],),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tool_calls": ([],),
    "tools": ([],),
    "truncate_prompt_tokens": (-1,),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class Fields:
    """A JSON object.

    Raises:
      ApiError: (400) it is none, a field has another type, or `finish` finds a field that cannot be honoured.
    """

    def __init__(self, body: Any):
        if not isinstance(body, dict):
            raise ApiError(400, "the body is not a JSON object")
        self._rest, self._taken = dict(body), []

    def take(self, name: str, kind: type, default: Any = None) -> Any:
        """The field's value, or the default where it is absent or null."""
        value = self.take_any(name)
        if value is None:
            return default
        if kind is float and type(value) is int:
            try:
                return float(value)
            except OverflowError:
                raise ApiError(400, f"{name}: the number is too large", name) from None
        if type(value) is not kind:
            raise ApiError(400, f"{name}: expected {KINDS[kind]}, got {_short(value)}", name)
        return value

    def take_any(self, name: str) -> Any:
        """The field's value, whatever it is; None where it is absent."""
        self._taken.append(name)
        return self._rest.pop(name, None)

    def finish(self) -> None:
        """Refuses what has not been taken and would change the result."""
        for name, value in self._rest.items():
            if value is None or name in IGNORED:
                continue
            if name not in NEUTRAL:
                name = shorten(name, 80)
                known = nearest(name, [*self._taken, *NEUTRAL])
                raise ApiError(400, f"{name}: no such field{known}", name)
            if not any(type(value) is type(one) and value == one for one in _neutral(name)):
                raise ApiError(400, f"{name}: this server does not support it", name)


def _neutral(name: str) -> tuple:
    """The values with which a field asks for nothing; a whole number may be written as a fraction."""
    values = NEUTRAL[name]
    return (*values, *(float(one) for one in values if type(one) is int))


def _short(value: Any) -> str:
    kind = type(value).__name__
    return shorten(repr(value), 60) if isinstance(value, str | int | float) else f"a {kind}"
