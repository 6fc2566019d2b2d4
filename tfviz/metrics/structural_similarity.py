"""Compute the structural similarity index (SSIM; Wang et al., 2004) for pairs of maps.

    SSIM = (2 μa μb + c1)(2 σab + c2) / ((μa² + μb² + c1)(σa² + σb² + c2))

The moments are weighted with a 7×7 Gaussian window (σ = 1.5) whose weights sum to 1. The constants
are c1 = .01² and c2 = .03². The result is the mean over all positions where the window fits inside
the map.
"""

from __future__ import annotations

import cv2
import numpy as np

from tfviz.errors import ImageError

WINDOW = 7  # pixels
_SIGMA, _C1, _C2 = 1.5, 0.01**2, 0.03**2


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the structural similarity of each pair of maps.

    Args:
        a, b: maps of shape (N, H, W) with values in [0, 1].

    Returns:
        The similarities, with shape (N,) and values in [-1, 1]; 1 for equal maps.

    Raises:
        ImageError: the maps are smaller than the window.
    """
    if min(a.shape[1:]) < WINDOW:
        size = "x".join(map(str, a.shape[1:]))
        raise ImageError(f"SSIM needs maps of at least {WINDOW}x{WINDOW} pixels. Received: {size}. Pass larger images.")
    return np.array([_ssim(x, y) for x, y in zip(a.astype(np.float64), b.astype(np.float64), strict=True)])


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return float(np.mean(luminance * (2 * covariance + _C2) / (var_a + var_b + _C2)))


def _windowed(x: np.ndarray) -> np.ndarray:
    """Compute the weighted mean in each window that fits inside the map.

    The result has shape (H - 6, W - 6).
    """
    taps, border = cv2.getGaussianKernel(WINDOW, _SIGMA, cv2.CV_64F), WINDOW // 2
    return cv2.sepFilter2D(x, cv2.CV_64F, taps, taps)[border:-border, border:-border]
