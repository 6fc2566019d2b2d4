"""Draw maps as deviations from their mean, as is common for gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfviz.render.pictures import Picture, maps_of

MEAN, DEVIATION = 0.5, 0.1  # The drawn values range from 0 (black) to 1 (white).


def standardized(attribution: npt.ArrayLike) -> Picture:
    """Scale a map to a mean of 0.5 and a standard deviation of 0.1, and draw it.

    Args:
        attribution: a map of shape (h, w) or (h, w, 3).

    Returns:
        The picture, as a uint8 array of shape (h, w, 3). A scaled value of 0 is black,
        and 1 is white. Values outside [0, 1] are clipped.
    """
    (values,) = maps_of([attribution], count=1)
    # Dividing by the largest value prevents overflow below.
    values = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    spread = float(values.std())
    values = MEAN + (DEVIATION * (values - values.mean()) / spread if spread > 0 else np.zeros_like(values))
    gray = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.atleast_3d(gray), (*gray.shape[:2], 3)))
