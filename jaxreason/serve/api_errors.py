"""The errors that clients get, in OpenAI's form, and the parsing of bodies as JSON."""

import json
from typing import Any

ERROR_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
MAX_MESSAGE_CHARACTERS = 600  # Of one error.


def shorten(text: str, most: int) -> str:
    """Returns the text, or only its beginning and its end if it is long."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


class ApiError(Exception):
    """A request that fails, with its HTTP status.

    Args:
      status: of the response.
      message: what is wrong, for a person.
      param: the field that is wrong, if any.
      code: OpenAI's short name of the cause, if any.
      headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.headers = status, headers
        self._param, self._code = param, code

    def to_json(self) -> dict[str, Any]:
        """Returns the body of the response. Long quotes of the request are cut."""
        error = {
            "message": shorten(str(self), MAX_MESSAGE_CHARACTERS),
            "type": ERROR_TYPES.get(self.status, "invalid_request_error"),
            "param": None if self._param is None else shorten(self._param, 80),
            "code": self._code,
        }
        return {"error": error}


def decoding_error(message: str) -> ApiError:
    """Returns the error for a message about a field of a `decoding` section, which clients know without the section."""
    message = message.removeprefix("decoding.")
    return ApiError(400, message, message.partition(":")[0])


def parse_body(body: bytes) -> Any:
    """Returns the JSON value of a body.

    Raises:
      ApiError: (400) the body is not JSON, or an object in it has a field twice.
    """
    try:
        return json.loads(body, object_pairs_hook=_unique_fields)
    # Bytes that are not UTF-8 and integers of thousands of digits are ValueErrors too.
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from None


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Python would take the last of two equal fields; a proxy in front of this server might take the first.
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the field {shorten(name, 80)!r} is given twice")
        found[name] = value
    return found
