"""The methods that are the gradient of the score with respect to the image, redirected or not."""

from __future__ import annotations

from typing import Any, ClassVar

from tfviz import targets
from tfviz.graph.walk import NO_RULES, Rules, backpropagate, inputs_of
from tfviz.methods.explainer import Explainer, one


class GradientExplainer(Explainer):
    """The gradient at the image, by the class's own rules."""

    rules: ClassVar[Rules] = NO_RULES

    def attribute(self, images: list[Any], seed: targets.Seed) -> Any:
        return one(backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs, self.rules).gradients)
