"""Training progress: the epoch, the batch within it, and the global step."""

from __future__ import annotations

from typing import Any

import keras


class Progress:
    """Counts batches across epochs, calls to `fit` and restarts.

    Attributes:
        epoch: the epoch, counted from 0, as in `fit`.
        batch: the number of batches trained in this epoch.
        step: the number of batches trained in the entire run.
    """

    def __init__(self) -> None:
        self.epoch = self.batch = 0
        self._before = 0  # batches trained before this epoch
        self._iterations: int | None = None  # the optimizer's iterations before this epoch

    @property
    def step(self) -> int:
        return self._before + self.batch

    def begin(self, step: int) -> None:
        """Start a `fit` call, which continues the run at `step`."""
        self._before, self.batch = step, 0

    def begin_epoch(self, epoch: int, model: Any) -> None:
        self.epoch, self._before, self.batch = epoch, self.step, 0
        self._iterations = _iterations(model)

    def end_batch(self, batches: int, model: Any) -> None:
        """Set the number of batches trained in the epoch.

        Keras counts full executions of `steps_per_execution`, but the last execution of an epoch
        may have had fewer batches. The optimizer's iteration count gives the exact number, unless
        iterations and batches differ, as with accumulated gradients or two updates per
        `train_step`.

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
    """Return the optimizer's iteration count, or None if it does not exist or is not needed."""
    optimizer = getattr(model, "optimizer", None)
    if model.steps_per_execution == 1 or not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    return int(keras.ops.convert_to_numpy(optimizer.iterations))
