"""Deconvnet: the network run backward, with a ReLU on each gradient.

Question: which pattern would the network reconstruct from its activations?

    at each ReLU, the gradient p becomes p · [p > 0]
        Zeiler & Fergus, 2014, "Visualizing and Understanding Convolutional Networks", section 2.1

With `activations="all"`, the same rule applies at every other elementwise activation, which
generalizes the method to networks without ReLU. Max pooling sends p to the position of the maximum,
which corresponds to the paper's switches. The cost is one forward and one backward pass. Deconvnet
has the weaknesses of guided backprop, and it also passes gradients through inactive ReLUs
(Mahendran & Vedaldi, 2016).
"""

from __future__ import annotations

from typing import ClassVar

from tfviz.graph.backprop import Rules
from tfviz.methods.redirection import RedirectedGradient
from tfviz.rules.activations import ALL_DECONVNET
from tfviz.rules.relu import DECONVNET


class Deconvnet(RedirectedGradient):
    """Deconvnet: which pattern would the network reconstruct from its activations?

    At each ReLU, negative gradients are set to 0 (Zeiler & Fergus, 2014, "Visualizing and
    Understanding Convolutional Networks"). With `activations="all"`, this also applies to every
    other activation. This generalization for networks without ReLU is not part of the paper.

    Calling the explainer returns a signed attribution of shape (N, H, W, C).

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.Deconvnet(model)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "deconvnet"
    question: ClassVar[str] = "Which pattern would the network reconstruct from its activations?"
    style: ClassVar[str] = "grey"
    rules: ClassVar[Rules] = DECONVNET
    rules_for_all: ClassVar[Rules] = ALL_DECONVNET
