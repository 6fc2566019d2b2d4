"""Finding a value in a graph: by name, by path, by the layer itself, or the feature map that a CAM should look at."""

from __future__ import annotations

import math

import keras

from tfviz.errors import UnknownLayerError, UnsupportedModelError, near_matches
from tfviz.graph.channels import moved_channels, require_channels_last
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Attention,
    Concatenate,
    Contraction,
    Elementwise,
    Identity,
    Linear,
    Move,
    Normalization,
    Opaque,
    Relu,
    Window,
)

LayerName = str | keras.Layer | None


def find(graph: Graph, layer: str | keras.Layer) -> Value:
    """The value that a layer gives, for a name, a path into nested models, or the layer object.

    A layer that is called several times has a step for each call: "name:0", "name:1" …, in the order of the calls.

    Raises:
        UnknownLayerError: no such layer (near matches are listed), or several of that name (their paths are listed).
    """
    if not isinstance(layer, str):
        return _find_object(graph, layer)
    if layer in graph.names:
        return graph.names[layer]
    _require_one_output(graph, layer)
    paths = [path for path in graph.names if _is_called(path, layer)]
    if len(paths) == 1:
        return graph.names[paths[0]]
    if paths:
        raise UnknownLayerError(f"Layer {layer!r} is called several times in this model. Choose one of {_quoted(paths)}.")
    known = dict.fromkeys([*graph.names, *(path.rsplit("/", 1)[-1] for path in graph.names)])
    raise UnknownLayerError(
        f"The model '{graph.model_name}' has no layer {layer!r}. {near_matches(layer, known)} `tfviz layers` lists them all."
    )


def _require_one_output(graph: Graph, path: str) -> None:
    """Raises for a layer with several outputs, such as a backbone with maps of several sizes."""
    if outputs := [name for name in graph.names if name.startswith(f"{path}[")]:
        raise UnknownLayerError(f"Layer {path!r} has several outputs. Choose one of {_quoted(outputs)}.")


def _is_called(path: str, name: str) -> bool:
    """Whether `name` means this path: as its last part, with or without the number of the call."""
    return any(known == name or known.endswith("/" + name) for known in (path, _without_numbers(path), path.rsplit(":", 1)[0]))


def _without_numbers(path: str) -> str:
    return "/".join(part.split(":", 1)[0] for part in path.split("/"))


def _find_object(graph: Graph, layer: keras.Layer) -> Value:
    paths = [path for path, known in graph.layers.items() if known is layer]
    if len(paths) == 1:
        _require_one_output(graph, paths[0])
        return graph.names[paths[0]]
    if paths:
        raise UnknownLayerError(f"Layer '{layer.name}' is called several times in this model. Choose one of {_quoted(paths)}.")
    raise UnknownLayerError(
        f"Expected a layer of the model '{graph.model_name}', its name, or a path such as 'backbone/conv1'. Received: "
        f"{getattr(layer, 'name', layer)!r} ({type(layer).__name__}), which is not a layer of it."
    )


def _quoted(paths: list[str]) -> str:
    return ", ".join(map(repr, paths[:8])) + (" …" if len(paths) > 8 else "")


def last_feature_map(graph: Graph) -> Step:
    """The automatic layer of the CAMs: the last step with height and width that every path to the output goes through.

    It is read off the graph: pooling and padding are passed over, so that it is the activation before them. A map of one
    pixel, the output itself, and a map with fewer axes than the image (the tokens of a transformer, one number for each
    frame of a video) do not count, nor does the stem that the tokens of a transformer are made of.

    Raises:
        UnsupportedModelError: when there is none.
    """
    ends = _outputs_in_other_forms(graph) | moved_channels(graph)
    maps = _maps(graph)
    for step in reversed(graph.before(graph.outputs)):
        if _holds_features(step) and ends.isdisjoint(step.outputs) and step.outputs[0] in maps:
            value = step.outputs[0]
            if has_height_and_width(value) and covers_image(graph, value) and is_on_every_path(graph, value):
                if _feeds_a_transformer(graph, value):
                    break
                return step
    raise UnsupportedModelError(
        f"The model '{graph.model_name}' has no feature map with height and width, such as a convolution's, that every path to "
        "the output goes through (the tokens of a transformer have none). Name a layer, or use a method that needs none: "
        "saliency, guided_backprop."
    )


def _maps(graph: Graph) -> set[Value]:
    """The values whose axes are still those of the image: not the tokens of a transformer, split into heads or not.

    A window gives a map; so does what keeps the axes of one. A reshape to tokens ends it.
    """
    found = {value for value in graph.inputs if has_height_and_width(value)}
    for step in graph.steps:
        operation, signals = step.operation, step.signal_inputs
        is_window = isinstance(operation, (Linear, Window)) and operation.extent is not None
        is_product = isinstance(operation, (Contraction, Attention))
        if is_window or (not is_product and any(x in found and _keeps_axes(step, x) for x in signals)):
            found.update(step.outputs)
    return found


def _keeps_axes(step: Step, value: Value) -> bool:
    """Whether a step leaves the axes of a map what they are: not where it makes one axis of height and width."""
    made = step.outputs[0]
    if isinstance(step.operation, Opaque):
        return made.rank >= min(4, value.rank)  # a ConvLSTM gives one map of a video
    if made.rank != value.rank:
        return False
    sizes = [size for size in value.shape[1:-1] if size is not None]
    is_free_move = type(step.operation) is Move and len(sizes) == value.rank - 2 and min(sizes, default=1) > 1
    return not (is_free_move and math.prod(sizes) in made.shape[1:])


def _holds_features(step: Step) -> bool:
    """Whether a CAM may look here. Pooling, padding and reshaping only move what an earlier step found."""
    if isinstance(step.operation, Concatenate):
        return True
    return not isinstance(step.operation, (Window, Identity, Move))


def _outputs_in_other_forms(graph: Graph) -> set[Value]:
    """The outputs, and what is an output but for its form: the logits of a sigmoid, class maps before they are resized."""
    forms = (Identity, Move, Normalization, Elementwise, Relu)
    found = set(graph.outputs)
    for step in reversed(graph.steps):
        is_form = isinstance(step.operation, forms) and getattr(step.operation, "sign", 1) != 0
        if is_form and len(step.inputs) == 1 and found.intersection(step.outputs):
            found.update(step.inputs)
    return found


def _feeds_a_transformer(graph: Graph, value: Value) -> bool:
    """Whether a map is only the stem of a transformer: as many blocks of attention follow as convolutions precede."""
    convolutions = sum(isinstance(step.operation, Linear) for step in graph.before([value]))
    blocks = attention_blocks(graph, value)
    return blocks > 0 and blocks >= convolutions


def attention_blocks(graph: Graph, value: Value) -> float:
    """How many blocks of attention follow a value. One that is written out has two products: of scores and of values."""
    return sum(map(_attention, graph.before(graph.outputs, given=[value])))


def _attention(step: Step) -> float:
    if all(value.rank <= 2 for value in step.inputs):
        return 0
    is_product = isinstance(step.operation, Contraction) and len(step.inputs) > 1
    return 0.5 if is_product else getattr(step.operation, "holds_attention", False)


def has_height_and_width(value: Value) -> bool:
    """Whether a value is a stack of maps of more than one pixel: (N, …, channels)."""
    sizes = value.shape[1:-1]
    return len(sizes) > 0 and any(size != 1 for size in sizes)


def covers_image(graph: Graph, value: Value) -> bool:
    """Whether a map has height and width as the images that it is made of: one axis is enough for a series only."""
    return value.rank >= min(4, graph.ranks[value])


def require_height_and_width(graph: Graph, value: Value, path: str) -> None:
    """Raises UnknownLayerError when a layer gives no maps, or has their channels in another axis than the last."""
    require_channels_last(graph, value, path)
    if not has_height_and_width(value):
        raise UnknownLayerError(
            f"Layer '{path}' gives {value.shape}, which has no height and width to draw a map of. Choose a convolution, its "
            "activation or a pooling layer, or None for the automatic choice."
        )


def is_on_every_path(graph: Graph, value: Value) -> bool:
    """Whether everything that reaches the outputs from the images goes through a value."""
    needed = {read for step in graph.before(graph.outputs, given=[value]) for read in step.inputs}
    # A vector beside the image goes its own way.
    images = {image for image in graph.inputs if has_height_and_width(image)} or set(graph.inputs)
    return not needed & images
