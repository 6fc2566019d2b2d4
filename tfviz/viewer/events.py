"""Notify the pages of news. A slow reader receives only the latest news about each run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

from tfviz.viewer.store import News

HEARTBEAT_S = 10.0
_RETRY_MS = 1000  # how long a page waits before it reconnects


class Events:
    """Sends news to any number of readers. Use it from a single event loop."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()
        self.is_closed = False

    @property
    def count(self) -> int:
        """The number of readers."""
        return len(self._readers)

    def tell(self, news: Iterable[News]) -> None:
        """Queue news for all readers and return immediately."""
        news = list(news)
        for reader in self._readers:
            reader.add(news)

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self.is_closed = True
        for reader in self._readers:
            reader.is_awake.set()

    async def stream(self, now: Iterable[News]) -> AsyncIterator[bytes]:
        """Yield server-sent events: the current state of all runs, then news and heartbeats."""
        reader = _Reader()
        reader.add(now)
        self._readers.add(reader)
        try:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            while not self.is_closed:
                yield reader.take() or b": still here\n\n"
                await reader.wait()
        finally:
            self._readers.discard(reader)


class _Reader:
    """The news that a reader has yet to receive, with at most one item per run."""

    def __init__(self) -> None:
        self.is_awake = asyncio.Event()
        self._pending: dict[str, News] = {}

    def add(self, news: Iterable[News]) -> None:
        for item in news:
            before = self._pending.get(item.run)
            self._pending[item.run] = News(item.run, item.last, item.is_new or (before is not None and before.is_new))
            self.is_awake.set()

    def take(self) -> bytes:
        pending, self._pending = self._pending, {}
        self.is_awake.clear()
        return b"".join(_event(item) for item in pending.values())

    async def wait(self) -> None:
        try:
            await asyncio.wait_for(self.is_awake.wait(), HEARTBEAT_S)
        except asyncio.TimeoutError:
            return


def _event(item: News) -> bytes:
    data = {"run": item.run, "last": item.last, "new": item.is_new}
    return f"data: {json.dumps(data)}\n\n".encode()
