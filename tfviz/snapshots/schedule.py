"""Decide when a snapshot is due."""

from __future__ import annotations

from numbers import Integral

from tfviz.errors import OptionError

EPOCH = "epoch"


class Schedule:
    """Decides when to take snapshots: every epoch, or every N batches of the entire run.

    Keras may train several batches in one execution (`steps_per_execution`) and runs callbacks only
    between executions. A snapshot that becomes due during an execution is taken after it.

    Raises:
        OptionError: `every` is neither "epoch" nor a positive integer.
    """

    def __init__(self, every: str | int) -> None:
        is_count = isinstance(every, Integral) and not isinstance(every, bool) and int(every) >= 1
        if every != EPOCH and not is_count:
            raise OptionError(f"`every` must be 'epoch' or a positive number of batches. Received: {every!r}.")
        self.is_by_epoch = every == EPOCH
        self._every = 0 if self.is_by_epoch else int(every)
        self._last = 0

    def begin(self, step: int) -> None:
        """Start counting at `step`, the number of batches trained so far."""
        self._last = step

    def is_due(self, step: int) -> bool:
        """Return whether the step count has reached a multiple of N since the last snapshot."""
        return not self.is_by_epoch and step // self._every > self._last // self._every

    def mark_taken(self, step: int) -> None:
        """Record that a snapshot was taken at `step`."""
        self._last = step
