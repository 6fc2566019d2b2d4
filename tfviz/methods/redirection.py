"""The base class for guided backprop and deconvnet, which redirect gradients at activations."""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.errors import warn
from tfviz.graph.activations import with_activations
from tfviz.graph.backprop import Rules, Values, backpropagate, inputs_of
from tfviz.graph.graph import Graph
from tfviz.graph.operations import Activation, Elementwise, Opaque, Relu
from tfviz.methods.explainer import like_inputs
from tfviz.methods.gradient import GradientExplainer
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.rules.activations import redirects_all


class RedirectedGradient(GradientExplainer):
    """A method that redirects the score's gradient at each ReLU or at each activation."""

    rules_for_all: ClassVar[Rules]

    def __init__(
        self,
        model: keras.Model,
        *,
        activations: str = "relu",
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer.

        The explainer warns if the model has nothing to redirect, if an opaque layer may contain a
        ReLU, or if an input contains integers, which have no gradient.

        Args:
            model: a built keras.Model.
            activations: "relu" redirects ReLUs, as in the paper. "all" generalizes the method to
                networks without ReLU: it also redirects all other elementwise activations, such as
                silu, gelu and tanh, including handwritten ones.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced.
            OptionError: `activations`, `score` or `output` has an invalid value.
        """
        is_for_all = redirects_all(activations)
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.redirected = with_activations(self.graph) if is_for_all else self.graph
        self.redirections = self.rules_for_all if is_for_all else self.rules
        warn_without_relu(self.redirected, self.key)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        start = inputs_of(self.graph, images)
        backward = backpropagate(self.redirected, start, seed, self.graph.inputs, self.redirections)
        return like_inputs(self.graph, backward.gradients), backward.values


def warn_without_relu(graph: Graph, method: str) -> None:
    """Warn if the model has nothing to redirect, or if opaque layers may contain ReLUs."""
    operations = {step: step.operation for step in graph.before(graph.outputs)}
    if not any(isinstance(operation, (Relu, Activation)) for operation in operations.values()):
        activations = {operation.function for operation in operations.values() if _is_activation(operation)}
        remedy = ' Pass activations="all" to redirect these.' if activations else ""
        activations |= {operation.name.lower() for operation in operations.values() if isinstance(operation, Opaque)}
        warn(
            f"{method} redirects ReLUs, but '{graph.model_name}' has none, so the maps equal the plain gradient. The model's "
            f"activations: {', '.join(sorted(activations)) or 'none'}.{remedy}"
        )
    for step, operation in operations.items():
        if isinstance(operation, Opaque) and operation.contents.may_hide_relu:
            warn(
                f"{method} cannot redirect ReLUs inside the opaque layer {step.label}. These ReLUs keep their ordinary "
                "derivative. Rebuild the layer as a Functional model to redirect its ReLUs."
            )


def _is_activation(operation: object) -> bool:
    return isinstance(operation, Elementwise) and not operation.is_affine
