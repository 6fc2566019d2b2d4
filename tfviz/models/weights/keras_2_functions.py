"""The keras.ops equivalents of TensorFlow functions recorded in Keras 2 model graphs."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tfviz.errors import UnsupportedModelError

Config = dict[str, Any]
Tensor = Any  # a tf.Tensor or a keras.KerasTensor
Numbers: TypeAlias = "int | tuple[int | None, ...] | list[Any] | None"

# The KerasTensor attribute for values that were computed from a shape.
_NUMBERS = "numbers_from_shape"
_GET_ITEM = "__operators__.getitem"
_SHAPES = ("shape", "compat.v1.shape")


@keras.saving.register_keras_serializable("tfviz")
def keras_2_hard_sigmoid(x: Tensor) -> Tensor:
    """Compute Keras 2's hard sigmoid, 0.2 x + 0.5 clipped to [0, 1]. Keras 3 clips x / 6 + 0.5."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def _padded(tensor: Tensor, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Tensor:
    is_constant = mode.upper() == "CONSTANT"
    return ops.pad(tensor, paddings, mode.lower(), constant_values=constant_values if is_constant else None)


def _resized(images: Tensor, size: Any, method: str = "bilinear", antialias: bool = False) -> Tensor:
    if method in ("gaussian", "mitchellcubic"):  # keras.ops supports neither method
        return tf.image.resize(images, size, method, antialias=antialias)
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


# Maps each function's name in Keras 2, without "tf.", to the function's keras.ops equivalent. The
# first parameter of the equivalent is the node's input.
FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "__operators__.add": lambda x, y: x + y,
    _GET_ITEM: _sliced,
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
    "keras.backend.batch_flatten": lambda x: ops.reshape(x, (-1, math.prod(x.shape[1:]))),
    "stop_gradient": lambda x: ops.stop_gradient(x),
}
_ALIASES = {  # maps another name of a function to its name in FUNCTIONS
    "__operators__.truediv": "math.truediv",
    "nn.l2_normalize": "math.l2_normalize",
    "nn.softplus": "math.softplus",
    "nn.swish": "nn.silu",
    "concatenate": "concat",
    "compat.v1.floor_div": "math.floordiv",
    "compat.v1.pad": "pad",
    "compat.v1.transpose": "transpose",
}
FUNCTIONS.update({other: FUNCTIONS[name] for other, name in _ALIASES.items()})

# Functions in these TensorFlow modules, and these top-level functions, have no side effects.
_MODULES = ("math", "nn", "image", "linalg", "signal", "bitwise")
_TOP_LEVEL = re.findall(
    r"\w+",
    """
    abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space bitcast boolean_mask
    broadcast_dynamic_shape broadcast_static_shape broadcast_to cast clip_by_norm clip_by_value complex concat
    convert_to_tensor cos cosh cumsum divide edit_distance einsum ensure_shape equal exp expand_dims eye fill
    fingerprint floor floor_div gather gather_nd greater greater_equal histogram_fixed_width identity less less_equal
    linspace logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm not_equal one_hot
    ones ones_like pad parallel_stack pow range rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max
    reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse reverse_sequence roll round saturate_cast
    scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice sort space_to_batch
    space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract tan tanh
    tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update
    tensordot tile transpose truediv truncatediv truncatemod unique unstack where zeros zeros_like
    """,
)
_RANDOM = re.compile("random|dropout|sample|candidate|fractional")
_PREFIXES = ("compat.v1.", "compat.v2.")


def require_supported(function: str, layer: str) -> None:
    """Raise UnsupportedModelError if Keras 2 files are not allowed to call this function."""
    if function not in FUNCTIONS and _in_tensorflow(function) is None:
        raise UnsupportedModelError(
            f"Layer '{layer}' calls tf.{function}, which tfviz does not run for Keras 2 files. Only array functions such as "
            f"tf.concat and the functions in tf.{', tf.'.join(_MODULES)} are supported, except those that draw random numbers "
            "or read files. Rebuild the model in Keras 3 with keras.ops, and load the weights: model.load_weights(file)."
        )


def _in_tensorflow(function: str) -> Callable[..., Tensor] | None:
    """Return the TensorFlow function with this name if it has no side effects, or else None."""
    prefix = next((one for one in _PREFIXES if function.startswith(one)), "")
    *modules, name = function.removeprefix(prefix).split(".")
    is_allowed = name in _TOP_LEVEL if not modules else len(modules) == 1 and modules[0] in _MODULES
    if not is_allowed or _RANDOM.search(name) or not re.fullmatch("[a-z][a-z0-9_]*", name):
        return None
    module: Any = tf
    for part in [*prefix.split(".")[:-1], *modules]:
        module = getattr(module, part)
    found = getattr(module, name, None)
    return found if inspect.isfunction(found) else None


@keras.saving.register_keras_serializable("tfviz")
class TensorFlowFunction(layers.Layer):
    """A layer that runs a TensorFlow function from a Keras 2 model's graph.

    The layer uses the keras.ops equivalent if it computes the same result, and the TensorFlow
    function otherwise.

    Args:
        function: the function's name in Keras 2, such as "math.multiply".
        first: the first argument. In it, {"input": number} stands for an input of the call.
        arguments: the other arguments, keyed by name, in the same form.
    """

    def __init__(self, function: str, first: Any, arguments: Config, **options: Any) -> None:
        super().__init__(**options)
        require_supported(function, self.name)
        self.function, self.first, self.arguments = function, first, arguments
        self._constants: dict[int, np.ndarray] = {}

    def compute_output_spec(self, inputs: Tensor | list[Tensor]) -> Tensor:
        """Infer the output shape, which may depend on numbers computed from another shape.

        Like Keras 2, this method tracks such numbers through the graph. Otherwise, a Dense layer
        after `x[:, : tf.shape(x)[1] // 2]` could not be built.
        """
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        numbers = [getattr(x, _NUMBERS, None) for x in given]
        self._constants = {i: np.array(one, given[i].dtype) for i, one in enumerate(numbers) if _is_known(one)}
        try:
            outputs = super().compute_output_spec(inputs)
            if isinstance(outputs, keras.KerasTensor) and outputs.dtype in ("int32", "int64"):
                setattr(outputs, _NUMBERS, self._numbers(given, numbers))
        finally:
            self._constants = {}
        return outputs

    def _numbers(self, given: list[Tensor], numbers: list[Numbers | None]) -> Numbers | None:
        """Return the values of an integer output, or None if they cannot be computed.

        An unknown size in a shape is None.
        """
        if self.function in _SHAPES and len(given) == 1:
            return tuple(given[0].shape)
        if self.function == _GET_ITEM and isinstance(numbers[0], tuple):
            return _item(numbers[0], self.arguments["slice_spec"])
        return np.asarray(self.call([None] * len(given))).tolist() if len(self._constants) == len(given) else None

    def call(self, inputs: Tensor | list[Tensor]) -> Tensor:
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        given = [self._constants.get(i, x) for i, x in enumerate(given)]
        is_float = all(keras.backend.is_float_dtype(x.dtype) or x.dtype == "bool" for x in given)
        function = _function(self.function, self.arguments if is_float else None)
        return function(
            _with_inputs(self.first, given), **{name: _with_inputs(value, given) for name, value in self.arguments.items()}
        )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "function": self.function,
            "first": self.first,
            "arguments": self.arguments,
        }


def _is_known(numbers: Numbers | None) -> bool:
    """Return whether all integers computed from a shape are known."""
    return numbers is not None and None not in keras.tree.flatten([numbers])


def _item(sizes: tuple[int | None, ...], spec: Any) -> Numbers | None:
    """Return the element or slice of a shape selected by a Keras 2 slice_spec."""
    index = _index(spec)
    index = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    return sizes[index] if isinstance(index, (int, slice)) else None


def _function(name: str, arguments: Config | None) -> Callable[..., Tensor]:
    """Return the keras.ops equivalent of a function if it accepts all of these arguments.

    Otherwise, or if `arguments` is None, TensorFlow's function is preferred.
    """
    known = FUNCTIONS.get(name)
    if known is None or arguments is None or not arguments.keys() <= inspect.signature(known).parameters.keys():
        known = _in_tensorflow(name) or known
    if known is None:
        raise LookupError(name)  # cannot happen after require_supported
    return known


def _with_inputs(value: Any, inputs: list[Tensor]) -> Any:
    """Replace each {"input": number} in an argument with that input of the call.

    A list of numbers that includes a float represents a constant tensor, so it is converted to an
    array. A list of integers represents axes or a shape, so it remains a list.
    """
    if isinstance(value, dict):
        return (
            inputs[value["input"]]
            if value.keys() == {"input"}
            else {key: _with_inputs(one, inputs) for key, one in value.items()}
        )
    if not isinstance(value, (list, tuple)):
        return value
    leaves = keras.tree.flatten(value)
    if leaves and all(isinstance(leaf, (int, float)) for leaf in leaves) and any(isinstance(leaf, float) for leaf in leaves):
        return np.asarray(value, "float32")
    return [_with_inputs(one, inputs) for one in value]
