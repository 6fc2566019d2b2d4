"""When a snapshot is due."""

from __future__ import annotations

from numbers import Integral

from tfviz.errors import OptionError

EPOCH = "epoch"


class Schedule:
    """Every epoch, or every N batches of the whole run.

    Keras may train several batches in one go (`steps_per_execution`), and can be stopped between
    two of them only: a snapshot that falls due inside is taken at the end.

    Raises:
        OptionError: `every` is neither "epoch" nor a whole number of batches.
    """

    def __init__(self, every: str | int) -> None:
        is_count = isinstance(every, Integral) and not isinstance(every, bool) and int(every) >= 1
        if every != EPOCH and not is_count:
            raise OptionError(f"every: expected 'epoch' or a whole number of batches, 1 at least; got {every!r}")
        self.of_epochs = every == EPOCH
        self._every = 0 if self.of_epochs else int(every)
        self._last = 0

    def begin(self, step: int) -> None:
        """Training goes on from `step`, the number of batches that were trained before."""
        self._last = step

    def is_due(self, step: int) -> bool:
        """Whether a multiple of N was reached since the last snapshot."""
        return not self.of_epochs and step // self._every > self._last // self._every

    def taken(self, step: int) -> None:
        """Notes that a snapshot was taken at `step`."""
        self._last = step
