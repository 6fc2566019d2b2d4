"""The base class of methods that return a gradient at the image, with or without redirection."""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf

from tfviz import targets
from tfviz.errors import warn
from tfviz.graph.backprop import NO_RULES, Rules, Values, backpropagate, inputs_of
from tfviz.graph.graph import Graph
from tfviz.methods.explainer import Explainer, like_inputs
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested


class GradientExplainer(Explainer):
    """The gradient of the score at the image, with the class's own rules."""

    rules: ClassVar[Rules] = NO_RULES

    def __init__(
        self,
        model: keras.Model,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer.

        Warn if an integer input has no gradient.

        Args:
            model: a built keras.Model.
            score: "logits" explains the outputs without their final softmax or sigmoid, and
                "outputs" with it.
            output: the output to explain, by name, dict key or number. None keeps all outputs, so
                that the target can be a function of them.
            class_names: the names of the classes, for targets such as "goldfish": a sequence in the
                order of the outputs, or a labels file. None means the names that `load_model`
                found, or ImageNet's for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced.
            OptionError: `score` or `output` has an invalid value.
        """
        super().__init__(model, score=score, output=output, class_names=class_names)
        warn_of_integers(self.graph, self.key)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        backward = backpropagate(self.graph, inputs_of(self.graph, images), seed, self.graph.inputs, self.rules)
        return like_inputs(self.graph, backward.gradients), backward.values


def warn_of_integers(graph: Graph, method: str) -> None:
    """Warn about integer inputs beside the image that the outputs depend on."""
    integers = [x for x in graph.inputs if x.dtype is not None and not tf.as_dtype(x.dtype).is_floating]
    undifferentiable = [graph.name_of(x) for x in integers if x.rank <= 2 and graph.after([x]).intersection(graph.outputs)]
    if undifferentiable and len(graph.inputs) > 1:
        warn(
            f"Integer inputs have no gradient, so {method} gives 0 for {', '.join(map(repr, undifferentiable))}, although the "
            "outputs depend on them. To explain them, rebuild the model to take one-hot or embedded float inputs instead."
        )
