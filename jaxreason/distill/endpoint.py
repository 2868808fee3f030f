"""One call of an OpenAI-compatible endpoint: the request, the reply, and which errors are tried again."""

import os
import random
import threading
from dataclasses import dataclass
from typing import Any

import httpx

from jaxreason.config import ConfigError, to_dict
from jaxreason.distill.distill_config import TeacherConfig
from jaxreason.errors import UserError
from jaxreason.results.redaction import hide_also
from jaxreason.sampling.sampling_params import SamplingParams

MAY_PASS = (408, 409, 425, 429)  # And all from 500 on.
NO_WAY_IN = (401, 402, 404, 405, 407, 410)  # Every call would get one of these.
# Some endpoints say so when the key may not use the model, others when a question may not be asked.
FORBIDDEN = 403
LONGEST_WAIT_S = 60.0
# Where several have a text, the first counts: it is the one that most servers have for the thought itself.
REASONING = ("reasoning_content", "reasoning", "thinking")
SHOWN = 300  # Characters of a server's message that are shown.


@dataclass(frozen=True)
class Answer:
    """An endpoint's answer, unchanged; `num_tokens` is None if the endpoint did not count them."""

    content: str
    reasoning: str | None
    finish_reason: str
    num_tokens: int | None


class RefusedError(Exception):
    """The endpoint refuses this call and would refuse it again."""


class ForbiddenError(Exception):
    """The endpoint forbids this call: either all calls or this question."""


class FailedError(Exception):
    """The endpoint did not answer, even after all repetitions."""


class AskingStoppedError(Exception):
    """The run ends, so no more calls are made."""


class _PassingError(Exception):
    """An error that may be temporary; `wait_s` is the time that the server asks to wait."""

    def __init__(self, message: str, wait_s: float | None = None):
        super().__init__(message)
        self.wait_s = wait_s


def endpoint_key(config: TeacherConfig) -> str:
    """Returns the endpoint's key. From then on messages hide it, whatever the name of its variable.

    Raises:
      ConfigError: the environment variable is not set.
    """
    if config.key_variable and not os.environ.get(config.key_variable):
        raise ConfigError(
            f"distill.teacher.key_variable={config.key_variable!r}: the environment has no such variable, or it is "
            "empty."
        )
    key = os.environ.get(config.key_variable, "") if config.key_variable else ""
    hide_also(key)
    return key


def body_of(
    config: TeacherConfig,
    messages: tuple[dict[str, str], ...],
    decoding: SamplingParams,
    thinking: bool | None,
    seed: int,
) -> dict[str, Any]:
    """Returns the body of a call for one reply. Fields that OpenAI's API lacks are sent only
    if they change something.
    """
    body = {
        "model": config.name,
        "messages": [dict(message) for message in messages],
        "max_tokens": decoding.max_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "seed": seed,
    }
    if decoding.stop:
        body["stop"] = list(decoding.stop)
    more = {
        "top_k": (decoding.top_k, 0),
        "min_p": (decoding.min_p, 0.0),
        "repetition_penalty": (decoding.repetition_penalty, 1.0),
    }
    body |= {name: value for name, (value, off) in more.items() if value != off}
    if thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": thinking}
    return {
        name: value for name, value in (body | to_dict(config.extra)).items() if value is not None
    }


class Endpoint:
    """Calls one endpoint. Several threads may use it.

    Args:
      config: the endpoint's address, and how long and how often to try.
    """

    def __init__(self, config: TeacherConfig):
        self._config, self._key = config, endpoint_key(config)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=config.concurrency)
        timeout = httpx.Timeout(config.timeout_s, connect=min(30.0, config.timeout_s), pool=None)
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=limits)
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """Whether no more calls should begin."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ends calls that wait to be repeated; calls that are running may finish."""
        self._stopping.set()

    def close(self) -> None:
        """Ends the running calls and those that wait."""
        self.stop()
        self._client.close()

    def ask(self, body: dict[str, Any]) -> Answer:
        """Makes a call, repeated as often as the recipe says, and returns the reply.

        Raises:
          RefusedError: the endpoint refuses this call.
          ForbiddenError: the endpoint forbids it.
          FailedError: the call failed each time; the message has the last reason.
          UserError: no call can succeed: the key, the address or the name is wrong.
          AskingStoppedError: `stop` or `close` was called.
        """
        for tries in range(self._config.retries + 1):
            try:
                return self._call(body)
            except _PassingError as error:
                if tries == self._config.retries:
                    raise FailedError(f"{error} ({tries + 1} tries)") from None
                if self._stopping.wait(self._wait_s(tries, error.wait_s)):
                    raise AskingStoppedError from None
        raise AssertionError("unreachable: the last try returns or raises")

    def _wait_s(self, tries: int, wanted: float | None) -> float:
        """The time doubles with each try. It is randomised, so that calls that failed together
        are not repeated together.
        """
        longest = min(LONGEST_WAIT_S, self._config.backoff_s * 2**tries)
        spread = random.uniform(0.5, 1.0) * longest
        return spread if wanted is None else max(min(wanted, 2 * LONGEST_WAIT_S), spread)

    def _call(self, body: dict[str, Any]) -> Answer:
        try:
            response = self._client.post(
                f"{self._config.url.rstrip('/')}/chat/completions", json=body
            )
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            if self._stopping.is_set():  # The client is closed.
                raise AskingStoppedError from None
            if isinstance(error, httpx.HTTPError) and not isinstance(
                error, httpx.UnsupportedProtocol
            ):
                raise _PassingError(f"{type(error).__name__}: {error}") from error
            raise UserError(f"distill.teacher.url={self._config.url!r}: {error}") from error
        if response.status_code != 200:
            self._refuse(response)
        return read_answer(response)

    def _refuse(self, response: httpx.Response) -> None:
        status = response.status_code
        said = self._hide(f"{status} {response.reason_phrase}: {_said(response)}")
        if status in MAY_PASS or status >= 500:
            raise _PassingError(said, _retry_after(response))
        if status in NO_WAY_IN or status < 400:
            raise UserError(
                f"{self._config.url}: the endpoint answers every call for model {self._config.name!r} with {said} "
                "Check distill.teacher's url, name and key_variable."
            )
        raise ForbiddenError(said) if status == FORBIDDEN else RefusedError(said)

    def _hide(self, text: str) -> str:
        """Removes the key from a text, since some servers repeat it."""
        return text.replace(self._key, "***") if self._key else text


def read_answer(response: httpx.Response) -> Answer:
    """Reads the reply from a response with status 200.

    Raises:
      _PassingError: the body is not JSON, or a field is missing or has the wrong type.
    """
    try:
        value = response.json()
    except (ValueError, RecursionError) as error:
        raise _PassingError(f"the answer is no JSON ({error}): {response.text[:SHOWN]!r}") from None
    choice = _first(_get(value, "choices", list))
    message = _get(choice, "message", dict)
    reasoning = _reasoning(message)
    if not isinstance(message.get("content"), str) and not reasoning:
        raise _PassingError(f"the answer has no text in choices[0].message: {message!r:.{SHOWN}}")
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    tokens = usage.get("completion_tokens")
    return Answer(
        _whole(message.get("content") or ""),
        _whole(reasoning) if reasoning else None,
        _get(choice, "finish_reason", str),
        tokens if type(tokens) is int and tokens >= 0 else None,
    )


def _reasoning(message: dict[str, Any]) -> str | None:
    """Returns the thought; a server may send other names of it with nothing in them."""
    texts = (message.get(name) for name in REASONING)
    return next((text for text in texts if isinstance(text, str) and text.strip()), None)


def _get(value: Any, name: str, kind: type) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(name), kind):
        raise _PassingError(f"the answer has no {kind.__name__} {name!r}: {value!r:.{SHOWN}}")
    return value[name]


def _first(choices: list) -> Any:
    if not choices:
        raise _PassingError("the answer has no choice")
    return choices[0]


def _whole(text: str) -> str:
    """Replaces halves of surrogate pairs by question marks: JSON can hold them but UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _said(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:SHOWN]


def _retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds of the header; None if it is a date, in which case the usual waiting time is used."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
