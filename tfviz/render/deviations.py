"""Maps as deviations from their mean, the way many scripts draw gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfviz.render.pictures import Picture, maps_of

MEAN, DEVIATION = 0.5, 0.1  # of the picture's values, where 0 is black and 1 white


def standardized(attribution: npt.ArrayLike) -> Picture:
    """A map (h, w) or (h, w, 3) as a picture (h, w, 3) whose values have mean 0.5 and deviation 0.1, cut at 0 and 1."""
    (values,) = maps_of([attribution], count=1)
    values = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)  # so that nothing below overflows
    spread = float(values.std())
    values = MEAN + (DEVIATION * (values - values.mean()) / spread if spread > 0 else np.zeros_like(values))
    gray = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.atleast_3d(gray), (*gray.shape[:2], 3)))
