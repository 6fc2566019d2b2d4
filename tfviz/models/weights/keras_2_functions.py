"""Functions that Keras 2 recorded in a model's graph, or computes differently, written in keras.ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfviz.errors import UnsupportedModelError

Config = dict[str, Any]
Tensor = Any  # a tf.Tensor or a keras.KerasTensor


@keras.saving.register_keras_serializable("tfviz")
def keras_2_hard_sigmoid(x: Tensor) -> Tensor:
    """Keras 2's hard sigmoid, 0.2 x + 0.5 clipped to 0..1; Keras 3 clips x / 6 + 0.5."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _padded(tensor: Tensor, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Tensor:
    is_constant = mode.upper() == "CONSTANT"
    return ops.pad(tensor, paddings, mode.lower(), constant_values=constant_values if is_constant else None)


def _resized(images: Tensor, size: Any, method: str = "bilinear", antialias: bool = False) -> Tensor:
    return ops.image.resize(images, size, interpolation=method, antialias=antialias, data_format="channels_last")


def _sliced(tensor: Tensor, slice_spec: Any) -> Tensor:
    return tensor[_index(slice_spec)]


def _index(part: Any) -> Any:
    if isinstance(part, list):
        return tuple(_index(one) for one in part)
    if not isinstance(part, dict):
        return part
    if part.get("class_name") == "__ellipsis__":
        return Ellipsis
    return slice(part["start"], part["stop"], part["step"])


# What Keras 2 calls a function (without "tf."), and the same in keras.ops. The first parameter is the node's own input.
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "__operators__.add": lambda x, y: x + y,
    "__operators__.getitem": _sliced,
    "math.add": lambda x, y: x + y,
    "math.subtract": lambda x, y: x - y,
    "math.multiply": lambda x, y: x * y,
    "math.divide": lambda x, y: x / y,
    "math.truediv": lambda x, y: x / y,
    "math.floordiv": lambda x, y: x // y,
    "math.pow": lambda x, y: ops.power(x, y),
    "math.maximum": lambda x, y: ops.maximum(x, y),
    "math.minimum": lambda x, y: ops.minimum(x, y),
    "math.squared_difference": lambda x, y: ops.square(x - y),
    "math.greater": lambda x, y: x > y,
    "math.greater_equal": lambda x, y: x >= y,
    "math.less": lambda x, y: x < y,
    "math.less_equal": lambda x, y: x <= y,
    "math.negative": lambda x: -x,
    "math.abs": ops.absolute,
    "math.sign": lambda x: ops.sign(x),
    "math.square": ops.square,
    "math.sqrt": ops.sqrt,
    "math.rsqrt": lambda x: ops.rsqrt(x),
    "math.exp": ops.exp,
    "math.log": lambda x: ops.log(x),
    "math.log1p": lambda x: ops.log1p(x),
    "math.sin": lambda x: ops.sin(x),
    "math.cos": lambda x: ops.cos(x),
    "math.erf": lambda x: ops.erf(x),
    "math.sigmoid": ops.sigmoid,
    "math.softplus": lambda features: ops.softplus(features),
    "math.tanh": ops.tanh,
    "math.l2_normalize": lambda x, axis=-1, epsilon=1e-12: (
        x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis, True), epsilon))
    ),
    "nn.bias_add": lambda value, bias: value + ops.convert_to_tensor(bias, dtype=value.dtype),
    "nn.tanh": ops.tanh,
    "nn.sigmoid": ops.sigmoid,
    "nn.relu": ops.relu,
    "nn.relu6": ops.relu6,
    "nn.elu": ops.elu,
    "nn.selu": ops.selu,
    "nn.silu": lambda features, beta=1.0: features * ops.sigmoid(beta * features),
    "nn.gelu": lambda x, approximate=False: ops.gelu(x, approximate),
    "nn.leaky_relu": lambda x, alpha=0.2: ops.leaky_relu(x, alpha),
    "nn.softmax": lambda x, axis=None: ops.softmax(x, -1 if axis is None else axis),
    "nn.log_softmax": lambda x, axis=None: ops.log_softmax(x, -1 if axis is None else axis),
    "math.reduce_sum": lambda x, axis=None, keepdims=False: ops.sum(x, axis, keepdims),
    "math.reduce_mean": lambda x, axis=None, keepdims=False: ops.mean(x, axis, keepdims),
    "math.reduce_max": lambda x, axis=None, keepdims=False: ops.max(x, axis, keepdims),
    "math.reduce_min": lambda x, axis=None, keepdims=False: ops.min(x, axis, keepdims),
    "concat": lambda x, axis: ops.concatenate(x, axis),
    "stack": lambda x, axis=0: ops.stack(x, axis),
    "math.add_n": lambda x: sum(x[1:], x[0]),
    "clip_by_value": lambda x, clip_value_min, clip_value_max: ops.minimum(ops.maximum(x, clip_value_min), clip_value_max),
    "where": lambda condition, x, y: ops.where(condition, x, y),
    "linalg.matmul": lambda a, b, transpose_a=False, transpose_b=False: ops.matmul(
        ops.swapaxes(a, -1, -2) if transpose_a else a, ops.swapaxes(b, -1, -2) if transpose_b else b
    ),
    "reshape": lambda x, shape: ops.reshape(x, shape),
    "transpose": lambda x, perm=None: ops.transpose(x, perm),
    "reverse": lambda x, axis: ops.flip(x, axis),
    "tile": lambda x, multiples: ops.tile(x, multiples),
    "squeeze": lambda x, axis=None: ops.squeeze(x, axis),
    "expand_dims": lambda x, axis: ops.expand_dims(x, axis),
    "pad": _padded,
    "image.resize": _resized,
    "cast": lambda x, dtype: ops.cast(x, dtype),
    "ones_like": lambda x: ops.ones_like(x),
    "zeros_like": lambda x: ops.zeros_like(x),
    "identity": lambda x: x,
    "stop_gradient": lambda x: ops.stop_gradient(x),
}
_SAME = {
    "__operators__.truediv": "math.truediv",
    "nn.l2_normalize": "math.l2_normalize",
    "nn.softplus": "math.softplus",
    "nn.swish": "nn.silu",
    "concatenate": "concat",
    "compat.v1.pad": "pad",
    "compat.v1.transpose": "transpose",
}
FUNCTIONS.update({other: FUNCTIONS[name] for other, name in _SAME.items()})


def parameters_of(function: str, layer: str) -> list[str]:
    """The names of the function's parameters. Raises UnsupportedModelError for a function that keras.ops does not have."""
    if function not in FUNCTIONS:
        raise UnsupportedModelError(
            f"the model calls the TensorFlow function tf.{function} (layer '{layer}'), which tfviz cannot read from a file of "
            f"Keras 2; it knows {', '.join(sorted(FUNCTIONS))}. Build the model anew in Keras 3 with keras.ops, and load "
            "the weights: model.load_weights(file)"
        )
    return list(inspect.signature(FUNCTIONS[function]).parameters)


@keras.saving.register_keras_serializable("tfviz")
class TensorFlowFunction(layers.Layer):
    """A function of TensorFlow in the graph of a Keras 2 model, computed by keras.ops.

    Args:
        function: its name as Keras 2 writes it, such as "math.multiply".
        arguments: its arguments by name, the first one first. A layer's output is None here, and an input of the call.
        constants: the names of arguments that are None and no input of the call.
    """

    def __init__(self, function: str, arguments: Config, constants: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.function, self.arguments, self.constants = function, arguments, constants or []

    def call(self, inputs: Tensor | list[Tensor]) -> Tensor:
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        first_name = parameters_of(self.function, self.name)[0]
        first = self.arguments[first_name]
        if isinstance(first, list):
            own: Any = [given.pop(0) if value is None else value for value in first]
        else:
            own = given.pop(0) if first is None else first
        rest = {name: value for name, value in self.arguments.items() if name != first_name}
        filled = {name: given.pop(0) if v is None and name not in self.constants else v for name, v in rest.items()}
        return FUNCTIONS[self.function](_array(own), **{name: _array(value) for name, value in filled.items()})

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "function": self.function,
            "arguments": self.arguments,
            "constants": self.constants,
        }


def _array(value: Any) -> Any:
    """A constant tensor of floats as an array; lists of whole numbers are axes, shapes or paddings."""
    leaf = value
    while isinstance(leaf, list) and leaf:
        leaf = leaf[0]
    return np.asarray(value, "float32") if isinstance(value, list) and isinstance(leaf, float) else value
