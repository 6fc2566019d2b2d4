"""The methods that are the gradient of the score with respect to the image, redirected or not."""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.errors import warn
from tfviz.graph.backprop import NO_RULES, Rules, Values, backpropagate, inputs_of
from tfviz.graph.graph import Graph
from tfviz.graph.operations import Elementwise, Opaque, Relu
from tfviz.methods.explainer import Explainer, like_inputs
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested


class GradientExplainer(Explainer):
    """The gradient at the image, by the class's own rules."""

    rules: ClassVar[Rules] = NO_RULES

    def __init__(
        self,
        model: keras.Model,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        super().__init__(model, score=score, output=output, class_names=class_names)
        if Relu in self.rules:
            warn_without_relu(self.graph, self.key)
        warn_of_integers(self.graph, self.key)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs, self.rules)
        return like_inputs(self.graph, backward.gradients), backward.values


def warn_of_integers(graph: Graph, method: str) -> None:
    """Warns of integer inputs beside the image on which the outputs depend: they have no gradient."""
    integers = [x for x in graph.inputs if x.dtype is not None and not tf.as_dtype(x.dtype).is_floating]
    silent = [graph.name_of(x) for x in integers if x.rank <= 2 and graph.after([x]).intersection(graph.outputs)]
    if silent and len(graph.inputs) > 1:
        warn(
            f"{', '.join(map(repr, silent))}: integers have no gradient, so {method} gives 0 there, whatever the outputs owe "
            "to them. To explain such an input, give the model its one-hot or embedded form as a float input."
        )


def warn_without_relu(graph: Graph, method: str) -> None:
    """Warns where a method that redirects ReLUs is the plain gradient, in the whole model or inside one of its layers."""
    operations = {step: step.operation for step in graph.before(graph.outputs)}
    if not any(isinstance(operation, Relu) for operation in operations.values()):
        met = {operation.function for operation in operations.values() if _is_activation(operation)}
        met |= {operation.name.lower() for operation in operations.values() if isinstance(operation, Opaque)}
        warn(
            f"{method} redirects ReLUs, and '{graph.model_name}' has none (its activations: "
            f"{', '.join(sorted(met)) or 'none'}), so its maps are the plain gradient."
        )
    for step, operation in operations.items():
        if isinstance(operation, Opaque) and operation.contents.may_hide_relu:
            warn(
                f"{method} cannot see into layer {step.label}: a ReLU inside it keeps its own derivative. Build that part as a "
                "Functional model to redirect its ReLUs."
            )


def _is_activation(operation: object) -> bool:
    return isinstance(operation, Elementwise) and not operation.is_affine
