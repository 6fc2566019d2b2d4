"""The mean color and black in each kind of network's value range."""

from __future__ import annotations

import numpy as np
import pytest

from tfviz.images.preprocessing import Preprocessing, named
from tfviz.images.reference_colors import black, mean_color


@pytest.mark.parametrize("mode", ["torch", "caffe"])
def test_the_mean_color_is_zero_where_the_preprocessing_subtracts_a_mean(mode: str) -> None:
    assert np.array_equal(mean_color(named(mode)), np.zeros(3, "float32"))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("none", [124, 116, 104]),
        ("unit", [124 / 255, 116 / 255, 104 / 255]),
        ("tf", [124 / 127.5 - 1, 116 / 127.5 - 1, 104 / 127.5 - 1]),
    ],
)
def test_other_preprocessing_takes_the_mean_of_imagenet(mode: str, expected: list[float]) -> None:
    np.testing.assert_allclose(mean_color(named(mode)), expected, rtol=1e-6)


def test_channel_order_is_respected() -> None:
    assert mean_color(Preprocessing(channel_order="BGR")).tolist() == [104, 116, 124]
    gray = mean_color(Preprocessing(channel_order="gray", formula="x/255"))
    np.testing.assert_allclose(gray, [(0.299 * 124 + 0.587 * 116 + 0.114 * 104) / 255], rtol=1e-6)


@pytest.mark.parametrize("mode", ["none", "unit", "tf", "torch", "caffe"])
def test_black_is_a_preprocessed_black_image(mode: str) -> None:
    preprocessing = named(mode)
    assert np.array_equal(black(preprocessing), preprocessing.tensor(np.zeros((2, 2, 3), "uint8"))[0, 0])


@pytest.mark.parametrize("color", [mean_color, black])
@pytest.mark.parametrize("preprocessing", [named("tf"), named("caffe"), named("unit", channels=1)])
def test_colors_are_float32_rows_of_channels(color, preprocessing: Preprocessing) -> None:
    assert color(preprocessing).shape == (preprocessing.channels,)
    assert color(preprocessing).dtype == np.float32
