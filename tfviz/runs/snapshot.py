"""A snapshot as stored in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfviz.render.canvas import Canvas
from tfviz.render.pictures import Picture


@dataclass(frozen=True)
class Snapshot:
    """One snapshot.

    Attributes:
        record: the snapshot's line in snapshots.jsonl (see `tfviz.runs.schema.Record`). The number
            is assigned when the snapshot is written.
        images: the snapshot's images, uint8 RGB arrays of shape (H, W, 3).
        pictures: the maps drawn over the images, keyed by method name.
        maps: the raw maps, float32 arrays of shape (N, …), keyed by method name.
        canvas: the canvas to draw the maps on. None means the run's canvas.
    """

    record: Mapping[str, Any]
    images: list[Picture]
    pictures: Mapping[str, list[Picture]]
    maps: Mapping[str, np.ndarray]
    canvas: Canvas | None = None
