"""Which values hold their channels elsewhere than in the last axis: code may move them, to run as PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence

from keras import layers

from tfviz.errors import UnknownLayerError
from tfviz.graph.places import Graph, Place, Value

_BY_ELEMENT = ("relu", "activation", "scale", "negation", "identity", "add", "multiply")


def moved_channels(graph: Graph) -> set[Value]:
    """The values whose channels are not their last axis: behind a transposition, until another brings them back."""
    axes = {value: len(graph.shapes[value]) - 1 for value in graph.inputs}
    for place in graph.places:
        if place.inputs:
            first = place.inputs[0]
            rank = len(graph.shapes[first])
            at, order = axes.get(first, rank - 1), _order(place, rank)
            for value in place.outputs:
                is_kept = len(graph.shapes[value]) == rank and (place.kind in _BY_ELEMENT or _is_product(place))
                last = len(graph.shapes[value]) - 1
                axes[value] = order.index(at) if order and at in order else at if is_kept else last
    return {value for value, at in axes.items() if at != len(graph.shapes[value]) - 1}


def require_channels_last(graph: Graph, value: Value, path: str) -> None:
    """Raises UnknownLayerError where a layer gives its channels in another axis than the last."""
    if value in moved_channels(graph):
        raise UnknownLayerError(
            f"layer '{path}' gives {graph.shapes[value]}, its channels not in the last axis: a transposition before it has "
            "moved them. Choose a layer before that, or one behind a transposition back"
        )


def _is_product(place: Place) -> bool:
    """Whether a linear map has no window: a Dense layer changes the last axis, whatever it holds."""
    return place.kind == "linear" and not hasattr(place.operation, "kernel_size")


def _order(place: Place, rank: int) -> Sequence[int] | None:
    """Which axis of the input each axis of the output is; None for what transposes nothing."""
    operation, name = place.operation, type(place.operation).__name__
    own = rank - place.series_axes
    if isinstance(operation, layers.Permute):
        order = [0, *operation.dims]
    elif name == "Transpose":
        order = list(operation.axes if operation.axes is not None else range(own)[::-1])
    elif name == "Swapaxes":
        order = list(range(own))
        first, second = operation.axis1 % own, operation.axis2 % own
        order[first], order[second] = second, first
    elif name == "Moveaxis" and isinstance(operation.source, int):
        order = [axis for axis in range(own) if axis != operation.source % own]
        order.insert(operation.destination % own, operation.source % own)
    else:
        return None
    return [0, *range(1, 1 + place.series_axes), *(axis % own + place.series_axes for axis in order[1:])]
