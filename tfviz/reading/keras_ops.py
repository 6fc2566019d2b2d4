"""Translate `keras.ops` and activation functions, with one row in TABLE per operation.

Keras records each `keras.ops` call, and each `+` or `x[...]` on symbolic tensors, as an instance of
a private operation class. The name of this class is the operation's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import tree

from tfviz.graph.operations import (
    Choice,
    Concatenate,
    Constant,
    Contraction,
    Deviation,
    Difference,
    Elementwise,
    Exponential,
    Extent,
    Identity,
    Moments,
    Move,
    Normalization,
    Opaque,
    Operation,
    Pad,
    Product,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Softmax,
    Sum,
    Transpose,
    Window,
)
from tfviz.reading.keras_layers import stages_of
from tfviz.reading.relu_patterns import Primitive
from tfviz.reading.trace import Call

Row = Callable[[Call], Operation]


def _name(call: Call) -> str:
    return type(call.operation).__name__


# --- rows -----------------------------------------------------------------------------------------


def _of(cls: type[Operation]) -> Row:
    return lambda call: cls(name=_name(call))


def _function(sign: int) -> Row:
    return lambda call: elementwise(_name(call), _name(call).lower(), sign)


def _activation(sign: int) -> Row:
    return lambda call: activation(_name(call), _name(call).lower(), sign)


def elementwise(name: str, function: str, sign: int = 1) -> Elementwise:
    """Describe the elementwise function with this name in Keras or TensorFlow."""
    word = function.replace("_", "")
    if word == "softmax":
        return Softmax(name=name, function="softmax", sign=sign, bounds=(0, 1))
    if word == "sigmoid":
        return Sigmoid(name=name, function="sigmoid", sign=sign, bounds=(0, 1), is_activation=True)
    if word in ("exp", "exponential"):
        return Exponential(name=name, function=word, sign=sign)
    return Elementwise(name=name, function=word, sign=sign, bounds=(0, 1) if word == "hardsigmoid" else None)


def activation(name: str, function: str, sign: int = 1) -> Elementwise:
    """Describe the activation function with this name in Keras or TensorFlow."""
    described = elementwise(name, function, sign)
    # These functions mix a pixel's channels, so they are not described as activations.
    mixes_channels = described.function in ("softmax", "logsoftmax", "sparsemax")
    return described if mixes_channels else replace(described, is_activation=True)


def _relu(call: Call) -> Operation:
    if getattr(call.operation, "negative_slope", 0):
        return activation(_name(call), "leakyrelu")
    return Relu(name=_name(call))


def _relu6(call: Call) -> Operation:
    return Relu(name=_name(call), max_value=6.0)


def _arithmetic(affine: Callable[[str, list[Any]], Operation], several: Callable[[str], Operation]) -> Row:
    """Create the row for an operation that takes one tensor and numbers, or several tensors."""

    def row(call: Call) -> Operation:
        return several(_name(call)) if len(call.inputs) > 1 else affine(_name(call), numbers_of(call))

    return row


def _is_negative(numbers: list[Any]) -> bool:
    return any(np.any(np.asarray(number) < 0) for number in numbers if number is not None)


def affine(name: str, sign: int = 1) -> Elementwise:
    """Describe an affine function, a·x + b."""
    return Elementwise(name=name, function=name.lower(), sign=sign, is_affine=True)


def add_numbers(name: str, numbers: list[Any]) -> Operation:
    """Describe x + c. `numbers` contains the operands, with None in place of the tensor."""
    return affine(name)


def subtract_numbers(name: str, numbers: list[Any]) -> Operation:
    """Describe x − c or c − x. The latter negates x."""
    return affine(name, 1 if numbers[0] is None else -1)


def multiply_numbers(name: str, numbers: list[Any]) -> Operation:
    """Describe c · x, where c may be negative."""
    return affine(name, -1 if _is_negative(numbers) else 1)


def divide_numbers(name: str, numbers: list[Any]) -> Operation:
    """Describe x / c or c / x. The sign of c / x is unknown."""
    return multiply_numbers(name, numbers) if numbers[0] is None else elementwise(name, name.lower(), sign=0)


def power_numbers(name: str, numbers: list[Any]) -> Operation:
    """Describe x ** n or c ** x. The sign is known only for x ** n with a nonnegative n."""
    if numbers[0] is not None:
        return Exponential(name=name, function=name.lower(), sign=0)
    return elementwise(name, name.lower(), sign=0 if _is_negative(numbers) else 1)


def several(cls: type[Operation]) -> Callable[[str], Operation]:
    """Return a function that describes an operation of this class on several tensors."""
    return lambda name: cls(name=name)


def mixed(name: str) -> Operation:
    """Describe an elementwise function of several tensors, whose sign is unknown."""
    return elementwise(name, name.lower(), sign=0)


def _pool(is_max: bool) -> Row:
    def row(call: Call) -> Operation:
        operation, rank = call.operation, len(call.inputs[0].shape) - 2
        size = _tuple(operation.pool_size, rank)
        strides = size if operation.strides is None else _tuple(operation.strides, rank)
        extent = Extent(size=size, strides=strides, padding=operation.padding, dilation=(1,) * rank)
        return Window(name=_name(call), is_max=is_max, extent=extent)

    return row


def _reduction(is_max: bool) -> Row:
    return lambda call: Window(name=_name(call), is_max=is_max)


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * rank


def _pad(call: Call) -> Operation:
    width = call.operation.pad_width
    if len(width) != len(call.inputs[0].shape):
        return Move(name=_name(call))
    return Pad(name=_name(call), amounts=tuple(map(tuple, width[1:-1])))


def _concatenate(call: Call) -> Operation:
    return Concatenate(name=_name(call), axis=call.operation.axis)


def _transpose(call: Call) -> Operation:
    axes, rank = call.operation.axes, len(call.inputs[0].shape)
    order = range(rank)[::-1] if axes is None else [axis % rank for axis in axes]
    return Transpose(name=_name(call), order=tuple(order))


def _swapaxes(call: Call) -> Operation:
    rank = len(call.inputs[0].shape)
    order = list(range(rank))
    first, second = call.operation.axis1 % rank, call.operation.axis2 % rank
    order[first], order[second] = second, first
    return Transpose(name=_name(call), order=tuple(order))


def _moveaxis(call: Call) -> Operation:
    source, destination, rank = call.operation.source, call.operation.destination, len(call.inputs[0].shape)
    if not isinstance(source, int):
        return Move(name=_name(call))
    order = [axis for axis in range(rank) if axis != source % rank]
    order.insert(destination % rank, source % rank)
    return Transpose(name=_name(call), order=tuple(order))


def _runs_functions(call: Call) -> Operation:
    return Opaque(name=_name(call), reason="runs user functions", runs_functions=True)


def rows(row: Row, names: str) -> dict[str, Row]:
    """Return a dict that maps each of the space-separated names to the row."""
    return dict.fromkeys(names.split(), row)


TABLE: dict[str, Row] = {
    "Relu": _relu,
    "ReLU": _relu,
    "Relu6": _relu6,
    **rows(_activation(1), "Sigmoid Softplus Softsign Silu HardSilu HardSigmoid LeakyRelu Elu Selu Gelu Celu Tanh HardTanh"),
    **rows(_activation(1), "Mish LogSigmoid Squareplus SparsePlus SparseSigmoid TanhShrink SoftShrink HardShrink Threshold"),
    **rows(_function(1), "Softmax LogSoftmax Absolute Square Sqrt Exp Expm1 Log Log1p Erf"),
    **rows(_pool(is_max=True), "MaxPool"),
    **rows(_pool(is_max=False), "AveragePool"),
    **rows(_reduction(is_max=True), "AdaptiveMaxPool Max Amax"),
    **rows(_reduction(is_max=False), "AdaptiveAveragePool Mean Sum"),
    "Add": _arithmetic(add_numbers, several(Sum)),
    "Multiply": _arithmetic(multiply_numbers, several(Product)),
    "Subtract": _arithmetic(subtract_numbers, several(Difference)),
    **rows(_arithmetic(divide_numbers, several(Normalization)), "Divide TrueDivide"),
    "Power": _arithmetic(power_numbers, mixed),
    "Negative": lambda call: affine(_name(call), -1),
    **rows(_of(Choice), "Maximum Minimum Clip"),
    **rows(_of(Normalization), "BatchNorm LayerNorm RMSNorm Normalize"),
    **rows(_of(Identity), "Identity Copy Cast SaturateCast View EnsureShape CheckNumerics ConvertToTensor"),
    # Quantization rounds each element, but its gradient is that of the identity.
    "FakeQuantWithMinMaxVars": lambda call: affine(_name(call)),
    **rows(_of(Reshape), "Reshape Squeeze ExpandDims Ravel"),
    **rows(_of(Move), "Stack GetItem Split Slice Unstack Repeat Tile Flip Roll BroadcastTo"),
    **rows(_of(Move), "Take DepthToSpace SpaceToDepth"),
    "Resize": _of(Resize),
    "Pad": _pad,
    "Concatenate": _concatenate,
    "Transpose": _transpose,
    "Swapaxes": _swapaxes,
    "Moveaxis": _moveaxis,
    **rows(_of(Constant), "ZerosLike OnesLike FullLike Shape"),
    **rows(_of(Contraction), "Matmul Einsum Dot Tensordot"),
    **rows(_function(0), "DivideNoNan FloorDivide Mod Remainder Where SquaredDifference Floor Ceil Round Sign"),
    **rows(_activation(0), "Sin Cos"),
    **rows(_function(0), "Reciprocal Rsqrt Tan Arcsin Arccos Arctan Sinh Cosh Arcsinh Arccosh Arctanh Erfinv Log2"),
    **rows(_function(0), "Log10 Exp2 NanToNum StopGradient Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd"),
    **rows(_function(0), "LogicalOr LogicalNot LogicalXor Isnan Isinf Isfinite Isclose Signbit"),
    **rows(_function(0), "Fabs Fmax Fmin Fmod Trunc Cbrt Erfc Sinc Hypot Arctan2 Logaddexp Logaddexp2 Heaviside"),
    "Moments": _of(Moments),
    **rows(_of(Deviation), "Var Std"),
    **rows(_runs_functions, "Map VectorizedMap Scan AssociativeScan Cond Switch WhileLoop ForiLoop"),
}

# Handwritten ReLUs consist of these operations (see `relu_patterns`).
PRIMITIVES = {
    "Maximum": Primitive.MAXIMUM,
    "Minimum": Primitive.MINIMUM,
    "Where": Primitive.WHERE,
    "Multiply": Primitive.MULTIPLY,
    "Clip": Primitive.CLIP,
    "Cast": Primitive.CAST,
    "Greater": Primitive.GREATER,
    "GreaterEqual": Primitive.GREATER,
    "Less": Primitive.LESS,
    "LessEqual": Primitive.LESS,
}


def operation_of(call: Call) -> Operation:
    """Describe the operation in a `keras.ops` call."""
    row = TABLE.get(_name(call))
    if row is None:
        return Opaque(name=_name(call))
    return row(call)


def is_attention(operation: keras.Operation) -> bool:
    """Return whether an operation is `ops.dot_product_attention`, which TensorFlow must trace."""
    return not isinstance(operation, keras.Layer) and type(operation).__name__ == "DotProductAttention"


def exact_attention(operation: keras.Operation) -> Callable[..., Any]:
    """Return the function computed by a `DotProductAttention`, without flash attention.

    Flash attention gives the same result, but it never stores the attention probabilities, and
    TensorFlow does not support it.
    """
    cap = getattr(operation, "attn_logits_soft_cap", None)
    options = {} if cap is None else {"attn_logits_soft_cap": cap}
    return partial(keras.ops.dot_product_attention, is_causal=operation.is_causal, flash_attention=False, **options)


def primitive_of(call: Call) -> tuple[Primitive | None, tuple[Any, ...]]:
    """Return a call's primitive (or None) and its operands, for detecting handwritten ReLUs."""
    operation = call.operation
    operands = tuple(tree.flatten((call.arguments.args, call.arguments.kwargs)))
    if isinstance(operation, keras.Layer):
        return None, operands
    primitive = PRIMITIVES.get(_name(call))
    if primitive is Primitive.CLIP:
        operands = (*operands[:1], operation.x_min, operation.x_max)
    return primitive, operands


def numbers_of(call: Call) -> list[Any]:
    """Return a call's operands, with None in place of tensors and 1 in place of weights."""
    operands = tree.flatten((call.arguments.args, call.arguments.kwargs))
    return [None if isinstance(x, keras.KerasTensor) else 1 if isinstance(x, keras.Variable) else x for x in operands]


# --- activation functions -------------------------------------------------------------------------


def is_linear(function: Callable[..., Any] | None) -> bool:
    """Return whether a layer's `activation` is the identity or None."""
    return function is None or function is keras.activations.linear


def operation_of_function(function: Callable[..., Any], name: str) -> Operation | None:
    """Describe an activation function or layer, or return None for a user's function.

    Args:
        function: the function or layer.
        name: the operation's name in messages.
    """
    if is_linear(function):
        return Identity(name=name)
    if isinstance(function, keras.Layer):
        stages = stages_of(function)
        if stages is None:
            return None
        known = stages[-1].operation
        return known if isinstance(known, (Relu, Elementwise)) else activation(name, function_name(function))
    module = str(getattr(function, "__module__", ""))
    if not (module.startswith(("keras.", "tensorflow.")) and hasattr(function, "__name__")):
        return None
    word = function_name(function)
    if word in ("relu", "relu6"):
        return Relu(name=name, max_value=6.0 if word == "relu6" else None)
    return activation(name, word)


def function_name(function: Callable[..., Any]) -> str:
    """Return the name of an activation function, such as "relu", or the class name of a layer."""
    if isinstance(function, keras.Layer):
        return type(function).__name__.lower()
    name = str(getattr(function, "__name__", None) or getattr(function, "name", "") or type(function).__name__)
    return name.removesuffix("_v2").lower()  # the name of tf.nn.softmax has this suffix
