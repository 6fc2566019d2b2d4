"""Poll the folder for runs and snapshots written by other processes."""

from __future__ import annotations

import asyncio
import time

from tfviz.viewer.events import Events
from tfviz.viewer.log import log
from tfviz.viewer.store import News, Store

PAUSE_S = 0.25
# The pause between searches for runs is this many times the duration of the last search, because
# searching a large folder tree takes a long time.
_FIND_TIME_FACTOR = 10


async def poll(store: Store, events: Events) -> None:
    """Poll forever, notifying the pages of any changes.

    Snapshots are polled every PAUSE_S seconds. The search for new runs is repeated less often if it
    is slow.
    """
    next_find_s = 0.0
    while True:
        news: list[News] = []
        try:
            start_s = time.monotonic()
            if start_s >= next_find_s:
                news += await asyncio.to_thread(store.find)
                end_s = time.monotonic()
                next_find_s = end_s + max(PAUSE_S, _FIND_TIME_FACTOR * (end_s - start_s))
            news += await asyncio.to_thread(store.poll)
        except Exception:  # a temporary file system error must not end the polling
            log.exception("Polling the folder failed. The viewer will try again.")
        events.tell(news)
        await asyncio.sleep(PAUSE_S)
