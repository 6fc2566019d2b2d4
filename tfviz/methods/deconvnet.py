"""Deconvnet: the network run backwards, with a ReLU on the way back.

Answers: which pattern in the image would the network draw from what it found?

    at each ReLU, p → p · [p > 0]
                          Zeiler & Fergus, 2014, "Visualizing and Understanding Convolutional Networks", section 2.1

Max pooling sends p to the position of the maximum, which is the paper's switches. One forward and one backward pass. It
misleads in the same way as guided backprop, and more: where a ReLU was off, it goes on (Mahendran & Vedaldi, 2016).
"""

from __future__ import annotations

from typing import ClassVar

from tfviz.graph.backprop import Rules
from tfviz.methods.gradient import GradientExplainer
from tfviz.rules.relu import DECONVNET


class Deconvnet(GradientExplainer):
    """What the deconvolutional network gives at the image, signed, (N, H, W, C)."""

    key: ClassVar[str] = "deconvnet"
    question: ClassVar[str] = "Which pattern would the network draw from what it found?"
    style: ClassVar[str] = "grey"
    rules: ClassVar[Rules] = DECONVNET
