"""A snapshot as the run folder keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfviz.render.pictures import Picture


@dataclass(frozen=True)
class Snapshot:
    """One snapshot.

    record: its line in snapshots.jsonl (see `tfviz.runs.schema.Record`); without a number before it
        is in the folder.
    images: the fixed images, uint8 RGB (H, W, 3). pictures: for each method's name the maps drawn
        over them.
    maps: for each name the raw maps (N, …), float32.
    """

    record: Mapping[str, Any]
    images: list[Picture]
    pictures: Mapping[str, list[Picture]]
    maps: Mapping[str, np.ndarray]
