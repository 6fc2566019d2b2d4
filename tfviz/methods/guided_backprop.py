"""Guided backprop: the gradient along excitatory paths that raise the class score.

Question: which fine structures drive the network?

    at each ReLU with the input x, the gradient p becomes p · [p > 0] · [x > 0]
        Springenberg et al., 2015, "Striving for Simplicity: The All Convolutional Net",
        section 3.4

The rule applies to every ReLU, including handwritten ones; all other operations keep their
derivatives. For networks without ReLU, `activations="all"` generalizes the rule to every other
elementwise activation f: p becomes p · [p > 0] · max(f′(x), 0). The cost is one forward and one
backward pass. The map is weak evidence for a class, because it barely changes with the target or
with the upper layers' weights (Adebayo et al., 2018, "Sanity Checks for Saliency Maps"). The map
shows which structures the network responds to rather than the reasons for its prediction.
"""

from __future__ import annotations

from typing import ClassVar

from tfviz.graph.backprop import Rules
from tfviz.methods.redirection import RedirectedGradient
from tfviz.rules.activations import ALL_GUIDED
from tfviz.rules.relu import GUIDED


class GuidedBackprop(RedirectedGradient):
    """The score's guided gradient: which fine structures drive the network?

    At each ReLU with the input x, the gradient p becomes p · [p > 0] · [x > 0] (Springenberg et
    al., 2015, "Striving for Simplicity: The All Convolutional Net"). With `activations="all"`, p
    also becomes p · [p > 0] · max(f′(x), 0) at every other activation f. This generalization for
    networks without ReLU is not part of the paper.

    Calling the explainer returns a signed attribution of shape (N, H, W, C).

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.GuidedBackprop(model)(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "guided_backprop"
    question: ClassVar[str] = "Which fine structures drive the network?"
    style: ClassVar[str] = "grey"
    rules: ClassVar[Rules] = GUIDED
    rules_for_all: ClassVar[Rules] = ALL_GUIDED
