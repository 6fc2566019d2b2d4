"""From arrays to a snapshot: pictures, predictions and the line of the index. All on the background thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfviz.errors import ImageError
from tfviz.render.overlays import overlay
from tfviz.render.pictures import Picture
from tfviz.snapshots.faults import reason
from tfviz.snapshots.named_methods import NamedMethod
from tfviz.snapshots.snapshot import Exposure, Moment, Snapshot


def drawn(moment: Moment, exposures: Mapping[str, Exposure], methods: Sequence[NamedMethod], images: list[Picture]) -> Snapshot:
    """The snapshot of a moment, without a number: the folder gives it one.

    exposures: what each method gave, by its name. The predictions are those of the first method that has any.
    """
    errors = {name: exposure.error for name, exposure in exposures.items() if exposure.error is not None}
    maps = {name: exposure.maps for name, exposure in exposures.items() if exposure.maps is not None}
    pictures: dict[str, list[Picture]] = {}
    for method in methods:
        if method.name in maps:
            try:
                pictures[method.name] = overlay(images, list(maps[method.name]), style=method.explainer.style)
            except ImageError as error:  # NaN, above all: the training has diverged
                errors[method.name] = reason(error)
    record = {
        "when": moment.when,
        "epoch": moment.epoch,
        "batch": moment.batch,
        "step": moment.step,
        "time": moment.time,
        "logs": _finite(moment.logs),
        "predictions": _predictions(methods, exposures, len(images)),
        "methods": list(pictures),
        "errors": errors,
    }
    return Snapshot(record, images, pictures, maps)


def _predictions(methods: Sequence[NamedMethod], exposures: Mapping[str, Exposure], count: int) -> list[Any]:
    for method in methods:
        outputs = exposures[method.name].outputs
        if outputs is not None:
            return method.predictions(outputs)
    return [None] * count


def _finite(logs: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers among the logs; None for NaN and infinity, which JSON does not know."""
    numbers = {name: _number(value) for name, value in logs.items()}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items() if value is not None}


def _number(value: Any) -> float | None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "fiub" else None
