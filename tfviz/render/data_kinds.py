"""Tell images, signals, volumes and videos apart by the axes of their arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfviz.errors import OptionError, near_matches
from tfviz.images.image_array import LoadedImages
from tfviz.render.grid import Attributions
from tfviz.render.pictures import Arrays

RANKS = {"image": 4, "signal": 3, "volume": 5, "video": 5}  # of a batch
KINDS = tuple(RANKS)
PLANES = {"volume": "slice", "video": "frame"}
_LONG = 4  # the minimum ratio of the number of time steps to the number of signals


def kind_of_batch(shape: Sequence[int | None]) -> str | None:
    """Return the kind of a batch with this shape, or None if its rank matches no kind.

    A batch of shape (N, D, H, W, C) contains videos if it has three color channels, and volumes
    otherwise.
    """
    if len(shape) == RANKS["video"] and shape[-1] == 3:
        return "video"
    return next((kind for kind, rank in RANKS.items() if rank == len(shape)), None)


def kind_of(images: Arrays, attributions: Attributions, kind: str | None = None) -> str:
    """Return the kind of `images`: "image", "signal", "volume" or "video".

    Signals of shape (N, T, C) can look like a single image of shape (H, W, C). An array with three
    axes is treated as signals if the maps have one row per signal and the array cannot be an image.
    It cannot be an image if it has neither 1 nor 3 channels, if the maps have fewer than T time
    steps, or if T is much larger than N and the values are outside an image's range.

    Args:
        images: as for `plot`.
        attributions: as for `plot`.
        kind: the kind, or None to infer it.

    Returns:
        The kind.

    Raises:
        OptionError: the kind is unknown.
    """
    if kind is not None:
        if kind not in KINDS:
            raise OptionError(f"Unknown data kind {kind!r}. {near_matches(str(kind), KINDS)}")
        return kind
    if isinstance(images, list | tuple):
        return (kind_of_batch((1, *np.shape(images[0]))) if len(images) else None) or "image"
    shape = np.shape(images)  # type: ignore[arg-type]
    if len(shape) == 2:
        return "signal"
    if len(shape) == 3 and not _are_signals(images, shape, attributions):
        return "image"
    return kind_of_batch(shape) or "image"


def _are_signals(images: Any, shape: tuple[int, ...], attributions: Attributions) -> bool:
    maps = [np.shape(one) for one in _flat(attributions)]
    count, steps, channels = shape
    if isinstance(images, LoadedImages) or not maps or any(not one or one[0] != count for one in maps):
        return False
    if channels not in (1, 3) or any(len(one) == 2 and one[1] < steps for one in maps):
        return True
    values = np.asarray(images)
    is_picture = values.dtype == np.uint8 or (values.size and 0 <= values.min() <= values.max() <= 255)
    return steps >= _LONG * count and not is_picture


def _flat(attributions: Attributions) -> list[Any]:
    if not isinstance(attributions, Mapping):
        return []
    return [part for one in attributions.values() for part in (one.values() if isinstance(one, Mapping) else [one])]
