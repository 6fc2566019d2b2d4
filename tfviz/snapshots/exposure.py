"""What the training thread takes: the moment, and what each explainer gave then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Moment:
    """Where the training was.

    when: "start", "epoch", "batch" or "end". epoch: counted from 0, as in `fit`. batch: how many batches of the epoch were
    trained, or None where the snapshot is not about a batch. step: how many batches were trained in the whole run.
    time: seconds since 1970. logs: what Keras reported.
    """

    when: str
    epoch: int
    batch: int | None
    step: int
    time: float
    logs: Mapping[str, Any]


@dataclass(frozen=True)
class Exposure:
    """What one explainer gave at a moment: the model's outputs and the raw maps (N, …), or an error in words.

    target: the class of each image that was explained, (N,) ints; None where that is not one class.
    """

    outputs: Any = None
    maps: np.ndarray | None = None
    error: str | None = None
    target: np.ndarray | None = None
