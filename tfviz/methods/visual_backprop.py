"""VisualBackProp: which parts of the image the feature maps agree on.

Answers: which parts of the image does the network use for its output?

    mask = average over channels of the deepest ReLU map; then, from map to shallower map: scaled up through the layers
    between, times the average of that map; at the end each mask is brought to [0, 1]
                          Bojarski et al., 2016/2018, "VisualBackProp: efficient visualization of CNNs"

Scaling up is a transposed convolution of one channel with weights of one (see `rules.visual_backprop`). There is no
backward pass: the cost is a small part of a forward pass, so it can run in every training step. It misleads as an
explanation of a class: it takes no target, and it shows what the network reads, not what it concludes.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf
from keras import ops

from tfviz import targets
from tfviz.errors import ImageError, UnsupportedModelError, warn
from tfviz.graph.backprop import Values, inputs_of, run
from tfviz.graph.channels import map_axes, require_channels_last
from tfviz.graph.graph import Graph, Step
from tfviz.graph.layer_search import covers_image, has_height_and_width
from tfviz.graph.operations import Opaque, Relu
from tfviz.methods.explainer import Explainer, like_inputs
from tfviz.models.labels import LabelSource
from tfviz.nesting import Nested
from tfviz.numerics import safe_divide, unit_range
from tfviz.rules.pixel_permutation import Tensor
from tfviz.rules.visual_backprop import masks_of_inputs

# Masks are float32: over four maps they stay in range for averages from 1e-8 to 1e7, whatever the kernels.
_MAPS_BETWEEN_SCALINGS = 4


class VisualBackProp(Explainer):
    """The VisualBackProp mask of each image: (N, H, W) in [0, 1]. It takes no target."""

    key: ClassVar[str] = "visual_backprop"
    question: ClassVar[str] = "Which parts of the picture does the network read, whatever it says?"
    takes_target: ClassVar[bool] = False

    def __init__(
        self,
        model: keras.Model,
        *,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.maps = feature_maps(self.graph)
        warn_of_hidden_maps(self.graph)

    def attribute(self, images: list[tf.Tensor], seed: targets.Seed) -> tuple[Nested[tf.Tensor], Values]:
        if any(None in x.shape[1:] for x in images):
            raise ImageError(
                f"VisualBackProp must know the image size when it is compiled; in this tf.function it is {images[0].shape}. "
                "Give the function an input_signature with height and width, or call the explainer outside it"
            )
        steps = self.graph.before([step.outputs[0] for step in self.maps])
        values = run(inputs_of(self.graph, images), steps)
        masks = masks_of_images(self.graph, values, self.maps)
        # An input that no feature map reads, such as a vector beside the image, takes no part.
        masks = [_nothing(x) if mask is None else mask for x, mask in zip(images, masks, strict=True)]
        return like_inputs(self.graph, masks), values


def _nothing(x: tf.Tensor) -> Tensor:
    """Zeros: (N, H, W) for an image, (N, units) for a vector."""
    return tf.zeros(tf.shape(x)[:-1] if len(x.shape) > 2 else tf.shape(x))


def feature_maps(graph: Graph) -> list[Step]:
    """The ReLUs that give maps, on the way to the outputs, in the order in which they run.

    Raises:
        UnsupportedModelError: when there is none.
    """
    maps = [step for step in graph.before(graph.outputs) if isinstance(step.operation, Relu) and _gives_maps(graph, step)]
    for step in maps:
        require_channels_last(graph, step.outputs[0], step.path)
    if not maps:
        raise UnsupportedModelError(
            f"VisualBackProp needs convolutions followed by ReLU; the model '{graph.model_name}' has no ReLU with height "
            "and width. 'saliency' works on any model"
        )
    return maps


def _gives_maps(graph: Graph, step: Step) -> bool:
    return has_height_and_width(step.outputs[0]) and covers_image(graph, step.outputs[0])


def warn_of_hidden_maps(graph: Graph) -> None:
    """Warns of opaque layers in which a ReLU could give a map."""
    for step in graph.before(graph.outputs):
        if isinstance(step.operation, Opaque) and _gives_maps(graph, step) and step.operation.contents.may_hide_relu:
            warn(
                f"{VisualBackProp.key} cannot see into layer {step.label}: a ReLU inside it is not among its maps. Build that "
                "part as a Functional model to include it."
            )


def masks_of_images(graph: Graph, values: Values, maps: list[Step]) -> list[Tensor | None]:
    """The masks (N, H, W) in [0, 1] of the graph's inputs, from the tensors (or symbolic tensors) at its values.

    None for an input that no map is made of.

    Raises:
        UnsupportedModelError: when no mask comes back to any input, or one cannot be scaled back.
    """
    steps = graph.before([step.outputs[0] for step in maps])
    number = {step: i for i, step in enumerate(maps)}
    # All the deepest maps start at once, so that a later scaling by a common factor meets each of them.
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
            _hand_on(graph, values, step, output, mask, masks)
    if not any(value in masks for value in graph.inputs):
        raise UnsupportedModelError(
            f"VisualBackProp finds no way back from the maps of '{graph.model_name}' to the image: what lies between (Dense "
            "layers behind a Flatten, say) keeps no positions. 'saliency' and 'guided_backprop' work on it"
        )
    return [unit_range(masks[value][..., 0]) if value in masks else None for value in graph.inputs]


def _hand_on(graph: Graph, values: Values, step: Step, output: int, mask: Tensor, masks: Values) -> None:
    """Adds to the masks at a step's inputs what comes back from one of its outputs."""
    sizes = [tuple(values[value].shape[1:])[: map_axes(graph, value)] for value in step.inputs]
    if any(None in size for size in (mask.shape[1:-1], *sizes)):
        raise UnsupportedModelError(
            f"VisualBackProp must know the size of each map, and that at {step.label} is "
            "free; build the model for images of a fixed size, keras.Input((224, 224, 3))"
        )
    for value, part in zip(step.inputs, masks_of_inputs(step, mask, sizes, output), strict=True):
        if part is not None:
            masks[value] = masks[value] + part if value in masks else part


def _average(step: Step, values: Values) -> Tensor:
    """The mean over channels of a map: (N, height, width, 1)."""
    return ops.mean(ops.cast(values[step.outputs[0]], "float32"), axis=-1, keepdims=True)


def _scaled(mask: Tensor, others: Values) -> Tensor:
    """The mask, and in step all others that are on their way, by one factor that makes the largest value 1.

    A common factor changes nothing in the result, and no value overflows on a deep network.
    """
    largest = _largest(mask)
    for other in others.values():
        largest = ops.maximum(largest, _largest(other))
    others.update({value: safe_divide(other, largest) for value, other in others.items()})
    return safe_divide(mask, largest)


def _largest(mask: Tensor) -> Tensor:
    return ops.max(mask, axis=tuple(range(1, len(mask.shape))), keepdims=True)
