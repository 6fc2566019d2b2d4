"""What is run as a whole, and lets a pixel read others: no mask can be scaled back through it.

Keras' own layers are known by their class. Of whatever else TensorFlow's operations in it are looked at.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from tfviz.errors import UnsupportedModelError
from tfviz.graph.inner_operations import traced
from tfviz.graph.places import Graph, Place

# Layers in which each pixel reads all others, and operations that do when they multiply two maps.
_OVER_ALL = (layers.RNN, layers.Bidirectional, layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention)
_OVER_ALL_OF_TWO = ("Matmul", "Einsum", "Dot")

# TensorFlow's operations with a window, and those that put pixels elsewhere.
_CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2")
_WINDOWED = ("MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D", "Dilation2D")
_MOVING = ("ReverseV2", "Roll", "ImageProjectiveTransformV3")


def require_one_by_one(graph: Graph, place: Place) -> None:
    """Raises for a place that is run as a whole and in which a pixel reads others."""
    name = type(place.operation).__name__
    is_over_all = isinstance(place.operation, _OVER_ALL) or (name in _OVER_ALL_OF_TWO and len(place.inputs) > 1)
    if place.function is None and (is_over_all or _holds_window(graph, place)):
        raise UnsupportedModelError(
            f"VisualBackProp does not see into '{place.path}' ({name}), where a pixel reads more than itself (a convolution, "
            "pooling, attention …), so that its mask cannot be scaled back through it. Build that part of Keras layers such "
            "as Conv2D, or use a gradient method such as guided_backprop or grad_cam"
        )


def _holds_window(graph: Graph, place: Place) -> bool:
    """Whether TensorFlow runs an operation there that reads more than one pixel; not where that cannot be seen."""
    found = traced(graph, place)
    if found is None:
        return False
    functions = found.graph.as_graph_def().library.function
    inside = {node.op for function in functions for node in function.node_def}
    return any(map(_is_windowed, found.graph.get_operations())) or bool(inside & {*_CONVOLUTIONS, *_WINDOWED, *_MOVING})


def _is_windowed(operation: Any) -> bool:
    if operation.type in _CONVOLUTIONS:
        kernel = operation.inputs[1].shape  # (height, width, channels, channels)
        return kernel.rank is None or any(n != 1 for n in kernel[:-2])
    return operation.type in (*_WINDOWED, *_MOVING)
