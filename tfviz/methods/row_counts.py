"""Count how many times a method runs the network for each image."""

from __future__ import annotations

import tensorflow as tf

from tfviz.methods.explainer import Explainer

_DEFAULT_SIDE_PX = 224


def rows_per_image(explainer: Explainer) -> int:
    """Return how many times a method runs the network per image.

    If the model accepts any size, images are assumed to be 224 × 224 pixels.
    """
    sizes = [value.shape or (None, None, None, 3) for value in explainer.graph.inputs]
    specs = [tf.TensorSpec([1, *(n or _DEFAULT_SIDE_PX for n in size[1:])]) for size in sizes]
    return explainer.rows_for(specs) or 1
