"""Finding a place in a graph: by name, by path, by the layer itself, or the one that a CAM should look at."""

from __future__ import annotations

from typing import Any

from keras import layers

from tfviz.errors import UnknownLayerError, UnsupportedModelError, near_matches
from tfviz.graph.channel_axis import moved_channels, require_channels_last
from tfviz.graph.places import Graph, Place, Value

# Where a CAM may look: what holds features. Pooling, padding and reshaping only move what an earlier place found.
_FEATURE_KINDS = ("linear", "relu", "activation", "scale", "negation", "add", "multiply", "other")

_ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention, layers.Attention, layers.AdditiveAttention)
_PRODUCTS = ("Matmul", "Einsum", "MatMul", "BatchMatMulV2", "BatchMatMulV3")  # Keras' and TensorFlow's
_FORMS = ("identity", "reshape", "scale", "negation", "activation", "relu")


def find(graph: Graph, layer: Any) -> Value:
    """The value that a layer gives, for a name, a path into nested models, or the layer object.

    A layer that is called several times has a place for each call: "name:0", "name:1" …

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
        raise UnknownLayerError(f"layer {layer!r} has several places in this model; choose one of {_quoted(paths)}")
    known = dict.fromkeys([*graph.names, *(path.rsplit("/", 1)[-1] for path in graph.names)])
    raise UnknownLayerError(
        f"the model '{model_name(graph)}' has no layer {layer!r}. {near_matches(layer, known)} `tfviz layers` lists them all"
    )


def _require_one_output(graph: Graph, path: str) -> None:
    """Raises for what gives several tensors, as a backbone with maps of several sizes does."""
    if outputs := [name for name in graph.names if name.startswith(f"{path}[")]:
        raise UnknownLayerError(f"layer {path!r} gives several outputs; choose one of {_quoted(outputs)}")


def _is_called(path: str, name: str) -> bool:
    """Whether `name` means this path: as its last part, with or without the number of the call."""
    return any(known == name or known.endswith("/" + name) for known in (path, _without_numbers(path), path.rsplit(":", 1)[0]))


def _without_numbers(path: str) -> str:
    return "/".join(part.split(":", 1)[0] for part in path.split("/"))


def _find_object(graph: Graph, layer: Any) -> Value:
    paths = [path for path, known in graph.layers.items() if known is layer]
    if len(paths) == 1:
        _require_one_output(graph, paths[0])
        return graph.names[paths[0]]
    if paths:
        raise UnknownLayerError(f"layer '{layer.name}' has several places in this model; choose one of {_quoted(paths)}")
    raise UnknownLayerError(
        f"expected a layer of the model '{model_name(graph)}', its name, or a path such as 'backbone/conv1'; got "
        f"{getattr(layer, 'name', layer)!r} ({type(layer).__name__}), which is no layer of it"
    )


def _quoted(paths: list[str]) -> str:
    return ", ".join(map(repr, paths[:8])) + (" …" if len(paths) > 8 else "")


def model_name(graph: Graph) -> str:
    """What the model is called in messages."""
    return str(getattr(graph.model, "name", None) or getattr(graph.model, "__name__", type(graph.model).__name__))


def last_feature_place(graph: Graph) -> Place:
    """The automatic layer of the CAMs: the last place with height and width that every path to the output goes through.

    It is read off the graph: pooling and padding are passed over, so that it is the activation before them. A map of one
    pixel, the output itself, and a map with fewer axes than the image (the tokens of a transformer, one number for each
    frame of a film) do not count, nor does the map of patches that tokens are made of.

    Raises:
        UnsupportedModelError: when there is none.
    """
    ends = _outputs_in_other_forms(graph) | moved_channels(graph)
    for place in reversed(graph.before(graph.outputs)):
        if _holds_features(place) and ends.isdisjoint(place.outputs):
            value = place.outputs[0]
            if has_height_and_width(graph, value) and covers_image(graph, value) and is_on_every_path(graph, value):
                if _only_cuts_patches(graph, value):
                    break
                return place
    raise UnsupportedModelError(
        f"the model '{model_name(graph)}' has no place with height and width that every path to the output goes through, "
        "such as a convolution (the tokens of a transformer have none); name a layer, or use a method that needs none "
        "(saliency, guided_backprop)"
    )


def _outputs_in_other_forms(graph: Graph) -> set[Value]:
    """The outputs, and what is an output but for its form: the logits of a sigmoid, class maps before they are resized."""
    found = set(graph.outputs)
    for place in reversed(graph.places):
        if place.kind in _FORMS and len(place.inputs) == 1 and found.intersection(place.outputs):
            found.update(place.inputs)
    return found


def _only_cuts_patches(graph: Graph, value: Value) -> bool:
    """Whether a map is the first thing that is learned, and the rest goes on with attention among tokens."""
    is_first = sum(place.kind == "linear" for place in graph.before([value])) <= 1
    attending = [other for place in graph.before(graph.outputs, given=[value]) if _attends(place) for other in place.inputs]
    return is_first and any(len(graph.shapes[other]) > 2 for other in attending)


def _attends(place: Place) -> bool:
    is_product = type(place.operation).__name__ in _PRODUCTS and len(place.inputs) > 1
    return place.kind == "other" and (is_product or isinstance(place.operation, _ATTENTION))


def _holds_features(place: Place) -> bool:
    return place.kind in _FEATURE_KINDS or type(place.operation).__name__ == "Concatenate"


def has_height_and_width(graph: Graph, value: Value) -> bool:
    """Whether a value is a stack of maps of more than one pixel: (N, …, channels)."""
    sizes = graph.shapes[value][1:-1]
    return len(sizes) > 0 and any(size != 1 for size in sizes)


def covers_image(graph: Graph, value: Value) -> bool:
    """Whether a map has height and width as the images that it is made of: one axis is enough for a series only."""
    return len(graph.shapes[value]) >= min(4, graph.ranks[value])


def map_axes(graph: Graph, value: Value) -> int:
    """How many axes a value has beside those of the batch and of channels; all but the batch where it has no channels."""
    return len(graph.shapes[value]) - (2 if has_channels(graph, value) else 1)


def has_channels(graph: Graph, value: Value) -> bool:
    """Whether the last axis is that of channels.

    Not in a picture (N, H, W) to which the model itself adds that axis, and not in one of the maps of an unstacked one.
    """
    return not _is_one_of_the_maps(graph, value) and not _gets_channels(graph, value)


def _gets_channels(graph: Graph, value: Value) -> bool:
    """Whether the axis of channels comes later: a reshape adds it."""
    shape = graph.shapes[value]
    for place in graph.consumers(value):
        made = graph.shapes[place.outputs[0]]
        if place.kind == "reshape" and len(shape) > 2 and made[1:] == (*shape[1:], 1):
            return True
        if place.kind in ("identity", "scale", "negation") and _gets_channels(graph, place.outputs[0]):
            return True
    return False


def _is_one_of_the_maps(graph: Graph, value: Value) -> bool:
    """Whether this is (N, H, W) out of (N, H, W, C), as `x[..., 0]` and `unstack` give it, or made of such by elements."""
    place, shape = graph.producer(value), graph.shapes[value]
    if place is None or not place.inputs or len(shape) < 3:
        return False
    before = graph.shapes[place.inputs[0]]
    if place.kind in ("identity", "scale", "negation", "relu", "activation") and before == shape:
        return _is_one_of_the_maps(graph, place.inputs[0])
    is_taken_out = place.kind == "reshape" and before[1:-1] == shape[1:]
    return is_taken_out and not _is_one_of_the_maps(graph, place.inputs[0])


def require_height_and_width(graph: Graph, value: Value, path: str) -> None:
    """Raises UnknownLayerError when a layer gives no maps, or has their channels in another axis than the last."""
    require_channels_last(graph, value, path)
    if not has_height_and_width(graph, value):
        shape = graph.shapes[value]
        raise UnknownLayerError(
            f"layer '{path}' gives {shape}: no height and width to draw a map of. Choose a convolution, its activation or "
            "a pooling layer, or None for the automatic choice"
        )


def is_on_every_path(graph: Graph, value: Value) -> bool:
    """Whether all that the outputs know of the images goes through a value."""
    needed = {read for place in graph.before(graph.outputs, given=[value]) for read in place.inputs}
    # A vector beside the image goes its own way.
    images = {image for image in graph.inputs if has_height_and_width(graph, image)} or set(graph.inputs)
    return not needed & images
