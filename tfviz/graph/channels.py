"""Find the channel axis of each value. A transpose may move it, and some values don't have one."""

from __future__ import annotations

from collections.abc import Sequence

from tfviz.errors import UnknownLayerError
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Elementwise,
    Identity,
    Linear,
    Move,
    Normalization,
    Opaque,
    Product,
    Relu,
    Reshape,
    Sum,
    Transpose,
)

_KEEPS_AXES = (Relu, Elementwise, Normalization, Identity, Sum, Product, Move)


def moved_channels(graph: Graph) -> set[Value]:
    """Return the values whose channel axis is no longer the last axis after a transpose."""
    axes = {value: value.rank - 1 for value in graph.inputs}
    for step in graph.steps:
        if step.inputs:
            first = step.inputs[0]
            at, order = axes.get(first, first.rank - 1), _order(step)
            for value in step.outputs:
                is_kept = value.rank == first.rank > 0 and _keeps_axis(step, first.shape[at] == value.shape[at])
                axes[value] = order.index(at) if order and at in order else at if is_kept else value.rank - 1
    return {value for value, at in axes.items() if at != value.rank - 1}


def require_channels_last(graph: Graph, value: Value, path: str) -> None:
    """Raise UnknownLayerError if a layer's channels are not on the last axis."""
    if value in moved_channels(graph):
        raise UnknownLayerError(
            f"Layer '{path}' has shape {value.shape}, and a transpose before it moved the channels away from the last axis. "
            "Choose a layer before that transpose, or one after the channels have been moved back."
        )


def _keeps_axis(step: Step, has_same_size: bool) -> bool:
    """Return whether the channels stay on the same axis, whose size may stay the same."""
    operation = step.operation
    if isinstance(operation, (Reshape, Opaque)):
        return has_same_size
    # A linear map without a window acts on the last axis.
    return isinstance(operation, _KEEPS_AXES) or (isinstance(operation, Linear) and operation.extent is None)


def _order(step: Step) -> Sequence[int] | None:
    """Return the input axis behind each output axis, or None if the step is not a transpose."""
    if not isinstance(step.operation, Transpose):
        return None
    time = step.time_axes
    return [0, *range(1, 1 + time), *(axis + time for axis in step.operation.order[1:])]


def has_channels(graph: Graph, value: Value) -> bool:
    """Return whether a value's last axis is a channel axis.

    This is false for an image of shape (N, H, W) if the model adds a channel axis later, and for a
    single channel taken from a map.
    """
    return not _is_single_channel(graph, value) and not _gains_channels(graph, value)


def map_axes(graph: Graph, value: Value) -> int:
    """Count a value's axes, excluding the batch and channel axes."""
    return value.rank - (2 if has_channels(graph, value) else 1)


def _gains_channels(graph: Graph, value: Value) -> bool:
    """Return whether a later reshape adds a channel axis."""
    for step in graph.consumers(value):
        made = step.outputs[0]
        if isinstance(step.operation, Move) and value.rank > 2 and made.shape[1:] == (*value.shape[1:], 1):
            return True
        is_affine = isinstance(step.operation, Elementwise) and step.operation.is_affine
        if (is_affine or isinstance(step.operation, (Identity, Normalization))) and _gains_channels(graph, made):
            return True
    return False


def _is_single_channel(graph: Graph, value: Value) -> bool:
    """Return whether a value is a single channel of a map, as from `x[..., 0]` or `unstack`."""
    step = graph.producer(value)
    if step is None or not step.inputs or value.rank < 3:
        return False
    before = step.inputs[0]
    if isinstance(step.operation, (Identity, Elementwise, Normalization, Relu)) and before.shape == value.shape:
        return _is_single_channel(graph, before)
    is_taken_out = isinstance(step.operation, Move) and before.shape[1:-1] == value.shape[1:]
    return is_taken_out and not _is_single_channel(graph, before)
