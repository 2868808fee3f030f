"""Reading a request's body, as far as it may be long."""

import asyncio
import json
from typing import Any

from fastapi import Request

from jaxreason.serve.errors import ApiError


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """All of it, unless it is too long.

    Raises:
      ApiError: 413 when it is longer than `max_bytes`, 408 when it does not come.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise _too_long(max_bytes)
    parts, size = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    raise _too_long(max_bytes)
    except TimeoutError:
        raise ApiError(408, f"the body was not there within {timeout_s:g} s") from None
    return b"".join(parts)


def to_json(body: bytes) -> Any:
    """The value that a body is.

    Raises:
      ApiError: (400) it is no JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # bytes that are no text are a ValueError too
        raise ApiError(400, f"the body is not valid JSON: {error}") from None


def _too_long(max_bytes: int) -> ApiError:
    return ApiError(413, f"the body is longer than {max_bytes} bytes", None, "body_too_large")
