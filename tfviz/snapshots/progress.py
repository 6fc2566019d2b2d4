"""Where the training is: the epoch, the batch in it, and the step in the whole run."""

from __future__ import annotations

from typing import Any

import keras


class Progress:
    """Counts batches over epochs, fits and restarts.

    epoch: from 0, as in `fit`. batch: trained in this epoch so far. step: trained in the whole run
        so far.
    """

    def __init__(self) -> None:
        self.epoch = self.batch = 0
        self._before = 0  # trained before this epoch
        self._iterations: int | None = None  # of the optimizer, then

    @property
    def step(self) -> int:
        return self._before + self.batch

    def begin(self, step: int) -> None:
        """The run was at `step` when this training began."""
        self._before, self.batch = step, 0

    def begin_epoch(self, epoch: int, model: Any) -> None:
        self.epoch, self._before, self.batch = epoch, self.step, 0
        self._iterations = _iterations(model)

    def end_batch(self, batches: int, model: Any) -> None:
        """batches: of the epoch, as Keras counts them, which is in whole executions of
        `steps_per_execution`.

        The last execution of an epoch may have found fewer: how many, the optimizer tells. One that
        counts otherwise (gradients are accumulated, a `train_step` uses two) is not asked.
        """
        now = _iterations(model) if self._iterations is not None else None
        if now is not None and self._iterations is not None:
            counted = now - self._iterations
            if batches - model.steps_per_execution < counted < batches:
                batches = counted
        self.batch = batches


def _iterations(model: Any) -> int | None:
    """How often the optimizer has run; None where that is not needed, or there is none."""
    optimizer = getattr(model, "optimizer", None)
    if model.steps_per_execution == 1 or not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    return int(keras.ops.convert_to_numpy(optimizer.iterations))
