"""What the engine's thread has for a coroutine: of each sequence the newest state only, so that it cannot grow."""

import asyncio
from typing import Any


class Mailbox:
    """Made in the event loop that takes from it; anything may put."""

    def __init__(self):
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._latest: dict[Any, Any] = {}

    def put(self, key: Any, value: Any) -> None:
        """From any thread. A value that has not been taken is replaced; a loop that has ended takes nothing."""
        try:
            self._loop.call_soon_threadsafe(self._put, key, value)
        except RuntimeError:
            return

    def _put(self, key: Any, value: Any) -> None:
        self._latest[key] = value
        self._news.set()

    async def take(self) -> dict[Any, Any]:
        """What was put since the last time, at least one value."""
        await self._news.wait()
        self._news.clear()
        taken, self._latest = self._latest, {}
        return taken
