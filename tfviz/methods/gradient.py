"""The methods that are the gradient of the score with respect to the image, redirected or not."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from tfviz import targets
from tfviz.graph.inner_operations import may_hide_relu
from tfviz.graph.layers import model_name
from tfviz.graph.places import Graph, Value
from tfviz.graph.walk import NO_RULES, Rules, backpropagate, inputs_of
from tfviz.methods.explainer import Explainer, like_inputs


class GradientExplainer(Explainer):
    """The gradient at the image, by the class's own rules."""

    rules: ClassVar[Rules] = NO_RULES

    def __init__(self, model: Any, *, score: str = "logits", output: str | int | None = None) -> None:
        super().__init__(model, score=score, output=output)
        if "relu" in self.rules:
            warn_without_relu(self.graph, self.key)

    def attribute(self, images: list[Any], seed: targets.Seed) -> tuple[Any, dict[Value, Any]]:
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs, self.rules)
        return like_inputs(self.graph, backward.gradients), backward.values


def warn_without_relu(graph: Graph, method: str) -> None:
    """Warns where a method that redirects ReLUs is the plain gradient, in the whole model or inside one of its layers."""
    places = graph.before(graph.outputs)
    if not any(place.kind == "relu" for place in places):
        met = sorted({place.activation for place in places if place.kind in ("activation", "other")})
        warnings.warn(
            f"{method} redirects ReLUs, and '{model_name(graph)}' has none (its activations: {', '.join(met) or 'none'}), so "
            "that what it gives is the plain gradient",
            stacklevel=3,
        )
    for place in places:
        if place.kind == "other" and may_hide_relu(graph, place):
            warnings.warn(
                f"{method} does not see into layer '{place.path}' ({type(place.operation).__name__}): a ReLU inside it keeps "
                "its own derivative. Build that part as a Functional model to have it redirected",
                stacklevel=3,
            )
