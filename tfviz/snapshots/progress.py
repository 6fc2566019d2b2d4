"""Training progress: the epoch, the batch within it, and the global step."""

from __future__ import annotations

from typing import Any

import keras


class Progress:
    """Counts batches across epochs, calls to `fit` and restarts.

    Attributes:
        epoch: the epoch, counted from 0, as in `fit`.
        batch: the number of training batches so far in this epoch.
        step: the number of training batches so far in the run.
    """

    def __init__(self) -> None:
        self.epoch = self.batch = 0
        self._before = 0  # training batches before this epoch
        self._iterations: int | None = None  # the optimizer's iterations before this epoch

    @property
    def step(self) -> int:
        return self._before + self.batch

    def begin(self, step: int) -> None:
        """Start counting for a `fit` call that continues the run at `step`."""
        self._before, self.batch = step, 0

    def begin_epoch(self, epoch: int, model: Any) -> None:
        self.epoch, self._before, self.batch = epoch, self.step, 0
        self._iterations = _iterations(model)

    def end_batch(self, batches: int, model: Any) -> None:
        """Set the number of training batches so far in the epoch.

        Keras counts `steps_per_execution` batches per execution, but an epoch's last execution may
        have fewer. The optimizer's iteration count is exact, unless iterations and batches differ,
        as with accumulated gradients or two updates per `train_step`.

        Args:
            batches: the number of batches that Keras reports.
            model: the trained model.
        """
        now = _iterations(model) if self._iterations is not None else None
        if now is not None and self._iterations is not None:
            counted = now - self._iterations
            if batches - model.steps_per_execution < counted < batches:
                batches = counted
        self.batch = batches


def _iterations(model: Any) -> int | None:
    """Return the optimizer's iteration count, or None if there is none or it isn't needed."""
    optimizer = getattr(model, "optimizer", None)
    if model.steps_per_execution == 1 or not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    return int(keras.ops.convert_to_numpy(optimizer.iterations))
