"""Reading a request's body, as far as it may be long."""

import asyncio
import json
from typing import Any

from fastapi import Request

from jaxreason.serve.errors import ApiError

DISCARDED = 4  # times the limit: a client that is still sending would not read why it is refused


async def read_json(request: Request, max_bytes: int, timeout_s: float) -> Any:
    """The value that the body is.

    Raises:
      ApiError: 413 when it is longer than `max_bytes`, 408 when it does not come, 400 when it is no JSON.
    """
    try:
        async with asyncio.timeout(timeout_s):
            body = await _read(request, max_bytes)
    except TimeoutError:
        raise ApiError(408, f"the body was not there within {timeout_s:g} s") from None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # bytes that are no text are a ValueError too
        raise ApiError(400, f"the body is not valid JSON: {error}") from None


async def _read(request: Request, max_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= max_bytes:
            parts.append(part)
        elif size > DISCARDED * max_bytes:
            break
    if size > max_bytes:
        raise ApiError(413, f"the body is longer than {max_bytes} bytes", None, "body_too_large")
    return b"".join(parts)
