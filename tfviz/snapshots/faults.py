"""What goes wrong beside the training: said once, in the training thread, and never in its way."""

from __future__ import annotations

import threading
import warnings
from collections import deque

from tfviz.errors import escaped


class SnapshotWarning(UserWarning):
    """A snapshot, or a part of one, was lost; training goes on."""


class Faults:
    """Collects faults from any thread until the training thread asks for them.

    Each cause is reported once: as a warning whose `__cause__` is the error, or where `strict` is set by raising the error.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._seen: set[str] = set()
        self._waiting: deque[tuple[str, Exception]] = deque()
        self._lock = threading.Lock()

    def add(self, cause: str, message: str, error: Exception) -> None:
        """cause: what is out of order, such as a sink; the next fault of the same cause is not reported again."""
        with self._lock:
            if cause not in self._seen:
                self._seen.add(cause)
                self._waiting.append((message, error))

    def report(self) -> None:
        """To be called in the training thread, and often: it costs nothing while all is well."""
        while self._waiting:
            message, error = self._waiting.popleft()
            if self.strict:
                raise error
            # With a registry of its own: Python would keep the same words back in the next training.
            warning = SnapshotWarning(escaped(f"{message} Training goes on."))
            warning.__cause__ = error
            warnings.warn_explicit(warning, SnapshotWarning, __file__, 0, module=__name__, registry={})


def reason(error: BaseException) -> str:
    """An error in one line."""
    words = " ".join(str(error).split())
    return words if words else type(error).__name__
