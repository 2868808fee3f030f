"""Connections that cost little when clients are slow: a time for headers, a number, bodies read to the end."""

import asyncio
import functools
import resource
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jaxreason.serve.service import Service

SPARE = (
    256  # connections beyond the replies that may run or wait: they ask for /health, or keep alive
)
LINGER_S = 1.0  # a client that sends nothing for so long is not sending


def server_settings(app: Callable, service: Service, most: int, drain_s: int) -> uvicorn.Config:
    """How uvicorn serves the application.

    Args:
      app: the ASGI application.
      service: what it serves.
      most: connections at a time; at most half of the files that this process may have open are taken for them.
      drain_s: what is left to requests that have begun when the server is stopped.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    protocol = functools.partial(
        Connection, header_s=service.body_timeout_s, most=min(most, max(files // 2, 1))
    )
    return uvicorn.Config(
        ReadToTheEnd(app, service.body_timeout_s),
        http=protocol,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=drain_s,
    )


class Connection(H11Protocol):
    """One that is closed when a request's headers are not there in time.

    When there are too many, the one closes that has waited longest for headers.

    Args:
      header_s: from the connection's first moment, or its next request's first byte, to the end of the headers.
      most: connections of the server.
    """

    def __init__(self, *args: Any, header_s: float, most: int, **settings: Any):
        super().__init__(*args, **settings)
        self._header_s, self._most = header_s, most
        self._waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Starts the time for headers."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._most:
            waiting = [one for one in self.connections if one._waits is not None]
            min(waiting, key=lambda one: one._waits.when()).drop()

    def data_received(self, data: bytes) -> None:
        """Stops it when a request has begun."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        self._forget()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Closes a connection that has no request."""
        self._forget()
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._waits is None and not self.transport.is_closing():
            self._waits = self.loop.call_later(self._header_s, self.drop)

    def _forget(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
        self._waits = None


class ReadToTheEnd:
    """Reads what is left of a request's body before it is answered: a client that is still sending would not read why
    it is refused, but find its connection reset.

    What comes is thrown away, for `timeout_s` at most. A client that waits to be asked for its body is not asked.
    """

    def __init__(self, app: Callable, timeout_s: float):
        self._app, self._timeout_s = app, timeout_s

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = True  # of the body
        waits = (b"expect", b"100-continue") in scope["headers"]

        async def read() -> dict:
            nonlocal left, waits
            waits, message = False, await receive()
            left = message.get("more_body", False)
            return message

        async def answer(message: dict) -> None:
            if message["type"] == "http.response.start" and left and not waits:
                await self._read_on(read, lambda: left)
            await send(message)

        await self._app(scope, read, answer)

    async def _read_on(self, read: Callable, left: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                while left():
                    await asyncio.wait_for(read(), LINGER_S)
        except TimeoutError:
            return
