"""Answering a call: as one response, or as chunks while it is being written."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from jaxreason.serve.body import read_body, to_json
from jaxreason.serve.calls import Call
from jaxreason.serve.errors import ApiError
from jaxreason.serve.pending import Pending
from jaxreason.serve.service import Service
from jaxreason.serve.shapes import Delta, Shape


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """In ASCII, so that half of a surrogate pair in what is quoted does no harm."""
    return Response(json.dumps(value), status, headers, "application/json")


CLIENT_GONE = 499  # nobody reads it; the counts of responses show it


async def answer(service: Service, request: Request, parse: Callable[[Any], Call]) -> Response:
    """The response to a request whose body `parse` understands.

    Raises:
      ApiError: it cannot be served, or failed before it had begun to be answered.
    """
    service.authorize(request)
    service.worker.check_room(1)  # an overloaded server does not read what it will refuse
    try:
        body = await read_body(request, service.max_body_bytes, service.body_timeout_s)
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    loop = asyncio.get_running_loop()
    call = await loop.run_in_executor(service.parsing, lambda: parse(to_json(body)))
    pending = Pending(call, service.worker, service.tokenizer)
    watch = asyncio.create_task(_cancel_when_gone(request, pending))
    try:
        return await _respond(service, call, pending, watch)
    except BaseException:
        watch.cancel()
        raise


async def _respond(service: Service, call: Call, pending: Pending, watch: asyncio.Task) -> Response:
    tokenizer = service.tokenizer
    shape = Shape(call.chat, call.logprobs, tokenizer.show, tokenizer.token_bytes)
    about = {"object": shape.kind(call.stream), "created": int(time.time()), "model": service.name}
    envelope = {"id": pending.id, **about}
    if not call.stream:
        whole = await _whole(pending, shape, call)
        watch.cancel()
        return json_response({**envelope, "system_fingerprint": pending.fingerprint, **whole})
    events = _events(pending, shape, call, envelope)
    first = await anext(events)  # what fails before it has begun has a status of its own
    return StreamingResponse(_chunks(first, events, watch), media_type="text/event-stream")


async def _cancel_when_gone(request: Request, pending: Pending) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    pending.cancel()


async def _whole(pending: Pending, shape: Shape, call: Call) -> dict[str, Any]:
    grown: dict[int, Delta] = {i: Delta("", (), None) for i in range(call.sequences)}
    async for index, delta in pending.deltas():
        before = grown[index]
        grown[index] = Delta(
            before.text + delta.text, before.tokens + delta.tokens, delta.finish_reason
        )
    choices = [shape.choice(index, delta, chunk=False) for index, delta in grown.items()]
    return {"choices": choices, "usage": pending.usage.to_json()}


async def _events(
    pending: Pending, shape: Shape, call: Call, envelope: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Chunks; the last counts tokens, if that was asked for."""
    unused = {"usage": None} if call.usage else {}
    opened = set()
    async for index, delta in pending.deltas():
        envelope = {**envelope, "system_fingerprint": pending.fingerprint}
        if index not in opened and (opening := shape.opening(index)) is not None:
            yield {**envelope, "choices": [opening], **unused}
        opened.add(index)
        if delta.text or delta.tokens or delta.finish_reason:
            choices = [shape.choice(index, delta, chunk=True)]
            yield {**envelope, "choices": choices, **unused}
    if call.usage:
        yield {**envelope, "choices": [], "usage": pending.usage.to_json()}


async def _chunks(
    first: dict[str, Any], rest: AsyncIterator[dict[str, Any]], watch: asyncio.Task
) -> AsyncIterator[str]:
    """The chunks as server-sent events; what fails under way is an event too, and the last."""
    try:
        yield _event(first)
        async for chunk in rest:
            yield _event(chunk)
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.to_json())
    finally:
        watch.cancel()
        await rest.aclose()


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"
