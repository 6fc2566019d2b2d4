"""Rewrite a graph so that its weights become constants.

Kernels and biases are read once and stored in the steps. A BatchNormalization directly after a
linear map is folded into the linear map's kernel and bias. Its own step then returns its input
unchanged:

    s (W x + b) + t = (s W) x + (s b + t)

The steps of other BatchNormalizations store s and t. The types, paths and inputs of all steps stay
the same, so rules and layer search work as before. Excitation backprop still reads the kernel W.
Folding changes the value between the two steps, so a new `Value` represents it.

In bfloat16, the steps up to the second linear map stay in float32. These steps cost little, and
rounding their outputs would change which pixels max pooling selects.

A BatchNormalization before a convolution is not folded. Folding would not be exact with zero
padding, and excitation backprop reads the value between the two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import keras
import tensorflow as tf

from tfviz import keras_internals
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Linear, Normalization

_Compute = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]


def folded(graph: Graph, keep: Collection[Value], dtype: str | None = None, precise: Sequence[Step] = ()) -> Graph:
    """Return the graph with constant weights and with BatchNormalizations folded where possible.

    Args:
        graph: the graph. Its weights are read once, during this call.
        keep: the values that must not change.
        dtype: the dtype to compute in. If None, each layer computes in its own dtype.
        precise: the steps to compute in float32 (see `stem`).
    """
    pairs = _pairs(graph, keep)
    between = {step.outputs[0]: Value(step.outputs[0].shape, step.outputs[0].dtype) for step in pairs}
    norms = set(pairs.values())
    constants = _Constants()
    steps = []
    for step in graph.steps:
        is_last, own = step in precise[-1:], "float32" if step in precise else dtype
        if step in norms:
            step = replace(step, inputs=(between[step.inputs[0]],), compute=_masked(step, list))
        elif _is_foldable_map(step):
            step = _constant_map(step, pairs.get(step), own, constants)
            step = replace(step, outputs=(between.get(step.outputs[0], step.outputs[0]),))
        elif _is_constant_norm(step):
            step = _constant_norm(step, own, constants)
        steps.append(_with_outputs_in(step, dtype) if is_last and dtype else step)
    names = {path: value for path, value in graph.names.items() if value not in between}
    return replace(graph, steps=steps, names=names, compute_dtype=dtype)


def stem(graph: Graph) -> list[Step]:
    """Return the steps from the input up to the second linear map or the first fork."""
    found: list[Step] = []
    value, has_map = graph.inputs[0], False
    while len(graph.inputs) == 1 and len(graph.consumers(value)) == 1 and value not in graph.outputs:
        (step,) = graph.consumers(value)
        if len(step.outputs) > 1 or (has_map and isinstance(step.operation, Linear)):
            break
        found.append(step)
        (value,), has_map = step.outputs, has_map or isinstance(step.operation, Linear)
    outside = {step.layer for step in graph.steps if step not in found}
    while found and found[-1].layer in outside - {None}:  # All steps of a layer share a dtype.
        outside.add(found.pop().layer)
    return found if has_map else []


def _with_outputs_in(step: Step, dtype: str) -> Step:
    return replace(step, compute=_masked(step, lambda tensors: [tf.cast(y, dtype) for y in step.compute(tensors)]))


def _pairs(graph: Graph, keep: Collection[Value]) -> dict[Step, Step]:
    """Map each linear map to the BatchNormalization that can be folded into it."""
    found = {}
    for step in graph.steps:
        (value, *others), linear = step.outputs, step.operation
        readers = graph.consumers(value)
        if not _is_foldable_map(step) or linear.scale_outputs is None:
            continue
        is_seen = value in keep or value in graph.outputs or len(readers) != 1 or bool(others)
        if not is_seen and _is_constant_norm(readers[0]) and value.dtype == readers[0].outputs[0].dtype:
            found[step] = readers[0]
    return found


def _is_foldable_map(step: Step) -> bool:
    return isinstance(step.operation, Linear) and step.operation.read_bias is not None and _computes_in_float32(step)


def _is_constant_norm(step: Step) -> bool:
    norm = step.operation
    has_both = isinstance(norm, Normalization) and norm.channel_scale is not None and norm.channel_shift is not None
    return has_both and _computes_in_float32(step)


def _computes_in_float32(step: Step) -> bool:
    """Return whether a step can use float32 constants.

    Steps that compute in float64 or have time axes cannot.
    """
    return not step.time_axes and _compute_dtype(step) != "float64"


def _compute_dtype(step: Step) -> str:
    """Return a step's compute dtype, or float64 for a step without a layer."""
    return getattr(step.layer, "compute_dtype", "float64")


def _constant_map(
    step: Step[Linear], norm: Step[Normalization] | None, dtype: str | None, constants: _Constants
) -> Step[Linear]:
    linear, dtype = step.operation, dtype or _compute_dtype(step)
    kernel = plain = linear.read_kernel("float32")
    bias = linear.read_bias("float32") if linear.read_bias else None
    if norm is not None and linear.scale_outputs and norm.operation.channel_scale and norm.operation.channel_shift:
        scale, shift = norm.operation.channel_scale(), norm.operation.channel_shift()
        kernel = linear.scale_outputs(kernel, scale)
        bias = shift if bias is None else bias * scale + shift
    kernel = constants.of(step, kernel, dtype)
    bias = None if bias is None else constants.of(step, bias, dtype)
    original = kernel if norm is None and dtype == "float32" else constants.of(step, plain, "float32")

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        y = linear.apply(tf.cast(tensors[0], dtype), tf.convert_to_tensor(kernel))
        return [y if bias is None else _plus(y, tf.convert_to_tensor(bias))]

    def read_kernel(dtype: str) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(original), dtype)

    operation = replace(linear, read_kernel=read_kernel, is_constant=True)
    return replace(step, operation=operation, compute=_masked(step, compute))


def _plus(y: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Add a bias to each channel, using an operation that fuses with convolutions if possible."""
    return tf.nn.bias_add(y, bias) if bias.shape.rank == 1 and 2 <= len(y.shape) <= 5 else y + bias


def _constant_norm(step: Step[Normalization], dtype: str | None, constants: _Constants) -> Step[Normalization]:
    norm, dtype = step.operation, dtype or _compute_dtype(step)
    if norm.channel_scale is None or norm.channel_shift is None:
        return step
    scale, shift = (constants.of(step, read(), "float32") for read in (norm.channel_scale, norm.channel_shift))

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        y = tf.cast(tensors[0], tf.float32) * tf.convert_to_tensor(scale)
        return [tf.cast(_plus(y, tf.convert_to_tensor(shift)), dtype)]

    operation = replace(norm, channel_scale=lambda: tf.convert_to_tensor(scale), channel_shift=None)
    return replace(step, operation=operation, compute=_masked(step, compute))


class _Constants:
    """Holds tensors in variables that share their memory and are never reassigned.

    A layer that the model calls several times has one step per call. These steps share variables.
    """

    def __init__(self) -> None:
        self._of_layer: dict[keras.Operation | None, list[tf.Variable]] = defaultdict(list)

    def of(self, step: Step, x: tf.Tensor, dtype: str) -> tf.Variable:
        """Return a variable that contains the tensor, cast to the given dtype."""
        x, known = tf.cast(x, dtype), self._of_layer[step.layer]
        for variable in known:
            if variable.dtype == x.dtype and variable.shape == x.shape and bool(tf.reduce_all(variable == x)):
                return variable
        known.append(tf.Variable(x, trainable=False))
        return known[-1]


def _masked(step: Step, compute: _Compute) -> _Compute:
    """Wrap `compute` to propagate the Keras mask as the layer does."""
    if not getattr(step.layer, "supports_masking", False):
        return compute
    return lambda tensors: [keras_internals.with_mask_of(tensors[0], y) for y in compute(tensors)]
