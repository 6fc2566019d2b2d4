"""Telling the pages: each reader is told the newest of each run, however slowly it reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

from tfviz.viewer.store import News

HEARTBEAT_S = 10.0
_RETRY_MS = 1000  # when a page asks again after the connection is lost


class Events:
    """News for any number of readers. To be used from one event loop."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()
        self.is_closed = False

    @property
    def count(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def tell(self, news: Iterable[News]) -> None:
        """Hands the news to all readers and returns at once."""
        news = list(news)
        for reader in self._readers:
            reader.add(news)

    def close(self) -> None:
        """Ends all streams, so that the server can stop."""
        self.is_closed = True
        for reader in self._readers:
            reader.is_awake.set()

    async def stream(self, now: Iterable[News]) -> AsyncIterator[bytes]:
        """Server-sent events: first how all runs are `now`, then what is new, and now and then a
        sign of life.
        """
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
    """What a reader has not been told yet: at most one thing for each run."""

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
