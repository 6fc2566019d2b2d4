"""TensorFlow's own operations, as operations of a graph: what they are in Keras' words, and how to run one again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfviz.graph.linear import LinearMap, scale_depthwise
from tfviz.graph.replay import Replay, can_run

# TensorFlow's names, where Keras has others for the same.
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


_DATA_FORMATS = {b"NCHW": "channels_first", b"NCDHW": "channels_first", b"NCW": "channels_first"}


class TensorFlowOperation:
    """One operation of TensorFlow in a traced function; called on the tensors that it is given at run time.

    What it reads beside those (weights, constants, shapes) is computed anew in each call. Each sort of operation is a class
    of its own, for it is by the names of classes that kinds are known.
    """

    activation = bias = None
    linear_maps: tuple[LinearMap, ...] = ()
    runs_functions = False
    numbers: Sequence[Any] = ()  # what an operation of arithmetic is applied to, None for a tensor that is given, 1 for weights

    def __init__(self, name: str, run: Callable[..., Any], compute_dtype: str) -> None:
        self.name, self._run, self.compute_dtype = name, run, compute_dtype
        self._read_kernel: Callable[[], Any] | None = None

    def __call__(self, *tensors: Any) -> Any:
        return self._run(*tensors)

    @property
    def kernel(self) -> Any:
        """The weights of a linear map, as they are now."""
        assert self._read_kernel is not None
        (kernel,) = self._read_kernel()
        return kernel


def name_of(operation: Any) -> str:
    """What Keras calls such an operation of TensorFlow, or TensorFlow itself where Keras has none."""
    return _KERAS_NAMES.get(operation.type, operation.type)


def operation_of(
    function: Any, operation: Any, reads: Sequence[Any], outputs: Sequence[Any], inside: Sequence[Any]
) -> TensorFlowOperation:
    """An operation of a traced function.

    Args:
        function: the whole function, as `tf.compat.v1.wrap_function` traced it.
        operation: the operation in its graph.
        reads: the tensors in that graph that a call of the operation is given.
        outputs: those that it gives.
        inside: the operations that are computed along with it.
    """
    name = name_of(operation)
    if name == "Cast" and not operation.inputs[0].dtype.is_floating and reads[0] is not operation.inputs[0]:
        name = "Condition"  # 0 or 1, as some comparison has it: not what it was before the cast
    run = _cut(function, reads, outputs)
    made = type(name, (TensorFlowOperation,), {})(operation.name, run, outputs[0].dtype.name)
    attributes = [attribute.type for one in (operation, *inside) for attribute in one.op_def.attr]
    made.runs_functions = any("func" in kind for kind in attributes)
    is_given = [any(x is other for other in reads) for x in operation.inputs]
    static = map(tf.get_static_value, operation.inputs)
    made.numbers = [None if given else 1 if x is None else x for x, given in zip(static, is_given, strict=True)]
    if any(attribute.name == "data_format" for attribute in operation.op_def.attr):
        made.data_format = _DATA_FORMATS.get(operation.get_attr("data_format"), "channels_last")
    if name == "Transpose":
        made.axes = tf.get_static_value(operation.inputs[1])
    elif name == "Concatenate":
        made.axis = int(tf.get_static_value(operation.inputs[-1]))
    elif name in ("MaxPool", "AveragePool"):
        made.pool_size, made.strides = _inner(operation, "ksize"), _inner(operation, "strides")
        made.padding = _padded_before(operation)
    elif operation.type in _LINEAR and _is_linear(operation, reads):
        made.linear_maps = (_linear_map(operation),)
        made._read_kernel = _cut(function, [], [operation.inputs[1]])
        if operation.type not in _TRANSPOSED:
            made.kernel_size = tuple(operation.inputs[1].shape[:2])
            made.strides, made.dilation_rate = _inner(operation, "strides"), _inner(operation, "dilations")
            made.padding = _padded_before(operation)
            made.paddings = _paddings(operation)
    return made


def _cut(function: Any, reads: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., Any]:
    """What leads from some tensors of a traced function to others; where functions are called on the way, as one function."""
    replay = Replay(function, reads, outputs)
    return replay if all(map(can_run, replay.operations)) else function.prune(list(reads), list(outputs))


def operation_named(name: str, operation: Any, function: Callable[[Any], Any]) -> TensorFlowOperation:
    """A function of one tensor that is written out in several operations, of which this is the last."""
    return type(name, (TensorFlowOperation,), {})(operation.name, lambda x: [function(x)], operation.outputs[0].dtype.name)


def _inner(operation: Any, name: str) -> tuple[int, ...]:
    """An attribute that counts along height and width, of one that counts along all axes."""
    return tuple(operation.get_attr(name)[1:-1])


def _padding(operation: Any) -> str:
    return str(operation.get_attr("padding").decode().lower())


def _paddings(operation: Any) -> str | list[list[int]]:
    """The padding as tf.nn.conv2d takes it."""
    padding = _padding(operation)
    numbers = operation.get_attr("explicit_paddings") if padding == "explicit" else []
    return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)] if numbers else padding.upper()


def _padded_before(operation: Any) -> str | tuple[int, ...]:
    """The padding by its name, or as it is given: how much there is before the first element, along each axis."""
    padding = _padding(operation)
    return padding if padding != "explicit" else tuple(operation.get_attr("explicit_paddings")[2:-2:2])


# --- linear maps ----------------------------------------------------------------------------------------------------


def _convolution(layer: Any, x: Any, kernel: Any) -> Any:
    return tf.nn.conv2d(x, kernel, layer.strides, layer.paddings, dilations=layer.dilation_rate)


def _depthwise(layer: Any, x: Any, kernel: Any) -> Any:
    strides, dilations = (1, *layer.strides, 1), layer.dilation_rate
    return tf.nn.depthwise_conv2d(x, kernel, strides, layer.padding.upper(), dilations=dilations)


def _product(layer: Any, x: Any, kernel: Any) -> Any:
    return tf.matmul(x, kernel)


def _product_transposed(layer: Any, x: Any, kernel: Any) -> Any:
    return tf.matmul(x, kernel, transpose_b=True)


_LINEAR = {
    "Conv2D": LinearMap(_convolution, "kernel", has_bias=False),
    "DepthwiseConv2dNative": LinearMap(_depthwise, "kernel", has_bias=False, scale_outputs=scale_depthwise),
    "MatMul": LinearMap(_product, "kernel", has_bias=False),
    "BatchMatMulV2": LinearMap(_product, "kernel", has_bias=False),
}
_TRANSPOSED = {"MatMul": ("transpose_a", "transpose_b"), "BatchMatMulV2": ("adj_x", "adj_y")}


def _is_linear(operation: Any, reads: Sequence[Any]) -> bool:
    """Whether the first of two inputs is made of the images and the second is weights, in a form that is known."""
    is_of_weights = len(reads) == 1 and reads[0] is operation.inputs[0] and operation.inputs[1].shape.is_fully_defined()
    if not is_of_weights:
        return False
    if operation.type in _TRANSPOSED:
        return operation.inputs[1].shape.rank == 2 and not operation.get_attr(_TRANSPOSED[operation.type][0])
    is_known = _padding(operation) != "explicit" or operation.type == "Conv2D"
    return is_known and operation.get_attr("data_format") == b"NHWC"


def _linear_map(operation: Any) -> LinearMap:
    if operation.type in _TRANSPOSED and operation.get_attr(_TRANSPOSED[operation.type][1]):
        return LinearMap(_product_transposed, "kernel", has_bias=False, scale_outputs=_scale_transposed)
    return _LINEAR[operation.type]


def _scale_transposed(kernel: Any, scale: Any) -> Any:
    return kernel * scale[:, None]
