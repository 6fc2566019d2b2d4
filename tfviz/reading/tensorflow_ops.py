"""Translate TensorFlow operations, with one row in TABLE per operation type.

`tensorflow_tracer` cuts a traced function into pieces. Each piece is one operation from the layer's
code, with the shapes, conditions and weights that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfviz.graph.operations import (
    Choice,
    Concatenate,
    Constant,
    Contraction,
    Difference,
    Elementwise,
    Extent,
    Identity,
    Linear,
    Move,
    Normalization,
    Opaque,
    Operation,
    Product,
    Relu,
    Reshape,
    Resize,
    Sum,
    Transpose,
    Window,
)
from tfviz.reading import keras_ops
from tfviz.reading.keras_layers import scale_depthwise
from tfviz.reading.relu_patterns import Expression, Primitive


@dataclass(frozen=True, eq=False)
class Cut:
    """One operation that was cut out of a traced function's graph.

    Attributes:
        operation: the operation in the function's graph.
        reads: the graph tensors that a call's arguments replace.
        outputs: the tensors that a call returns.
        inside: further operations that the same call runs.
        replay: a function that takes two lists of tensors, `reads` and `outputs`, and returns a
            function that computes `outputs` from `reads`.
    """

    operation: tf.Operation
    reads: Sequence[tf.Tensor]
    outputs: Sequence[tf.Tensor]
    inside: Sequence[tf.Operation]
    replay: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], Callable[..., Any]]

    @property
    def name(self) -> str:
        return type_name(self.operation)

    def numbers(self) -> list[Any]:
        """Return the operands, with None in place of call arguments and 1 in place of weights."""
        is_given = [any(x is other for other in self.reads) for x in self.operation.inputs]
        static = map(tf.get_static_value, self.operation.inputs)
        return [None if given else 1 if x is None else x for x, given in zip(static, is_given, strict=True)]


class Piece:
    """An operation from a traced function that can be called on other tensors.

    Each call reads the operation's remaining inputs (weights, constants, shapes) again.

    Attributes:
        type_name: the operation's name in paths and messages.
        description: what the operation computes.
        data_format: "channels_last" or "channels_first", or None if the operation has no data
            format.
    """

    def __init__(
        self, name: str, type_name: str, run: Callable[..., Any], description: Operation, data_format: str | None = None
    ) -> None:
        self.name, self.type_name, self.description, self.data_format = name, type_name, description, data_format
        self._run = run

    def __call__(self, *tensors: tf.Tensor) -> Any:
        return self._run(*tensors)


def piece_of(cut: Cut) -> Piece:
    """Create the piece for a cut."""
    operation = cut.operation
    return Piece(operation.name, cut.name, cut.replay(cut.reads, cut.outputs), description_of(cut), _data_format(operation))


def piece_of_function(operation: tf.Operation, function: Callable[[tf.Tensor], tf.Tensor], description: Operation) -> Piece:
    """Create the piece for a function of one tensor whose last operation is `operation`."""
    return Piece(operation.name, description.name, lambda x: [function(x)], description)


# --- names ----------------------------------------------------------------------------------------

# TensorFlow's operation types are replaced with Keras' names, so that both tracers produce the same
# paths.
_KERAS_NAMES = {
    "AddV2": "Add",
    "AddN": "Add",
    "BiasAdd": "Add",
    "Mul": "Multiply",
    "Sub": "Subtract",
    "RealDiv": "Divide",
    "Pow": "Power",
    "Abs": "Absolute",
    "Neg": "Negative",
    "SelectV2": "Where",
    "Select": "Where",
    "ConcatV2": "Concatenate",
    "Pad": "PadV2",
    "MaxPoolV2": "MaxPool",
    "MaxPool3D": "MaxPool",
    "AvgPool": "AveragePool",
    "AvgPool3D": "AveragePool",
    "ResizeBilinear": "Resize",
    "ResizeBicubic": "Resize",
    "FusedBatchNormV3": "BatchNorm",
}

_CHANNELS_FIRST = frozenset({b"NCHW", b"NCDHW", b"NCW"})


def type_name(operation: tf.Operation) -> str:
    """Return Keras' name for an operation, or TensorFlow's if Keras has none."""
    return _KERAS_NAMES.get(operation.type, operation.type)


def _data_format(operation: tf.Operation) -> str | None:
    if all(attribute.name != "data_format" for attribute in operation.op_def.attr):
        return None
    return "channels_first" if operation.get_attr("data_format") in _CHANNELS_FIRST else "channels_last"


# --- rows -----------------------------------------------------------------------------------------

Row = Callable[[Cut], Operation]


def _of(cls: type[Operation]) -> Row:
    return lambda cut: cls(name=cut.name)


def _function(sign: int) -> Row:
    return lambda cut: keras_ops.elementwise(cut.name, cut.name.lower(), sign)


def _activation(sign: int) -> Row:
    return lambda cut: keras_ops.activation(cut.name, cut.name.lower(), sign)


def _arithmetic(affine: Callable[[str, list[Any]], Operation], several: Callable[[str], Operation]) -> Row:
    def row(cut: Cut) -> Operation:
        return several(cut.name) if len(cut.reads) > 1 else affine(cut.name, cut.numbers())

    return row


def _cast(cut: Cut) -> Operation:
    x = cut.operation.inputs[0]
    if not x.dtype.is_floating and cut.reads[0] is not x:
        # The result of a cast comparison is 0 or 1, so it does not carry the signal.
        return keras_ops.elementwise(cut.name, "condition", sign=0)
    return Identity(name=cut.name)


def _rounding(cut: Cut) -> Operation:
    return keras_ops.affine(cut.name)


def _pool(is_max: bool) -> Row:
    def row(cut: Cut) -> Operation:
        size, strides = _inner(cut.operation, "ksize"), _inner(cut.operation, "strides")
        padding = _padding_before(cut.operation)
        return Window(
            name=cut.name,
            is_max=is_max,
            extent=Extent(size=size, strides=strides, padding=padding, dilation=(1,) * len(size)),
        )

    return row


def _reduction(is_max: bool) -> Row:
    return lambda cut: Window(name=cut.name, is_max=is_max)


def _concatenate(cut: Cut) -> Operation:
    return Concatenate(name=cut.name, axis=int(tf.get_static_value(cut.operation.inputs[-1])))


def _transpose(cut: Cut) -> Operation:
    axes = tf.get_static_value(cut.operation.inputs[1])
    if axes is None:
        return Move(name=cut.name)
    rank = len(axes)
    return Transpose(name=cut.name, order=tuple(int(axis) % rank for axis in axes))


def _convolution(cut: Cut) -> Operation:
    strides, dilations, padding = _inner(cut.operation, "strides"), _inner(cut.operation, "dilations"), _paddings(cut.operation)

    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations)

    return _linear(cut, apply, lambda kernel, scale: kernel * scale, _extent(cut.operation))


def _depthwise(cut: Cut) -> Operation:
    strides, dilations = (1, *_inner(cut.operation, "strides"), 1), _inner(cut.operation, "dilations")

    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(x, kernel, strides, _padding(cut.operation).upper(), dilations=dilations)

    is_known = _padding(cut.operation) != "explicit"
    return _linear(cut, apply, scale_depthwise, _extent(cut.operation)) if is_known else _unknown(cut)


def _product(adjoint_x: str, adjoint_y: str) -> Row:
    """Create the row for a matrix product. A product with a weight is a linear map."""

    def row(cut: Cut) -> Operation:
        operation = cut.operation
        if len(cut.reads) > 1:
            return Contraction(name=cut.name)
        if operation.inputs[1].shape.rank != 2 or operation.get_attr(adjoint_x):
            return _unknown(cut)
        is_transposed = operation.get_attr(adjoint_y)

        def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            return tf.matmul(x, kernel, transpose_b=is_transposed)

        def scale_outputs(kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
            return kernel * (scale[:, None] if is_transposed else scale)

        return _linear(cut, apply, scale_outputs, None)

    return row


def _linear(cut: Cut, apply: Any, scale_outputs: Any, extent: Extent | None) -> Operation:
    """Return a linear map if only the first input depends on the images, otherwise `Opaque`."""
    x, weights = cut.operation.inputs[:2]
    is_of_weights = len(cut.reads) == 1 and cut.reads[0] is x and weights.shape.is_fully_defined()
    if not is_of_weights or _data_format(cut.operation) == "channels_first":
        return _unknown(cut)
    read = cut.replay([], [weights])
    return Linear(
        name=cut.name,
        apply=apply,
        read_kernel=lambda dtype: tf.cast(read()[0], dtype),
        scale_outputs=scale_outputs,
        extent=extent,
    )


def _unknown(cut: Cut) -> Operation:
    return Opaque(name=cut.name)


def _extent(operation: tf.Operation) -> Extent:
    return Extent(
        size=tuple(operation.inputs[1].shape[:2]),
        strides=_inner(operation, "strides"),
        padding=_padding_before(operation),
        dilation=_inner(operation, "dilations"),
    )


def _inner(operation: tf.Operation, name: str) -> tuple[int, ...]:
    """Return the height and width entries from an attribute that lists all axes."""
    return tuple(operation.get_attr(name)[1:-1])


def _padding(operation: tf.Operation) -> str:
    return str(operation.get_attr("padding").decode().lower())


def _paddings(operation: tf.Operation) -> str | list[list[int]]:
    """Return the padding in the form that tf.nn.conv2d expects."""
    padding = _padding(operation)
    numbers = operation.get_attr("explicit_paddings") if padding == "explicit" else []
    return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)] if numbers else padding.upper()


def _padding_before(operation: tf.Operation) -> str | tuple[int, ...]:
    """Return the padding's name or, if it is explicit, the amount before each spatial axis."""
    padding = _padding(operation)
    return padding if padding != "explicit" else tuple(operation.get_attr("explicit_paddings")[2:-2:2])


def _rows(row: Row, names: str) -> dict[str, Row]:
    return dict.fromkeys(names.split(), row)


TABLE: Mapping[str, Row] = {
    "Relu": lambda cut: Relu(name=cut.name),
    "Relu6": lambda cut: Relu(name=cut.name, max_value=6.0),
    **_rows(_activation(1), "Sigmoid Softplus Softsign LeakyRelu Elu Selu Tanh"),
    **_rows(_function(1), "Softmax LogSoftmax Abs Square Sqrt Exp Expm1 Log Log1p Erf"),
    **_rows(_pool(is_max=True), "MaxPool MaxPool3D"),
    **_rows(_pool(is_max=False), "AvgPool AvgPool3D"),
    **_rows(_reduction(is_max=True), "Max"),
    **_rows(_reduction(is_max=False), "Mean Sum"),
    **_rows(_arithmetic(keras_ops.add_numbers, keras_ops.several(Sum)), "Add AddV2 AddN BiasAdd"),
    "Mul": _arithmetic(keras_ops.multiply_numbers, keras_ops.several(Product)),
    "Sub": _arithmetic(keras_ops.subtract_numbers, keras_ops.several(Difference)),
    "RealDiv": _arithmetic(keras_ops.divide_numbers, keras_ops.several(Normalization)),
    "DivNoNan": _arithmetic(keras_ops.divide_numbers, keras_ops.several(Normalization)),
    "Pow": _arithmetic(keras_ops.power_numbers, keras_ops.mixed),
    "Neg": lambda cut: keras_ops.affine(cut.name, -1),
    **_rows(_of(Choice), "Maximum Minimum ClipByValue"),
    **_rows(_of(Normalization), "FusedBatchNormV3 LRN"),
    **_rows(_of(Identity), "Identity EnsureShape CheckNumerics"),
    # Quantization rounds each element, but its gradient is that of the identity.
    **_rows(_rounding, "FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel"),
    **_rows(_rounding, "QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4"),
    "Cast": _cast,
    **_rows(_of(Reshape), "Reshape Squeeze ExpandDims"),
    **_rows(_of(Move), "Slice Tile Roll BroadcastTo DepthToSpace SpaceToDepth IdentityN"),
    **_rows(_of(Move), "Pack Unpack Pad PadV2 MirrorPad StridedSlice SplitV Split GatherV2 ReverseV2 ResizeNearestNeighbor"),
    **_rows(_of(Resize), "ResizeBilinear ResizeBicubic"),
    "ConcatV2": _concatenate,
    "Transpose": _transpose,
    **_rows(_of(Constant), "ZerosLike OnesLike Shape"),
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "MatMul": _product("transpose_a", "transpose_b"),
    "BatchMatMulV2": _product("adj_x", "adj_y"),
    **_rows(_of(Contraction), "BatchMatMulV3 Einsum"),
    **_rows(_function(0), "FloorDiv FloorMod Select SelectV2 SquaredDifference Floor Ceil Round Rint Sign Reciprocal Inv"),
    **_rows(_activation(0), "Sin Cos"),
    **_rows(_function(0), "Rsqrt Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erfc Erfinv Xlogy Xdivy StopGradient"),
    **_rows(_function(0), "Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr LogicalNot IsNan IsInf"),
    **_rows(_function(0), "IsFinite"),
}

PRIMITIVES = {
    "Maximum": Primitive.MAXIMUM,
    "Minimum": Primitive.MINIMUM,
    "SelectV2": Primitive.WHERE,
    "Select": Primitive.WHERE,
    "Mul": Primitive.MULTIPLY,
    "Cast": Primitive.CAST,
    "Greater": Primitive.GREATER,
    "GreaterEqual": Primitive.GREATER,
    "Less": Primitive.LESS,
    "LessEqual": Primitive.LESS,
}


def description_of(cut: Cut) -> Operation:
    """Describe an operation in a traced function."""
    if any(map(takes_functions, (cut.operation, *cut.inside))):
        return Opaque(name=cut.name, reason="runs user functions", runs_functions=True)
    if _reads_sizes_only(cut):
        return Constant(name=cut.name)
    row = TABLE.get(cut.operation.type)
    return _unknown(cut) if row is None else row(cut)


def _reads_sizes_only(cut: Cut) -> bool:
    """Return whether an operation depends only on sizes, as in tf.ones(tf.shape(x))."""
    names = {x.name for x in cut.reads}
    readers = [one for one in (cut.operation, *cut.inside) if any(x.name in names for x in one.inputs)]
    return bool(readers) and all(map(is_shape, readers))


def expression_of(operation: tf.Operation) -> Expression:
    """Express an operation in terms of the primitives that handwritten ReLUs consist of."""
    operands = tuple(_constant_or_tensor(x) for x in operation.inputs)
    return Expression(PRIMITIVES.get(operation.type), operands, lambda x: expression_of(x.op) if tf.is_tensor(x) else None)


def _constant_or_tensor(tensor: tf.Tensor) -> Any:
    if tensor.op.type == "ZerosLike":
        return np.zeros((1,), np.float32)
    value = tf.get_static_value(tensor)
    return tensor if value is None else value


def silu_argument(operation: tf.Operation) -> tf.Tensor | None:
    """Return x if this operation completes `tf.nn.silu(x)`, otherwise None."""
    # The third input is the factor beta.
    if len(operation.inputs) != 3 or tf.get_static_value(operation.inputs[2]) != 1:
        return None
    product, x = operation.inputs[0].op, operation.inputs[1]
    is_silu = product.type == "Mul" and product.inputs[0] is x and product.inputs[1].op.type == "Sigmoid"
    return x if is_silu else None


SILU = Elementwise(name="Silu", function="silu", is_activation=True)


def is_variable_read(operation: tf.Operation) -> bool:
    """Return whether an operation reads a variable's value."""
    return operation.type == "ReadVariableOp"


def is_shape(operation: tf.Operation) -> bool:
    """Return whether an operation computes its inputs' sizes."""
    return operation.type in ("Shape", "ShapeN")


def is_constant(operation: tf.Operation) -> bool:
    """Return whether an operation is a constant."""
    return operation.type == "Const"


def is_input(operation: tf.Operation) -> bool:
    """Return whether an operation is one of its function's inputs."""
    return operation.type == "Placeholder"


# --- contents of a traced function ----------------------------------------------------------------

# In a trace, a call to a tf.function is one of these operations.
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
_SIDE_EFFECTS = ("Random", "Rng", "Multinomial", "Normal", "Assign", "PyFunc")

# These operations mix pixels: some have a window, some move pixels, and some are products that
# combine the positions of two maps.
_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2"})
_WINDOWED = frozenset({"MaxPool", "MaxPoolV2", "MaxPool3D", "AvgPool", "AvgPool3D", "Dilation2D", "Cumsum", "Cumprod"})
_MOVING = frozenset({"ReverseV2", "Roll", "ImageProjectiveTransformV3", "GatherV2", "GatherNd", "TopKV2"})
_MOVING |= {"FFT2D", "RFFT2D", "IFFT2D"}
_BATCH_PRODUCTS = frozenset({"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"})
_TRANSPARENT = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "Transpose", "StopGradient"})


def takes_functions(operation: tf.Operation) -> bool:
    """Return whether an operation has function attributes, as a loop or a conditional does."""
    return any("func" in attribute.type for attribute in operation.op_def.attr)


def calls_function(operation: tf.Operation) -> bool:
    """Return whether an operation calls a tf.function."""
    return operation.type in _CALLS


def only_runs_whole(operation: tf.Operation) -> bool:
    """Return whether an operation cannot be separated from the rest of its trace.

    This is the case if it draws random numbers, assigns a variable, calls Python or branches.
    """
    return any(word in operation.type for word in _SIDE_EFFECTS) or operation.type in _BRANCHES


def mixes_pixels(function: Any, images: int) -> bool:
    """Return whether any output pixel of a traced function depends on other pixels.

    Args:
        function: a concrete function.
        images: the number of leading inputs that are maps.
    """
    library = function.graph.as_graph_def().library.function
    inside = {node.op for one in library for node in one.node_def}
    if inside & (_CONVOLUTIONS | _WINDOWED | _MOVING | _BATCH_PRODUCTS):
        return True
    maps = {tensor.name for tensor in function.inputs[:images]}
    for operation in function.graph.get_operations():
        read = [tensor.name in maps for tensor in operation.inputs]
        if any(read):
            maps.update(tensor.name for tensor in operation.outputs)
            is_product = operation.type in _BATCH_PRODUCTS or operation.type == "MatMul"
            if _is_windowed(operation) or (is_product and all(read)):
                return True
    return False


def _is_windowed(operation: tf.Operation) -> bool:
    if operation.type in _CONVOLUTIONS:
        kernel = operation.inputs[1].shape  # (height, width, channels, channels)
        return kernel.rank is None or any(n != 1 for n in kernel[:-2])
    if operation.type == "Transpose":
        order = tf.get_static_value(operation.inputs[1])
        return order is None or list(order) != sorted(order)
    return operation.type in _WINDOWED | _MOVING


def runs_relu(function: Any) -> bool:
    """Return whether a traced function or a function that it calls contains a ReLU."""
    definition = function.graph.as_graph_def()
    bodies = [definition.node, *(one.node_def for one in definition.library.function)]
    return any(_is_relu_node(node, {other.name: other for other in body}) for body in bodies for node in body)


def _is_relu_node(node: Any, nodes: Mapping[str, Any]) -> bool:
    sources = [nodes.get(name.split(":")[0]) for name in node.input]
    constants = [tf.make_ndarray(one.attr["value"].tensor) for one in sources if one is not None and one.op == "Const"]
    return node.op in ("Relu", "Relu6") or (node.op == "Maximum" and any(not value.any() for value in constants))


def last_operation(function: Any) -> Elementwise | None:
    """Return an `Elementwise` for the operation that computes a traced function's first output.

    If a called function computes it, as in a SavedModel, the search continues in that function.
    """
    if not function.outputs:
        return None
    output = _before_moves(function.outputs[0])
    operation = output.op
    kind = _softmax_or(operation.type, lambda: _exponential_or_type(_before_moves(operation.inputs[0]).op))
    if calls_function(operation):
        library = {one.signature.name: one for one in function.graph.as_graph_def().library.function}
        position = [x.name for x in operation.outputs].index(output.name)
        kind = _last_type_in_library(library, operation.get_attr("f").name, position)
    return keras_ops.elementwise(kind, kind.lower())


def _softmax_or(kind: str, numerator: Callable[[], str]) -> str:
    """Return "Softmax" if an operation of type `kind` divides an exponential, otherwise `kind`."""
    return "Softmax" if kind in ("RealDiv", "DivNoNan") and numerator() == "Exp" else kind


def _exponential_or_type(operation: tf.Operation) -> str:
    """Return "Exp" for a power with a constant base, and otherwise the operation's type."""
    return "Exp" if operation.type == "Pow" and is_constant(operation.inputs[0].op) else str(operation.type)


def _before_moves(tensor: tf.Tensor) -> tf.Tensor:
    while tensor.op.type in _TRANSPARENT:
        tensor = tensor.op.inputs[0]
    return tensor


def _last_type_in_library(library: Mapping[str, Any], name: str, position: int) -> str:
    """Return the type of the operation that computes a library function's output.

    If the type is unknown, return "".
    """
    definition = library.get(name)
    if definition is None:
        return ""
    nodes = {node.name: node for node in definition.node_def}
    tensor, node = _node_before_moves(nodes, definition.ret[definition.signature.output_arg[position].name])
    if node is None:
        return ""
    if node.op in _CALLS:
        return _last_type_in_library(library, node.attr["f"].func.name, int(tensor.split(":")[-1]))
    source = node.input[0] if node.input else ""
    return _softmax_or(str(node.op), lambda: _exponential_or_node_type(nodes, _node_before_moves(nodes, source)[1]))


def _exponential_or_node_type(nodes: Mapping[str, Any], node: Any) -> str:
    base = nodes.get(node.input[0].split(":")[0]) if node is not None and node.op == "Pow" else None
    return "Exp" if base is not None and base.op == "Const" else str(getattr(node, "op", ""))


def _node_before_moves(nodes: Mapping[str, Any], tensor: str) -> tuple[str, Any]:
    """Return the tensor before any moves that lead to the given tensor, and its node."""
    node = nodes.get(tensor.split(":")[0])
    while node is not None and node.op in _TRANSPARENT:
        tensor = node.input[0]
        node = nodes.get(tensor.split(":")[0])
    return tensor, node
