"""The maps of a base method for noisy copies of the image. The noise is an argument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Method = Callable[[np.ndarray], np.ndarray]


def smooth_grad(method: Method, images: np.ndarray, draws: np.ndarray, noise: float = 0.15) -> np.ndarray:
    return np.mean(noisy_maps(method, images, draws, noise), 0)


def square_grad(method: Method, images: np.ndarray, draws: np.ndarray, noise: float = 0.15) -> np.ndarray:
    return np.mean(np.square(noisy_maps(method, images, draws, noise)), 0)


def var_grad(method: Method, images: np.ndarray, draws: np.ndarray, noise: float = 0.15) -> np.ndarray:
    """The variance, divided by n."""
    return np.var(noisy_maps(method, images, draws, noise), 0)


def noisy_maps(method: Method, images: np.ndarray, draws: np.ndarray, noise: float) -> list[np.ndarray]:
    axes = tuple(range(1, images.ndim))
    sigma = noise * (images.max(axes, keepdims=True) - images.min(axes, keepdims=True)).astype(np.float64)
    return [method(images + sigma * draw) for draw in draws]
