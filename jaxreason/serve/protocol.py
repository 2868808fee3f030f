"""OpenAI's protocol: request bodies as pydantic models.

The models are strict: "5" is not a number, true is not 1, and an unknown field is refused by name. A null field counts
as absent. The lists that a client controls stop at their first bad item (`fail_fast`), so that a hostile body costs one
error and not a million.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from jaxreason.config import nearest
from jaxreason.serve.api_errors import ApiError, shorten

MAX_FIELDS = 200  # Of one JSON object; clients send fewer.
# The engine looks for each stop string after every dispatch.
MAX_STOP_STRINGS, MAX_STOP_BYTES = 16, 256
TOO_LONG = "context_length_exceeded"  # OpenAI's code for this error.


def _only(*neutral: Any) -> Any:
    """Makes the type of an unsupported field: it may be sent, but only with a value that asks for nothing.

    If 0 is such a value, 0.0 is one too, but False is not.
    """
    accepted = (*neutral, *(float(one) for one in neutral if type(one) is int))

    def check(value: Any) -> Any:
        if not any(type(value) is type(one) and value == one for one in accepted):
            raise PydanticCustomError("unsupported", "this server does not support it")
        return value

    return Annotated[Any, AfterValidator(check)]


def _expect(words: str) -> WrapValidator:
    """Gives one error in plain words instead of one for every branch of a union."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            text = "expected {words}, got {got}"
            got = {"words": words, "got": _show(value)}
            raise PydanticCustomError("unexpected", text, got) from None

    return WrapValidator(check)


class ClientObject(BaseModel):
    """A JSON object from a client. The fields here say who asks or how it is billed, so they are ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    cache_control: Any = None
    metadata: Any = None
    parallel_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    request_id: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    user: Any = None

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if len(value) > MAX_FIELDS:
            text = "expected at most {most} fields, got {number}"
            numbers = {"most": MAX_FIELDS, "number": len(value)}
            raise PydanticCustomError("too_many_fields", text, numbers)
        return {name: one for name, one in value.items() if one is not None}


class TextPart(ClientObject):
    """A part of a message's content; images and audio are refused."""

    type: Literal["text"]
    text: str


class ChatMessage(ClientObject):
    """A message of a conversation.

    Clients send back what a server gave them: a reply may have no content, and its thinking may have any of
    the names that servers use.
    """

    role: str = Field(description="a string")
    content: Annotated[
        str | Annotated[list[TextPart], Field(fail_fast=True)],
        _expect("text, or a list of parts of type text: this model reads text only"),
    ] = Field(None, validate_default=True)
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    # Chat templates do not show these.
    id: str | None = None
    tool_call_id: str | None = None
    type: Literal["text", "message"] = "text"
    # Not supported.
    annotations: _only([]) = None
    audio: _only() = None
    function_call: _only("none", "auto") = None
    refusal: _only("") = None
    tool_calls: _only([]) = None

    @field_validator("content", mode="wrap")
    @classmethod
    def _may_be_absent(cls, value: Any, validate: Callable, info: ValidationInfo) -> str:
        if value is None and info.data.get("role") == "assistant":
            return ""
        content = validate(value)
        return content if isinstance(content, str) else "".join(part.text for part in content)

    @model_validator(mode="after")
    def _has_one_thinking(self) -> Self:
        given = self._thinking()
        names = {"names": ", ".join(given)}
        if given and self.role != "assistant":
            raise PydanticCustomError(
                "thinking", "{names}: only the assistant's messages have it", names
            )
        if len(set(given.values())) > 1:
            text = "{names}: they differ, and a message has one thinking"
            raise PydanticCustomError("thinking", text, names)
        return self

    def _thinking(self) -> dict[str, str]:
        names = ("reasoning_content", "reasoning", "thinking")
        return {name: text for name in names if (text := getattr(self, name))}

    def for_template(self) -> dict[str, str]:
        """Returns the message in the form that chat templates take."""
        found = {"role": self.role, "content": self.content}
        if self.name is not None:
            found["name"] = self.name
        for text in self._thinking().values():
            found["reasoning_content"] = text
        return found


class ChatTemplateKwargs(ClientObject):
    """Switches of the chat template."""

    enable_thinking: bool | None = None


class StreamOptions(ClientObject):
    """Options of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


def _stop_strings(value: str | list[str]) -> tuple[str, ...]:
    strings = (value,) if isinstance(value, str) else tuple(value)
    if not all(strings):
        raise PydanticCustomError("stop", "expected a string or a list of strings, none empty")
    try:
        longest = max((len(one.encode()) for one in strings), default=0)
    except UnicodeEncodeError:
        raise PydanticCustomError("stop", "half of a surrogate pair is no character") from None
    if len(strings) > MAX_STOP_STRINGS or longest > MAX_STOP_BYTES:
        text = f"expected at most {MAX_STOP_STRINGS} strings of at most {MAX_STOP_BYTES} bytes"
        raise PydanticCustomError("stop", text)
    return strings


def _no_bias(value: Any) -> Any:
    """Refuses biases of logits, except those of 0."""
    if not isinstance(value, dict) or any(type(b) not in (int, float) or b for b in value.values()):
        raise PydanticCustomError("unsupported", "this server does not support it")
    return value


class GenerationRequest(ClientObject):
    """The fields that both kinds of completions share; None means the server's default.

    Only types are checked here. The ranges of sampling parameters are declared with the fields of `SamplingParams`, and
    the limits of a server are checked in `preprocess`.
    """

    model: str | None = None
    n: int = Field(1, ge=1)
    best_of: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    # Some clients write -1 for "off".
    top_k: Annotated[int, AfterValidator(lambda k: 0 if k == -1 else k)] | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    think_budget: int | None = None
    stop: (
        Annotated[
            str | Annotated[list[str], Field(fail_fast=True)],
            _expect("a string or a list of strings, none empty"),
            AfterValidator(_stop_strings),
        ]
        | None
    ) = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    # A text that the reply may have, which would only be faster with it, and a wish for models that know it.
    prediction: Any = None
    verbosity: Literal["low", "medium", "high"] | None = None
    # Not supported.
    add_generation_prompt: _only(True) = None
    add_special_tokens: _only(True) = None
    audio: _only() = None
    continue_final_message: _only(False) = None
    detokenize: _only(True) = None
    frequency_penalty: _only(0) = None
    function_call: _only("none", "auto") = None
    functions: _only([]) = None
    guided_json: _only() = None
    guided_regex: _only() = None
    ignore_eos: _only(False) = None
    include_reasoning: _only(True) = None
    include_stop_str_in_output: _only(False) = None
    length_penalty: _only(1) = None
    logit_bias: Annotated[Any, AfterValidator(_no_bias)] = None
    min_tokens: _only(0) = None
    modalities: _only(["text"]) = None
    presence_penalty: _only(0) = None
    priority: _only(0) = None
    response_format: _only({"type": "text"}) = None
    skip_special_tokens: _only(True) = None
    spaces_between_special_tokens: _only(True) = None
    stop_token_ids: _only([]) = None
    suffix: _only("") = None
    tool_choice: _only("none", "auto") = None
    tools: _only([]) = None
    truncate_prompt_tokens: _only(-1) = None
    use_beam_search: _only(False) = None
    web_search_options: _only() = None

    @property
    def limit_field(self) -> str:
        """The name of the field that limits a reply's tokens: OpenAI's newer one if the request has it."""
        return "max_tokens" if self.max_completion_tokens is None else "max_completion_tokens"

    @field_validator("best_of")
    @classmethod
    def _is_n(cls, best_of: int, info: ValidationInfo) -> int:
        if best_of != info.data.get("n"):
            raise PydanticCustomError("unsupported", "this server does not support it")
        return best_of


TokenIds = Annotated[list[int], Field(fail_fast=True, min_length=1)]
PROMPT = "text, token ids, or a list of either"


class CompletionRequest(GenerationRequest):
    """The body of POST /v1/completions."""

    prompt: Annotated[
        str | TokenIds | Annotated[list[str | TokenIds], Field(fail_fast=True, min_length=1)],
        _expect(PROMPT),
    ] = Field(description=PROMPT)
    echo: bool = False
    logprobs: int | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Returns one text or list of token ids for each prompt."""
        is_one = isinstance(self.prompt, str) or isinstance(self.prompt[0], int)
        return [self.prompt] if is_one else self.prompt


def _check_number(messages: Any, info: ValidationInfo) -> Any:
    """Each message needs at least one token, so a longer list is refused before its messages are read."""
    room = (info.context or {}).get("max_length")
    if room is not None and isinstance(messages, list) and len(messages) > room:
        text = "{number} of them exceed the limit of {room} tokens"
        raise PydanticCustomError(TOO_LONG, text, {"number": len(messages), "room": room})
    return messages


class ChatCompletionRequest(GenerationRequest):
    """The body of POST /v1/chat/completions. Validate it with the context `max_length`, the server's longest prompt."""

    messages: Annotated[
        list[ChatMessage], Field(fail_fast=True, min_length=1), BeforeValidator(_check_number)
    ] = Field(description="a list of messages")
    logprobs: bool = False
    top_logprobs: int | None = None
    chat_template_kwargs: ChatTemplateKwargs = ChatTemplateKwargs()
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    echo: _only(False) = None

    @field_validator("top_logprobs")
    @classmethod
    def _has_logprobs(cls, number: int, info: ValidationInfo) -> int:
        if number and not info.data.get("logprobs"):
            raise PydanticCustomError("logprobs", "needs logprobs to be true")
        return number


class WeightsRequest(ClientObject):
    """The body of POST /v1/weights."""

    path: str = Field(description="the path of a folder inside serve.weights_root")


Body = TypeVar("Body", bound=ClientObject)
NESTED = {
    "messages": ChatMessage,
    "chat_template_kwargs": ChatTemplateKwargs,
    "stream_options": StreamOptions,
}
EXPECTED = {
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "an object",
    "string_type": "a string",
}


def validate(model: type[Body], value: Any, **context: Any) -> Body:
    """Validates a JSON value as a request.

    Raises:
      ApiError: (400) names the first wrong field, what was expected and what was given.
    """
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    # If a field is misspelled, report that first: it explains why another one is missing.
    unknown = [one for one in errors if one["type"] == "extra_forbidden"]
    raise _to_api_error(model, (unknown or errors)[0])


def _to_api_error(model: type[ClientObject], error: dict[str, Any]) -> ApiError:
    path = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in error["loc"])
    path = shorten(path.removeprefix("."), 80)
    code = TOO_LONG if error["type"] == TOO_LONG else None
    return ApiError(400, f"{path or 'the body'}: {_describe(model, error)}", path or None, code)


def _describe(model: type[ClientObject], error: dict[str, Any]) -> str:
    kind, place, got = error["type"], error["loc"], _show(error["input"])
    fields = (NESTED[place[0]] if len(place) > 1 else model).model_fields
    if kind == "extra_forbidden":
        return f"no such field{nearest(shorten(place[-1], 80), fields)}"
    if kind == "missing":
        return f"expected {fields[place[-1]].description}, got nothing"
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind]}, got {got}"
    if kind == "literal_error":
        return f"expected {error['ctx']['expected']}, got {got}"
    if kind == "greater_than_equal":
        return f"expected at least {error['ctx']['ge']}, got {got}"
    if kind == "too_short":
        return "expected at least one"
    if kind == "string_unicode":
        return "half of a surrogate pair is no character"
    return error["msg"]


def _show(value: Any) -> str:
    if isinstance(value, str | int | float):
        return shorten(repr(value), 60)
    return {dict: "an object", list: "a list"}.get(type(value), "null")
