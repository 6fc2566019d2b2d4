"""What is run as a whole, and lets a pixel read others: no mask can be scaled back through it.

Keras' own layers are known by their class, TensorFlow's operations by their names. Of whatever else the operations of
TensorFlow in it are looked at.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import layers

from tfviz.errors import UnsupportedModelError
from tfviz.graph.inner_operations import traced
from tfviz.graph.places import Graph, Place

# Layers in which each pixel reads all others.
_OVER_ALL = (layers.RNN, layers.Bidirectional, layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention)

# Operations of Keras and TensorFlow that read, at each pixel, that pixel only; those with a kind of their own aside.
_ONE_BY_ONE = """
    Subtract Divide TrueDivide DivNoNan FloorDivide FloorDiv Mod FloorMod Remainder Power Where Condition Clip
    ClipByValue Maximum Minimum SquaredDifference Floor Ceil Round Rint Sign Reciprocal Inv Rsqrt Sin Cos Tan Arcsin
    Arccos Arctan Asin Acos Atan Sinh Cosh Arcsinh Arccosh Arctanh Asinh Acosh Atanh Erfc Erfinv Log2 Log10 Exp2 Xlogy
    Xdivy NanToNum StopGradient Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr LogicalNot
    LogicalXor Isnan Isinf Isfinite ZerosLike OnesLike
"""

# TensorFlow's operations with a window, those that put pixels elsewhere, and products, which mix the places of two maps.
_CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2")
_WINDOWED = ("MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D", "Dilation2D", "Cumsum", "Cumprod")
_MOVING = ("ReverseV2", "Roll", "ImageProjectiveTransformV3", "GatherV2", "GatherNd", "TopKV2", "FFT2D", "RFFT2D", "IFFT2D")
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")


def require_one_by_one(graph: Graph, place: Place) -> None:
    """Raises for a place that is run as a whole, or a product along axes of its own, and in which a pixel reads others."""
    if place.function is None and _mixes(graph, place):
        raise UnsupportedModelError(
            f"VisualBackProp does not see into '{place.path}' ({type(place.operation).__name__}), where a pixel reads more "
            "than itself (a convolution, pooling, attention …), so that its mask cannot be scaled back through it. Build that "
            "part of Keras layers such as Conv2D, or use a gradient method such as guided_backprop or grad_cam"
        )


def _mixes(graph: Graph, place: Place) -> bool:
    if isinstance(place.operation, layers.EinsumDense) and place.kind == "linear":
        return not _is_of_channels(place.operation.equation)
    if place.kind != "other":
        return False
    if not isinstance(place.operation, layers.Layer):
        return type(place.operation).__name__ not in _ONE_BY_ONE.split()
    return isinstance(place.operation, _OVER_ALL) or _holds_mixing(graph, place)


def _is_of_channels(equation: str) -> bool:
    """Whether an einsum of a map and a kernel changes the last axis only: "...c,cd->...d"."""
    inputs, outputs = equation.replace(" ", "").replace("...", ".").split("->")
    x, kernel = inputs.split(",")
    places = x[:-1]
    return outputs.startswith(places) and not set(places) & set(kernel)


def _holds_mixing(graph: Graph, place: Place) -> bool:
    """Whether TensorFlow runs an operation there that reads more than one pixel; not where that cannot be seen."""
    found = traced(graph, place)
    if found is None:
        return False
    functions = found.graph.as_graph_def().library.function
    inside = {node.op for function in functions for node in function.node_def}
    if inside & {*_CONVOLUTIONS, *_WINDOWED, *_MOVING, *_PRODUCTS[1:]}:
        return True
    images = {tensor.name for tensor in found.inputs[: len(place.inputs)]}
    for operation in found.graph.get_operations():
        read = [tensor.name in images for tensor in operation.inputs]
        if any(read):
            images.update(tensor.name for tensor in operation.outputs)
            if _reads_others(operation) or (operation.type in _PRODUCTS and all(read)):
                return True
    return False


def _reads_others(operation: Any) -> bool:
    if operation.type in _CONVOLUTIONS:
        kernel = operation.inputs[1].shape  # (height, width, channels, channels)
        return kernel.rank is None or any(n != 1 for n in kernel[:-2])
    if operation.type == "Transpose":
        order = tf.get_static_value(operation.inputs[1])
        return order is None or list(order) != sorted(order)
    return operation.type in (*_WINDOWED, *_MOVING)
