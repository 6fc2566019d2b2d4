"""The base class for methods that return a plain or redirected gradient."""

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
    """A method that computes the score's gradient with respect to the image, using `rules`."""

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

        The explainer warns about integer and string inputs, because these have no gradient.

        Args:
            model: a built keras.Model.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

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
    """Warn about integer and string inputs other than the image that the outputs depend on.

    These inputs have no gradient, so their attribution is 0.
    """
    discrete = [x for x in graph.inputs if x.dtype is not None and not tf.as_dtype(x.dtype).is_floating]
    undifferentiable = [graph.name_of(x) for x in discrete if x.rank <= 2 and graph.after([x]).intersection(graph.outputs)]
    if undifferentiable and len(graph.inputs) > 1:
        warn(
            f"Integer and string inputs have no gradient, so {method} returns 0 for "
            f"{', '.join(map(repr, undifferentiable))}, although the outputs depend on these inputs. To explain them, rebuild "
            "the model with one-hot or embedded float inputs instead."
        )
