"""A sigmoid per pixel: two classes, background and foreground."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from support import networks
from support.explainers import TARGETED, built

import tfviz

MASK = np.zeros((12, 10), bool)
MASK[3:8, 2:6] = True


def binary_segmentation(ending: Any) -> keras.Model:
    inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="last")(inputs)
    return networks.with_random_weights(keras.Model(inputs, ending(x)), 2)


ENDS = {
    "fused": lambda x: layers.Conv2D(1, 1, activation="sigmoid", name="classes")(x),
    "layer": lambda x: layers.Activation("sigmoid")(layers.Conv2D(1, 1, name="classes")(x)),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", TARGETED)
def test_a_sigmoid_for_each_pixel_is_two_classes(method: str, end: str) -> None:
    """Class 0 is the background, with the logit −z, and class 1 the foreground, with z."""
    model = binary_segmentation(ENDS[end])
    twin = binary_segmentation(lambda x: layers.Conv2D(2, 1, activation="sigmoid", name="classes")(x))
    *trunk, kernel, bias = model.get_weights()
    twin.set_weights([*trunk, np.concatenate([-kernel, kernel], -1), np.concatenate([-bias, bias])])
    images = networks.pictures(model)
    found = [built(method, model)(images, tfviz.At(index, MASK)).numpy() for index in (0, 1)]
    for index, one in enumerate(found):
        want = built(method, twin)(images, tfviz.At(index, MASK))
        np.testing.assert_allclose(one, want, rtol=1e-4, atol=1e-6 * np.abs(want).max())
    if method not in ("square_grad", "var_grad"):  # they lose the sign
        assert abs(found[0] - found[1]).max() > 0
    with pytest.raises(tfviz.TargetError, match=r"Target 2 is out of range\. The model has 2 classes \(0 to 1\)"):
        built(method, model)(images, tfviz.At(2, MASK))
