"""Draw masks with values in [0, 1], either in gray or in red over an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfviz.errors import ImageError
from tfviz.render.pictures import Picture, maps_of, pictures_of, shrunk_or_enlarged

_RED = np.array([255, 0, 0], np.float32)


def gray_mask(mask: npt.ArrayLike, height: int, width: int) -> Picture:
    """Draw a mask in gray at size (height, width), from black at 0 to white at 1."""
    strength = _resized(mask, height, width)
    return np.rint(255 * np.repeat(strength[..., None], 3, axis=2)).astype(np.uint8)


def red_mask(picture: npt.ArrayLike, mask: npt.ArrayLike) -> Picture:
    """Blend an image with red according to a mask, from unchanged at 0 to pure red at 1."""
    (below,) = pictures_of([picture])
    strength = _resized(mask, *below.shape[:2])[..., None]
    return np.rint((1 - strength) * below + strength * _RED).astype(np.uint8)


def _resized(mask: npt.ArrayLike, height: int, width: int) -> np.ndarray:
    (values,) = maps_of([mask], count=1)
    if values.ndim != 2 or values.min() < 0 or values.max() > 1:
        raise ImageError(
            f"Expected a mask (height, width) in [0, 1]. Received: shape {values.shape} with values from "
            f"{values.min():.3g} to {values.max():.3g}."
        )
    return np.clip(shrunk_or_enlarged(values.astype(np.float32), height, width), 0, 1)
