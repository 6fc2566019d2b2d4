"""VisualBackProp: the image regions on which the feature maps agree.

Question: which parts of the image does the network use?

    start: the mask is the deepest ReLU map, averaged over channels
    for each shallower map: scale the mask up through the layers in between, then multiply it by
    that map's average over channels
    end: scale the mask to [0, 1] by its minimum and maximum
        Bojarski et al., 2016/2018, "VisualBackProp: efficient visualization of CNNs"

The paper covers networks with ReLUs. tfviz extends the method to networks without ReLUs
(EfficientNet, ConvNeXt): it uses the maps after their other activations (silu, gelu, elu …) and
averages their positive part over the channels. The outputs of gates, as in squeeze-and-excitation,
do not count as feature maps.

The mask is scaled up by a transposed convolution with one channel and all weights equal to one (see
`rules.visual_backprop`). There is no backward pass. The mask costs a small fraction of a forward
pass, so it can be computed in every training step. The method is class-agnostic: the mask shows
which pixels the network reads, regardless of its prediction.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf
from keras import ops

from tfviz import targets
from tfviz.errors import ImageError, OptionError, UnsupportedModelError, warn
from tfviz.graph.activations import with_activations
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.graph.channels import map_axes, require_channels_last
from tfviz.graph.graph import Graph, Step
from tfviz.graph.layer_search import attention_blocks, covers_image, has_height_and_width
from tfviz.graph.logits import final_activation
from tfviz.graph.operations import Activation, Attention, Opaque, Relu
from tfviz.methods.explainer import Explainer, like_inputs
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.numerics import safe_divide, unit_range
from tfviz.rules.pixel_permutation import Tensor
from tfviz.rules.visual_backprop import masks_of_inputs

# Masks are float32. Over four maps, they stay in range if the maps' averages are from 1e-8 to 1e7.
_MAPS_BETWEEN_SCALINGS = 4


class VisualBackProp(Explainer):
    """The VisualBackProp mask of an image: which parts of the image does the network use?

    The method is from Bojarski et al., 2016/2018, "VisualBackProp: efficient visualization of
    CNNs". tfviz extends it to networks without ReLUs by using the positive part of the maps after
    other activations.

    Calling the explainer returns an attribution of shape (N, H, W) with values in [0, 1]. The
    explainer takes no target.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.VisualBackProp(model)(images).shape
        TensorShape([2, 96, 96])
    """

    key: ClassVar[str] = "visual_backprop"
    question: ClassVar[str] = "Which parts of the image does the network use, regardless of class?"
    takes_target: ClassVar[bool] = False

    def __init__(
        self,
        model: keras.Model,
        *,
        activations: str | None = None,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer and find the model's feature maps.

        The explainer warns about opaque layers that may contain further feature maps, and about
        attention after the last feature map.

        Args:
            model: a built keras.Model with activations after its convolutions.
            activations: "all" selects the maps after all activations. None selects only the maps
                after ReLUs, as in the paper, or all maps if there are no ReLUs. The two differ only
                for networks with both ReLUs and other activations, such as MobileNetV3.
            score: as in other methods. The mask does not depend on this option.
            output: the name, dict key or index of the output whose feature maps to use. None
                selects the feature maps of all outputs.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or no activation has height and
                width.
            OptionError: `activations`, `score` or `output` has an invalid value.
        """
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.steps, self.maps = feature_maps(self.graph, activations)
        warn_of_hidden_maps(self.graph)
        warn_of_attention(self.graph, self.maps)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        if any(None in x.shape[1:] for x in images):
            raise ImageError(
                f"VisualBackProp needs the image size at compile time. Received: images of shape {images[0].shape} inside a "
                "tf.function. Give that function an input_signature with height and width, or call the explainer outside it."
            )
        steps = self.steps.before([step.outputs[0] for step in self.maps])
        values = run(inputs_of(self.graph, images), steps)
        masks = masks_of_images(self.steps, values, self.maps)
        # Inputs that no feature map depends on, such as vectors, get zeros.
        masks = [_zeros(x) if mask is None else mask for x, mask in zip(images, masks, strict=True)]
        return like_inputs(self.graph, masks), values


def _zeros(x: tf.Tensor) -> Tensor:
    """Return a zero mask of shape (N, H, W) for an image, or (N, units) for a vector."""
    return tf.zeros(tf.shape(x)[:-1] if len(x.shape) > 2 else tf.shape(x))


def feature_maps(graph: Graph, activations: str | None = None) -> tuple[Graph, list[Step]]:
    """Find the activations with height and width that lead to the outputs, in execution order.

    Args:
        graph: the graph.
        activations: "all" selects all activations. None selects the ReLUs, or all activations if
            there are no ReLUs.

    Returns:
        A graph in which each of these activations is one step, and a list of these steps.

    Raises:
        UnsupportedModelError: there are no such activations.
        OptionError: `activations` is neither None nor "all".
    """
    if activations not in (None, "all"):
        raise OptionError(f"`activations` must be None or 'all'. Received: {activations!r}.")
    maps = _relus(graph)
    if activations or not maps:
        final = {step.outputs for step in (final_activation(graph, output) for output in graph.outputs) if step is not None}
        graph = with_activations(graph)
        maps = [step for step in _all_activations(graph) if step.outputs not in final]
    for step in maps:
        require_channels_last(graph, step.outputs[0], step.path)
    if not maps and attention_blocks(graph, graph.inputs[0]):
        raise UnsupportedModelError(
            f"VisualBackProp is not defined for attention, and '{graph.model_name}' has no ReLU that outputs a feature map. "
            "Use attention_rollout, which doesn't need a target either, or gradient_attention."
        )
    if not maps:
        raise UnsupportedModelError(
            f"VisualBackProp needs convolutions followed by activations, but the model '{graph.model_name}' has no ReLU or "
            "other activation that outputs a feature map. Use 'saliency', which works on any model."
        )
    return graph, maps


def _relus(graph: Graph) -> list[Step]:
    return [step for step in graph.before(graph.outputs) if isinstance(step.operation, Relu) and _gives_maps(graph, step)]


def _all_activations(graph: Graph) -> list[Step]:
    """Return the ReLUs and the other activations on the signal path. Gates are excluded."""
    carriers = [step for step in graph.signal_path(graph.inputs) if isinstance(step.operation, Activation)]
    known = {*_relus(graph), *(step for step in carriers if _gives_maps(graph, step) and _is_seen(graph, step))}
    return [step for step in graph.steps if step in known]


def _is_seen(graph: Graph, step: Step) -> bool:
    """Return whether a path without attention leads from a step to the outputs."""
    reached = set(step.outputs)
    for other in graph.steps:
        if reached.intersection(other.inputs) and not isinstance(other.operation, Attention):
            reached.update(other.outputs)
    return bool(reached.intersection(graph.outputs))


def _gives_maps(graph: Graph, step: Step) -> bool:
    return has_height_and_width(step.outputs[0]) and covers_image(graph, step.outputs[0])


def warn_of_hidden_maps(graph: Graph) -> None:
    """Warn about opaque layers in which a ReLU could produce a feature map."""
    for step in graph.before(graph.outputs):
        if isinstance(step.operation, Opaque) and _gives_maps(graph, step) and step.operation.contents.may_hide_relu:
            warn(
                f"{VisualBackProp.key} cannot use ReLUs inside the opaque layer {step.label}, so the mask does not cover them. "
                "Rebuild the layer as a Functional model to include these ReLUs."
            )


def warn_of_attention(graph: Graph, maps: list[Step]) -> None:
    """Warn about attention after the last feature map, because the mask ignores it."""
    if attention_blocks(graph, maps[-1].outputs[0]):
        warn(
            f"{VisualBackProp.key} covers only the convolutions up to '{maps[-1].path}'. VisualBackProp has no rule for the "
            "attention after these convolutions, so the mask does not show which positions the model attends to. Use "
            "attention_rollout or gradient_attention."
        )


def masks_of_images(graph: Graph, values: Values, maps: list[Step]) -> list[Tensor | None]:
    """Compute the mask for each input from graph values, which may be symbolic.

    Args:
        graph: the graph.
        values: the tensors for the feature maps and all values before them.
        maps: the steps that compute the feature maps.

    Returns:
        One mask of shape (N, H, W) per input, with values in [0, 1], or None for an input that no
        map depends on.

    Raises:
        UnsupportedModelError: no mask reaches an input, or a mask cannot be scaled back.
    """
    steps = graph.before([step.outputs[0] for step in maps])
    number = {step: i for i, step in enumerate(maps)}
    # The masks at all deepest maps are created before the loop, so each later scaling applies to
    # all of them.
    deepest = [step for step in maps if not any(reader in steps for reader in graph.consumers(step.outputs[0]))]
    masks = {step.outputs[0]: _average(step, values) for step in deepest}
    for step in reversed(steps):
        for output, value in enumerate(step.outputs):
            mask = masks.pop(value, None)
            if mask is None:
                continue
            if step in number:
                mask = mask if step in deepest else mask * _average(step, values)
                if number[step] % _MAPS_BETWEEN_SCALINGS == 0:
                    mask = _scaled(mask, masks)
            _scale_back(graph, values, step, output, mask, masks)
    if not any(value in masks for value in graph.inputs):
        raise UnsupportedModelError(
            f"VisualBackProp cannot scale the feature maps of '{graph.model_name}' to the image size, because the layers "
            "before these feature maps do not preserve positions (for example, Dense layers after a Flatten). Use 'saliency' "
            "or 'guided_backprop'."
        )
    return [unit_range(masks[value][..., 0]) if value in masks else None for value in graph.inputs]


def _scale_back(graph: Graph, values: Values, step: Step, output: int, mask: Tensor, masks: Values) -> None:
    """Scale a mask back from a step's output, and add it to the masks at the step's inputs."""
    sizes = [tuple(values[value].shape[1:])[: map_axes(graph, value)] for value in step.inputs]
    if any(None in size for size in (mask.shape[1:-1], *sizes)):
        raise UnsupportedModelError(
            f"VisualBackProp needs feature maps of fixed sizes, but the feature map size at {step.label} is not fixed. Build "
            "the model with a fixed image size, such as keras.Input((224, 224, 3))."
        )
    for value, part in zip(step.inputs, masks_of_inputs(step, mask, sizes, output), strict=True):
        if part is not None:
            masks[value] = masks[value] + part if value in masks else part


def _average(step: Step, values: Values) -> Tensor:
    """Average the positive part of a map over its channels, giving shape (N, height, width, 1)."""
    x = ops.cast(values[step.outputs[0]], "float32")
    return ops.mean(x if isinstance(step.operation, Relu) else ops.relu(x), axis=-1, keepdims=True)


def _scaled(mask: Tensor, others: Values) -> Tensor:
    """Scale all pending masks by a common factor per image, so that the largest value is 1.

    The common factor does not change the final mask, which is scaled to [0, 1]. The scaling
    prevents overflow in deep networks.
    """
    largest = _largest(mask)
    for other in others.values():
        largest = ops.maximum(largest, _largest(other))
    others.update({value: safe_divide(other, largest) for value, other in others.items()})
    return safe_divide(mask, largest)


def _largest(mask: Tensor) -> Tensor:
    return ops.max(mask, axis=tuple(range(1, len(mask.shape))), keepdims=True)
