"""Masks and standardized maps."""

from __future__ import annotations

import numpy as np
import pytest

from tfviz.errors import ImageError
from tfviz.render import gray_mask, red_mask, standardized


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_red_mask_keeps_the_image_at_0_and_is_red_at_1() -> None:
    mask = np.zeros((40, 60))
    mask[:, 30:], mask[:, 20:30] = 1, 0.5
    drawn = red_mask(picture(), mask)
    assert np.array_equal(drawn[:, :20], picture()[:, :20])
    assert (drawn[:, 30:] == (255, 0, 0)).all()
    half = picture()[:, 20:30] / 2 + (127.5, 0, 0)
    assert np.abs(drawn[:, 20:30] - half).max() <= 0.5


def test_a_gray_mask_has_the_requested_size() -> None:
    drawn = gray_mask(np.array([[0.0, 1.0], [0.0, 1.0]]), 8, 8)
    assert drawn.shape == (8, 8, 3) and drawn.dtype == np.uint8
    assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 255).all()


@pytest.mark.parametrize("mask", [np.full((4, 4), 1.1), np.full((4, 4), -0.1), np.zeros((4, 4, 3))])
def test_an_invalid_mask_is_an_error(mask: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"Expected a mask \(height, width\) in \[0, 1\]\. Received: shape"):
        red_mask(picture(4, 4), mask)


@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e38])
def test_a_standardized_map_has_its_mean_and_standard_deviation(scale: float) -> None:
    values = np.random.default_rng(0).standard_normal((64, 64, 3)) * scale
    drawn = standardized(values).astype(np.float64) / 255
    assert abs(drawn.mean() - 0.5) < 0.002 and abs(drawn.std() - 0.1) < 0.002
    expected = np.clip(0.5 + 0.1 * (values - values.mean()) / values.std(), 0, 1)
    assert np.abs(drawn - expected).max() <= 0.5 / 255 + 1e-9


def test_a_constant_map_is_mid_gray() -> None:
    assert (standardized(np.zeros((4, 4))) == 128).all() and (standardized(np.full((4, 4, 3), 7.0)) == 128).all()
