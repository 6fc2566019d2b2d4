"""Find a value in a graph by name, path or layer object, or automatically for CAMs."""

from __future__ import annotations

import math

import keras

from tfviz.errors import UnknownLayerError, UnsupportedModelError, near_matches
from tfviz.graph.attention import blocks_of, entry_of
from tfviz.graph.channels import moved_channels, require_channels_last
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Concatenate,
    Contraction,
    Elementwise,
    Identity,
    Linear,
    Move,
    Normalization,
    Opaque,
    OpaqueAttention,
    Relu,
    Reshape,
    Window,
)
from tfviz.graph.token_grid import known_sizes, token_grids

LayerName = str | keras.Layer | None


def find(graph: Graph, layer: str | keras.Layer) -> Value:
    """Return a layer's output value.

    If a layer is called several times, each call is a separate step. These steps are named
    "name:0", "name:1" …, in call order.

    Args:
        graph: the graph.
        layer: a name, a path into nested models, or the layer itself.

    Returns:
        The value.

    Raises:
        UnknownLayerError: there is no such layer, or there are several with that name. The message
            lists similar names or the layers' paths.
    """
    if not isinstance(layer, str):
        return _find_object(graph, layer)
    if layer in graph.names:
        return graph.names[layer]
    _require_one_output(graph, layer)
    paths = [path for path in graph.names if _refers_to(path, layer)]
    if len(paths) == 1:
        return graph.names[paths[0]]
    if paths:
        raise UnknownLayerError(f"Layer {layer!r} is called several times in this model. Choose one of {_quoted(paths)}.")
    known = dict.fromkeys([*graph.names, *(path.rsplit("/", 1)[-1] for path in graph.names)])
    raise UnknownLayerError(
        f"The model '{graph.model_name}' has no layer {layer!r}. {near_matches(layer, known)} `tfviz layers` lists all layers."
    )


def _require_one_output(graph: Graph, path: str) -> None:
    """Raise UnknownLayerError if a layer has several outputs, as a multi-scale backbone does."""
    if outputs := [name for name in graph.names if name.startswith(f"{path}[")]:
        raise UnknownLayerError(f"Layer {path!r} has several outputs. Choose one of {_quoted(outputs)}.")


def _refers_to(path: str, name: str) -> bool:
    """Return whether a path ends in `name`, with or without call numbers."""
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
        f"{getattr(layer, 'name', layer)!r} ({type(layer).__name__}), which is not a layer of this model."
    )


def _quoted(paths: list[str]) -> str:
    return ", ".join(map(repr, paths[:8])) + (" …" if len(paths) > 8 else "")


def automatic_layer(graph: Graph) -> Step:
    """Return the default layer for CAMs: the last feature map that every path goes through.

    The search skips pooling and padding, single-pixel maps, the output itself, and values with
    fewer axes than the image, such as one number per video frame. If attention between tokens
    follows the last map, the default is the output of the last attention block's first
    normalization.

    Args:
        graph: the graph.

    Returns:
        The step that computes the map or the tokens.

    Raises:
        UnsupportedModelError: the model has neither such a map nor such tokens.
    """
    map_step, tokens = _last_feature_map(graph), last_tokens(graph)
    token_step = None if tokens is None else graph.producer(tokens)
    if token_step is not None and not (map_step and graph.after(token_step.outputs).intersection(map_step.outputs)):
        return token_step
    if map_step is not None:
        return map_step
    raise UnsupportedModelError(
        f"tfviz cannot choose a layer for '{graph.model_name}'. No feature map with height and width lies on all paths to the "
        "output, and tfviz can read no attention between image patches. Choose a layer, or use a method that needs no layer, "
        "such as saliency or guided_backprop."
    )


def last_tokens(graph: Graph) -> Value | None:
    """Return the tokens that a vision transformer's last attention block reads, or None."""
    blocks, sizes = blocks_of(graph), known_sizes(graph)
    if not blocks or any(image.rank != 4 for image in graph.inputs):
        return None
    tokens = entry_of(graph, blocks[-1])
    if tokens.rank != 3:
        return None
    return tokens if sizes is None or token_grids(graph, [tokens], sizes) else None


def may_be_tokens(graph: Graph, value: Value) -> bool:
    """Return whether a value could contain a vision transformer's tokens."""
    has_images = any(image.rank == 4 for image in graph.inputs)
    return value.rank == 3 and has_images and bool(blocks_of(graph))


def _last_feature_map(graph: Graph) -> Step | None:
    ends = _forms_of_outputs(graph) | moved_channels(graph)
    maps = _maps(graph)
    for step in reversed(graph.before(graph.outputs)):
        if _holds_features(step) and ends.isdisjoint(step.outputs) and step.outputs[0] in maps:
            value = step.outputs[0]
            if has_height_and_width(value) and covers_image(graph, value) and is_on_every_path(graph, value):
                return None if _feeds_a_transformer(graph, value) else step
    return None


def _maps(graph: Graph) -> set[Value]:
    """Return the values that keep the axes of the image, unlike a transformer's tokens.

    A windowed operation returns a map. Operations that keep a map's axes return a map too, but a
    reshape to tokens does not.
    """
    found = {value for value in graph.inputs if has_height_and_width(value)}
    for step in graph.steps:
        operation, signals = step.operation, step.signal_inputs
        is_window = isinstance(operation, (Linear, Window)) and operation.extent is not None
        is_product = isinstance(operation, (Contraction, OpaqueAttention))
        if is_window or (not is_product and any(x in found and _keeps_axes(step, x) for x in signals)):
            found.update(step.outputs)
    return found


def _keeps_axes(step: Step, value: Value) -> bool:
    """Return whether a step keeps a map's axes instead of merging height and width."""
    made = step.outputs[0]
    if isinstance(step.operation, Opaque):
        return made.rank >= min(4, value.rank)  # a ConvLSTM may return one map per video
    if made.rank != value.rank:
        return False
    sizes = [size for size in value.shape[1:-1] if size is not None]
    is_free_move = type(step.operation) in (Move, Reshape) and len(sizes) == value.rank - 2 and min(sizes, default=1) > 1
    return not (is_free_move and math.prod(sizes) in made.shape[1:])


def _holds_features(step: Step) -> bool:
    """Return whether CAMs may use a step's output. Pooling, padding and reshaping are excluded."""
    if isinstance(step.operation, Concatenate):
        return True
    return not isinstance(step.operation, (Window, Identity, Move))


def _forms_of_outputs(graph: Graph) -> set[Value]:
    """Return the outputs, and the values before any final steps such as a sigmoid or a resize."""
    forms = (Identity, Move, Normalization, Elementwise, Relu)
    found = set(graph.outputs)
    for step in reversed(graph.steps):
        is_form = isinstance(step.operation, forms) and getattr(step.operation, "sign", 1) != 0
        if is_form and len(step.inputs) == 1 and found.intersection(step.outputs):
            found.update(step.inputs)
    return found


def _feeds_a_transformer(graph: Graph, value: Value) -> bool:
    """Return whether a map comes from a transformer's stem.

    This is assumed to be the case if the map is followed by at least one attention block, and by at
    least as many blocks as there are linear maps before it.
    """
    convolutions = sum(isinstance(step.operation, Linear) for step in graph.before([value]))
    blocks = attention_blocks(graph, value)
    return blocks > 0 and blocks >= convolutions


def attention_blocks(graph: Graph, value: Value) -> float:
    """Count the attention blocks after a value. Each product in handwritten attention adds 0.5."""
    return sum(map(_attention, graph.before(graph.outputs, given=[value])))


def _attention(step: Step) -> float:
    if all(value.rank <= 2 for value in step.inputs):
        return 0
    is_product = isinstance(step.operation, Contraction) and len(step.inputs) > 1
    return 0.5 if is_product else getattr(step.operation, "holds_attention", False)


def has_height_and_width(value: Value) -> bool:
    """Return whether a value is a map of shape (N, …, channels) with more than one pixel."""
    sizes = value.shape[1:-1]
    return len(sizes) > 0 and any(size != 1 for size in sizes)


def covers_image(graph: Graph, value: Value) -> bool:
    """Return whether a map has enough spatial axes: two for images, one for time series."""
    return value.rank >= min(4, graph.ranks[value])


def require_height_and_width(graph: Graph, value: Value, path: str) -> None:
    """Raise UnknownLayerError if a layer's output is not a map with channels on the last axis."""
    require_channels_last(graph, value, path)
    if not has_height_and_width(value):
        raise UnknownLayerError(
            f"Layer '{path}' has shape {value.shape}, but a map needs a height and a width. Choose a convolutional layer, its "
            "activation or a pooling layer, or omit `layer` to let tfviz choose."
        )


def is_on_every_path(graph: Graph, value: Value) -> bool:
    """Return whether every path from the images to the outputs goes through a value."""
    needed = {read for step in graph.before(graph.outputs, given=[value]) for read in step.inputs}
    # The path from a vector input does not need to go through the map.
    images = {image for image in graph.inputs if has_height_and_width(image)} or set(graph.inputs)
    return not needed & images
