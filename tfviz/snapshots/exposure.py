"""The data that the training thread passes to the background thread for each snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Moment:
    """A point in training.

    Attributes:
        when: "start", "epoch", "batch" or "end".
        epoch: the epoch, counted from 0, as in `fit`.
        batch: the number of training batches so far in the epoch, or None if the snapshot was not
            taken after a batch.
        step: the number of training batches so far in the run.
        time: the Unix time in seconds.
        logs: the metrics that Keras reported.
    """

    when: str
    epoch: int
    batch: int | None
    step: int
    time: float
    logs: Mapping[str, Any]


@dataclass(frozen=True)
class Exposure:
    """The result of one explainer at one moment.

    Attributes:
        outputs: the model's outputs.
        maps: the raw maps, with shape (N, …).
        error: the error message, if the explainer raised an exception.
        target: the explained class of each image, as integers of shape (N,), or None if the user
            chose no classes.
    """

    outputs: Any = None
    maps: np.ndarray | None = None
    error: str | None = None
    target: np.ndarray | None = None
