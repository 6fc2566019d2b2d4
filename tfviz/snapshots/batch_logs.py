"""The logs of the latest batch, which Keras may deliver from another thread, after the batch."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

_LONGEST_WAIT_S = 30.0  # for a thread that has nothing left to do but to hand over numbers


class BatchLogs:
    """Keeps the logs of the latest batch; batches are counted within the epoch, from 1."""

    def __init__(self) -> None:
        self.count = 0
        self._logs: Mapping[str, Any] = {}
        self._changed = threading.Condition()

    def clear(self) -> None:
        with self._changed:
            self.count, self._logs = 0, {}

    def put(self, count: int, logs: Mapping[str, Any] | None) -> None:
        """Called by whichever thread; an older batch never replaces a newer one."""
        with self._changed:
            if count >= self.count:
                self.count, self._logs = count, dict(logs or {})
                self._changed.notify_all()

    def of(self, count: int) -> Mapping[str, Any]:
        """The logs of the batch that ends at `count`; none where they do not come."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.count >= count, _LONGEST_WAIT_S)
            return self._logs if arrived else {}
