"""Report snapshot failures once, on the training thread, without stopping training."""

from __future__ import annotations

import threading
import warnings
from collections import deque

from tfviz.errors import escaped


class SnapshotWarning(UserWarning):
    """A snapshot, or part of one, was lost. Training continues."""


class Faults:
    """Collects faults from all threads until the training thread reports them.

    Each cause is reported only once, by a warning whose `__cause__` is the error or, if `strict` is
    set, by raising the error.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._seen: set[str] = set()
        self._waiting: deque[tuple[str, Exception]] = deque()
        self._lock = threading.Lock()

    def add(self, cause: str, message: str, error: Exception) -> None:
        """Record a fault.

        Args:
            cause: an identifier for what failed. Later faults with the same cause are not reported.
            message: the warning text.
            error: the error.
        """
        with self._lock:
            if cause not in self._seen:
                self._seen.add(cause)
                self._waiting.append((message, error))

    def report(self) -> None:
        """Warn about each recorded fault or, if `strict` is set, raise the first one.

        Call this on the training thread.
        """
        while self._waiting:
            message, error = self._waiting.popleft()
            if self.strict:
                raise error
            # Use a new registry. With a shared one, Python would suppress a warning with the same
            # text in the next training run.
            warning = SnapshotWarning(escaped(f"{message} Training continues."))
            warning.__cause__ = error
            warnings.warn_explicit(warning, SnapshotWarning, __file__, 0, module=__name__, registry={})


def reason(error: BaseException) -> str:
    """Return an error's message on one line, or the name of its type if the message is empty."""
    words = " ".join(str(error).split())
    return words if words else type(error).__name__
