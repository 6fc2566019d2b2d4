"""Which axis of a value holds its channels: code may move it, to run as PyTorch does, or leave it out."""

from __future__ import annotations

from collections.abc import Sequence

from tfviz.errors import UnknownLayerError
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Elementwise, Identity, Linear, Move, Normalization, Product, Relu, Sum, Transpose

_BY_ELEMENT = (Relu, Elementwise, Normalization, Identity, Sum, Product)


def moved_channels(graph: Graph) -> set[Value]:
    """The values whose channels are not their last axis: behind a transposition, until another brings them back."""
    axes = {value: value.rank - 1 for value in graph.inputs}
    for step in graph.steps:
        if step.inputs:
            first = step.inputs[0]
            at, order = axes.get(first, first.rank - 1), _order(step)
            for value in step.outputs:
                is_kept = value.rank == first.rank and (isinstance(step.operation, _BY_ELEMENT) or _is_product(step))
                axes[value] = order.index(at) if order and at in order else at if is_kept else value.rank - 1
    return {value for value, at in axes.items() if at != value.rank - 1}


def require_channels_last(graph: Graph, value: Value, path: str) -> None:
    """Raises UnknownLayerError where a layer gives its channels in another axis than the last."""
    if value in moved_channels(graph):
        raise UnknownLayerError(
            f"Layer '{path}' gives {value.shape} with its channels not in the last axis: a transposition before it has moved "
            "them. Choose a layer before that transposition, or one behind a transposition back."
        )


def _is_product(step: Step) -> bool:
    """Whether a linear map has no window: a Dense layer changes the last axis, whatever it holds."""
    return isinstance(step.operation, Linear) and step.operation.extent is None


def _order(step: Step) -> Sequence[int] | None:
    """Which axis of the input each axis of the output is; None for what transposes nothing."""
    if not isinstance(step.operation, Transpose):
        return None
    time = step.time_axes
    return [0, *range(1, 1 + time), *(axis + time for axis in step.operation.order[1:])]


def has_channels(graph: Graph, value: Value) -> bool:
    """Whether the last axis is that of channels.

    Not in an image (N, H, W) to which the model itself adds that axis, and not in one of the maps of an unstacked one.
    """
    return not _is_one_of_the_maps(graph, value) and not _gets_channels(graph, value)


def map_axes(graph: Graph, value: Value) -> int:
    """How many axes a value has beside those of the batch and of channels; all but the batch where it has no channels."""
    return value.rank - (2 if has_channels(graph, value) else 1)


def _gets_channels(graph: Graph, value: Value) -> bool:
    """Whether the axis of channels comes later: a reshape adds it."""
    for step in graph.consumers(value):
        made = step.outputs[0]
        if isinstance(step.operation, Move) and value.rank > 2 and made.shape[1:] == (*value.shape[1:], 1):
            return True
        is_affine = isinstance(step.operation, Elementwise) and step.operation.is_affine
        if (is_affine or isinstance(step.operation, (Identity, Normalization))) and _gets_channels(graph, made):
            return True
    return False


def _is_one_of_the_maps(graph: Graph, value: Value) -> bool:
    """Whether this is (N, H, W) out of (N, H, W, C), as `x[..., 0]` and `unstack` give it, or made of such by elements."""
    step = graph.producer(value)
    if step is None or not step.inputs or value.rank < 3:
        return False
    before = step.inputs[0]
    if isinstance(step.operation, (Identity, Elementwise, Normalization, Relu)) and before.shape == value.shape:
        return _is_one_of_the_maps(graph, before)
    is_taken_out = isinstance(step.operation, Move) and before.shape[1:-1] == value.shape[1:]
    return is_taken_out and not _is_one_of_the_maps(graph, before)
