"""Gradients along paths from baselines to the image."""

from __future__ import annotations

import numpy as np

from .gradients import gradient
from .network import Network


def integrated_gradients(
    net: Network, images: np.ndarray, weights: np.ndarray, baselines: list[np.ndarray], steps: int
) -> np.ndarray:
    """(x − x′) ⊙ the mean gradient at x′ + α (x − x′), α = (k − ½)/n; the mean over baselines."""
    total = np.zeros(images.shape)
    for baseline in baselines:
        for k in range(1, steps + 1):
            point = baseline + (k - 0.5) / steps * (images - baseline)
            total += (images - baseline) * gradient(net, point, weights)
    return total / (steps * len(baselines))


def expected_gradients(
    net: Network, images: np.ndarray, weights: np.ndarray, backgrounds: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """The mean over k of (x − b) ⊙ the gradient at b + α_k (x − b), b the background k mod B."""
    total = np.zeros(images.shape)
    for k, alpha in enumerate(positions):
        difference = images - backgrounds[k % len(backgrounds)]
        total += difference * gradient(net, images - (1 - alpha) * difference, weights)
    return total / len(positions)


def blurred(images: np.ndarray) -> np.ndarray:
    """A Gaussian of σ = .05 H along both axes, cut at ⌊4σ + ½⌋, the border mirrored."""
    sigma = 0.05 * images.shape[1]
    reach = int(4 * sigma + 0.5)
    taps = np.array([np.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)])
    result = images.astype(np.float64)
    for axis in (1, 2):
        width = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        padded = np.moveaxis(np.pad(result, width, mode="symmetric"), axis, 0)
        size = images.shape[axis]
        rows = [(taps[:, None, None, None] * padded[i : i + 2 * reach + 1]).sum(0) / taps.sum() for i in range(size)]
        result = np.moveaxis(np.stack(rows), 0, axis)
    return result
