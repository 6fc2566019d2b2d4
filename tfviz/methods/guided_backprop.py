"""Guided backprop: what excites the neurons that speak for the class.

Answers: which fine structures in the image drive the network?

    at each ReLU, p → p · [p > 0] · [x > 0]
                          Springenberg et al., 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4

Each ReLU is redirected, whichever way the model writes it; the rest is the gradient. One forward and one backward pass.
It misleads as evidence for a class: the map hardly changes with the target or with the weights of the upper layers
(Adebayo et al., 2018, "Sanity Checks for Saliency Maps"). Read it as what the network sees, not as why it decides.
"""

from __future__ import annotations

from typing import ClassVar

from tfviz.graph.backprop import Rules
from tfviz.methods.gradient import GradientExplainer
from tfviz.rules.relu import GUIDED


class GuidedBackprop(GradientExplainer):
    """The guided gradient, signed, (N, H, W, C)."""

    key: ClassVar[str] = "guided_backprop"
    question: ClassVar[str] = "Which fine structures drive the network?"
    style: ClassVar[str] = "grey"
    rules: ClassVar[Rules] = GUIDED
