"""Store a .tflite file's weights as int8, which shrinks the file to about a third of its size.

Before the graph is built, the values of each kernel are rounded to multiples of a step size, from
-127 to 127 steps, with one step size per output channel. The exported explainer therefore explains
the network with rounded weights, and computes in float32. LiteRT's converter would also quantize
activations, which would destroy the small numbers that excitation backprop divides by.

    rounded(function)           rounds a function's weights
    with_int8_weights(model)    converts a .tflite file that was created from such a function;
                                constants whose values are multiples of a step size are
                                stored as int8
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf
    from ai_edge_litert.schema_py_generated import ModelT, SubGraphT

_MIN_SIZE = 1024  # Arrays with fewer values stay in float32, as in LiteRT's converter.
_UNROUNDED_SHARE = 0.1  # the fraction of all weight values to leave unrounded
_MAX_STEPS = 127  # steps on each side of 0
_TOLERANCE = 0.01  # a fraction of a step; float32 rounding causes errors of 1e-5
_SAMPLED = 64  # values per channel that are checked first
_MIN_VALUES_PER_STEP = 16  # the minimum per channel, because each channel also stores a step size
_PER_CHANNEL_VERSION = 5  # the version of DEQUANTIZE that supports step sizes per channel


def rounded(function: tf.types.experimental.ConcreteFunction) -> dict[int, np.ndarray]:
    """Return the rounded weights of a concrete function, keyed by the ids of the variable handles.

    The smallest kernels, which together hold up to a tenth of all weights, are not rounded. They
    usually include those near the input, whose rounding errors would affect all later layers.
    """
    variables = {id(one.handle): one for one in function.graph.variables if len(one.shape) > 1}
    sizes = {key: one.shape.num_elements() for key, one in variables.items()}
    by_size = sorted(sizes, key=sizes.__getitem__)
    shares = np.cumsum([sizes[key] for key in by_size]) / max(sum(sizes.values()), 1)
    large = [key for key, share in zip(by_size, shares, strict=True) if share > _UNROUNDED_SHARE and sizes[key] >= _MIN_SIZE]
    depthwise = _read_depthwise(function)
    return {key: _rounded(variables[key].numpy().astype("float32"), 2 if key in depthwise else 1) for key in large}


def _rounded(values: np.ndarray, channel_axes: int) -> np.ndarray:
    """Round values to multiples of a step size, one for each channel along the last axes."""
    steps = abs(values).max(axis=tuple(range(values.ndim - channel_axes)), keepdims=True) / _MAX_STEPS
    steps[steps == 0] = 1
    return np.round(values / steps) * steps


def _read_depthwise(function: tf.types.experimental.ConcreteFunction) -> set[int]:
    """Return the handle ids of depthwise kernels, whose last two axes are both channel axes."""
    captures = function.inputs[len(function.inputs) - len(function.captured_inputs) :]
    handles = {x.ref(): id(outside) for x, outside in zip(captures, function.captured_inputs, strict=True)}
    found = set()
    for operation in function.graph.get_operations():
        if operation.type in ("ReadVariableOp", "Identity", "ExpandDims") and operation.inputs[0].ref() in handles:
            handles[operation.outputs[0].ref()] = handles[operation.inputs[0].ref()]
        elif operation.type == "DepthwiseConv2dNative" and operation.inputs[1].ref() in handles:
            found.add(handles[operation.inputs[1].ref()])
    return found


def with_int8_weights(model: bytes) -> bytes:
    """Return the .tflite file with its rounded constants stored as int8.

    LiteRT converts these constants back to float32.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromPackedBuf(model, 0)
    for graph in whole.subgraphs:
        buffers = [tensor.buffer for tensor in graph.tensors]
        for number, tensor in enumerate(list(graph.tensors)):
            data = whole.buffers[tensor.buffer].data
            is_weight = tensor.type == schema.TensorType.FLOAT32 and data is not None and len(data) >= 4 * _MIN_SIZE
            if is_weight and buffers.count(tensor.buffer) == 1:
                found = _in_steps(np.asarray(data, np.uint8).view("<f4").reshape(tensor.shape))
                if found is not None:
                    _store(whole, graph, number, *found, schema)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _in_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Return the values as int8 step counts, the step size of each channel, and the channel axis.

    Return None if the values are not multiples of a step size.
    """
    for axis in range(values.ndim):
        if 1 < values.shape[axis] <= values.size // _MIN_VALUES_PER_STEP:
            steps = _steps(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))
            if steps is not None:
                shape = [-1 if i == axis else 1 for i in range(values.ndim)]
                return np.round(values / steps.reshape(shape)).astype(np.int8), steps, axis
    return None


def _steps(by_channel: np.ndarray) -> np.ndarray | None:
    """Return the step size of each row, or None if the values of any row are not multiples of one.

    The largest magnitude in a row is a whole number of steps. It may be less than 127 steps if the
    constant contains only part of the channel.
    """
    largest = abs(by_channel).max(axis=1)
    few = by_channel[:, :: max(by_channel.shape[1] // _SAMPLED, 1)]
    steps = np.ones_like(largest)
    rest = np.flatnonzero(largest)
    for count in range(_MAX_STEPS, 0, -1):
        likely = rest[_are_whole(few[rest], largest[rest] / count)]
        found = likely[_are_whole(by_channel[likely], largest[likely] / count)]
        steps[found] = largest[found] / count
        rest = np.setdiff1d(rest, found)
    return None if len(rest) else steps


def _are_whole(rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return a mask of the rows whose values are all multiples of the step size."""
    counts = rows / steps[:, None]
    return abs(counts - np.round(counts)).max(axis=1, initial=0) < _TOLERANCE


def _store(
    whole: ModelT, graph: SubGraphT, number: int, counts: np.ndarray, steps: np.ndarray, axis: int, schema: ModuleType
) -> None:
    """Replace a float32 constant with an int8 tensor that is dequantized on loading."""
    tensor = graph.tensors[number]
    whole.buffers[tensor.buffer].data = counts.reshape(-1).view(np.uint8)
    quantization = schema.QuantizationParametersT(
        scale=steps, zeroPoint=np.zeros(len(steps), np.int64), quantizedDimension=axis
    )
    graph.tensors.append(
        schema.TensorT(
            shape=tensor.shape,
            type=schema.TensorType.INT8,
            buffer=tensor.buffer,
            name=b"int8/%d" % number,
            quantization=quantization,
        )
    )
    tensor.buffer = 0  # the file's empty buffer
    back = schema.OperatorT(opcodeIndex=_dequantize(whole, schema), inputs=[len(graph.tensors) - 1], outputs=[number])
    graph.operators.insert(0, back)


def _dequantize(whole: ModelT, schema: ModuleType) -> int:
    """Return the index of DEQUANTIZE in the file's operator table, adding it if necessary."""
    code = schema.BuiltinOperator.DEQUANTIZE
    codes = [max(row.builtinCode, row.deprecatedBuiltinCode) for row in whole.operatorCodes]
    if code not in codes:
        row = schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=_PER_CHANNEL_VERSION)
        whole.operatorCodes.append(row)
        codes.append(code)
    return codes.index(code)
