"""What a client is told when a request cannot be served, in OpenAI's shape."""

from typing import Any

TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


MOST = 600  # characters of a message


def shorten(text: str, most: int) -> str:
    """The text, or its beginning and its end."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


class ApiError(Exception):
    """A request that fails, with its HTTP status.

    Args:
      status: of the response.
      message: what is wrong, for a person.
      param: the field it is about, if any.
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
        """The body of the response; what it quotes of the request is cut."""
        kind = TYPES.get(self.status, "invalid_request_error")
        param = None if self._param is None else shorten(self._param, 80)
        about = {"param": param, "code": self._code}
        return {"error": {"message": shorten(str(self), MOST), "type": kind, **about}}


def of_reason(finish_reason: str) -> ApiError:
    """The error of a sequence that ended with "error: ...": 400 where the engine refused what was asked."""
    reason = finish_reason.removeprefix("error: ")
    ours = reason.startswith(("non-finite", "the engine failed"))
    return ApiError(500 if ours else 400, reason)
