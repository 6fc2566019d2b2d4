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
from tfviz.graph.walk import backpropagate, inputs_of
from tfviz.methods.explainer import one
from tfviz.methods.grad_cam import GradCAM
from tfviz.rules.relu import GUIDED


class GuidedGradCAM(GradCAM):
    """Guided backprop times Grad-CAM, signed, (N, H, W, C)."""

    key: ClassVar[str] = "guided_grad_cam"
    question: ClassVar[str] = "Which fine structures belong to the class?"
    style: ClassVar[str] = "grey"

    def attribute(self, images: list[Any], seed: targets.Seed) -> Any:
        guided = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs, GUIDED)
        cam = self.map_from(guided.values, seed)[..., None]
        return one([g * tf.image.resize(cam, tf.shape(g)[1:3]) for g in guided.gradients])
