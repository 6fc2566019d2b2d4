"""Looking again and again for what others have written into the folder."""

from __future__ import annotations

import asyncio
import time

from tfviz.viewer.events import Events
from tfviz.viewer.log import log
from tfviz.viewer.store import News, Store

PAUSE_S = 0.25
# looking for runs in a large tree of folders takes at most one part of the time in so many
_SHARE = 10


async def poll(store: Store, events: Events) -> None:
    """Tells what is new, for ever. Snapshots are looked for every PAUSE_S, runs less often where
    that takes long.
    """
    next_find_s = 0.0
    while True:
        news: list[News] = []
        try:
            start_s = time.monotonic()
            if start_s >= next_find_s:
                news += await asyncio.to_thread(store.find)
                end_s = time.monotonic()
                next_find_s = end_s + max(PAUSE_S, _SHARE * (end_s - start_s))
            news += await asyncio.to_thread(store.poll)
        except Exception:  # one bad moment of a file system must not end the following
            log.exception("Looking for snapshots failed; it is tried again.")
        events.tell(news)
        await asyncio.sleep(PAUSE_S)
