"""Guided Grad-CAM: the fine structures of guided backprop, where Grad-CAM sees the class.

Answers: which fine structures belong to the class?

    guided backprop · Grad-CAM resized to the image          Selvaraju et al., 2017, "Grad-CAM", section 3.2

One forward pass serves both: Grad-CAM runs only the head above its layer a second time. The map is resized bilinearly. It
misleads as guided backprop does: the detail does not depend on the class, only the place does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfviz import targets
from tfviz.graph.places import Value
from tfviz.graph.walk import backpropagate, inputs_of
from tfviz.methods.explainer import like_inputs
from tfviz.methods.grad_cam import GradCAM
from tfviz.methods.gradient import warn_without_relu
from tfviz.rules.relu import GUIDED


class GuidedGradCAM(GradCAM):
    """Guided backprop times Grad-CAM, signed, (N, H, W, C). A vector input beside the image gets guided backprop alone."""

    key: ClassVar[str] = "guided_grad_cam"
    question: ClassVar[str] = "Which fine structures belong to the class?"
    style: ClassVar[str] = "grey"

    def __init__(self, model: Any, layer: Any = None, *, score: str = "logits", output: str | int | None = None) -> None:
        super().__init__(model, layer, score=score, output=output)
        warn_without_relu(self.graph, self.key)

    def attribute(self, images: list[Any], seed: targets.Seed) -> tuple[Any, dict[Value, Any]]:
        guided = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs, GUIDED)
        cam, values = self.map_from(guided.values, seed)
        return like_inputs(self.graph, [_masked(g, cam) for g in guided.gradients]), values


def _masked(gradient: Any, cam: Any) -> Any:
    # A vector beside the image has no place that a map could mask.
    gradient = tf.cast(gradient, tf.float32)
    return gradient * _resized_like(cam, gradient)[..., None] if len(gradient.shape) == len(cam.shape) + 1 else gradient


def _resized_like(cam: Any, image: Any) -> Any:
    """The map (N, …), resized bilinearly to the height and width of (N, …, C), one axis after the other."""
    for axis in range(1, len(cam.shape)):
        last = tf.experimental.numpy.moveaxis(cam, axis, -1)
        shape, size = tf.shape(last), tf.shape(image)[axis]
        rows = tf.image.resize(tf.reshape(last, [-1, shape[-1], 1, 1]), [size, 1])
        cam = tf.experimental.numpy.moveaxis(tf.reshape(rows, tf.concat([shape[:-1], [size]], 0)), -1, axis)
    return cam
