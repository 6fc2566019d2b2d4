"""A .tflite file with its weights as whole numbers of eight bits: about a third of the size.

Each kernel is rounded to 255 steps, one size of step for each output channel, before anything is
made of it: what the file gives is the explanation of the network with rounded weights. All
computing stays in float32. LiteRT's converter would have activations rounded to eight bits too; of
what excitation backprop divides by small numbers next to nothing would be left.

    rounded(function)           the weights that a function reads, rounded
    with_int8_weights(model)    a file made of such a function, with whatever is whole steps stored
                                as int8
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf
    from ai_edge_litert.schema_py_generated import ModelT, SubGraphT

_SMALLEST = 1024  # numbers; what is smaller stays as it is, as in LiteRT's converter
_KEPT_SHARE = 0.1  # of all weights
_MOST_STEPS = 127  # on either side of 0
_TOLERANCE = 0.01  # of a step; float32 leaves 1e-5
_TRIED = 64  # numbers of a channel by which its steps are found
_TO_SHARE = 16  # numbers of a channel, which has its size of step stored beside them
_PER_CHANNEL_VERSION = 5  # of the operation DEQUANTIZE


def rounded(function: tf.types.experimental.ConcreteFunction) -> dict[int, np.ndarray]:
    """The weights that a concrete function reads, rounded, by the id of the variable's handle.

    The smallest layers keep their own, up to a tenth of all weights: among them are those near the
    image, and what these round away, all others miss.
    """
    variables = {id(one.handle): one for one in function.graph.variables if len(one.shape) > 1}
    sizes = {key: one.shape.num_elements() for key, one in variables.items()}
    by_size = sorted(sizes, key=sizes.__getitem__)
    shares = np.cumsum([sizes[key] for key in by_size]) / max(sum(sizes.values()), 1)
    large = [key for key, share in zip(by_size, shares, strict=True) if share > _KEPT_SHARE and sizes[key] >= _SMALLEST]
    depthwise = _read_depthwise(function)
    return {key: _rounded(variables[key].numpy().astype("float32"), 2 if key in depthwise else 1) for key in large}


def _rounded(values: np.ndarray, channel_axes: int) -> np.ndarray:
    """Values of whole steps; each channel of the last axes has steps of its own."""
    steps = abs(values).max(axis=tuple(range(values.ndim - channel_axes)), keepdims=True) / _MOST_STEPS
    steps[steps == 0] = 1
    return np.round(values / steps) * steps


def _read_depthwise(function: tf.types.experimental.ConcreteFunction) -> set[int]:
    """The weights whose last two axes are both of channels."""
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
    """The file with each constant that is whole steps as int8, brought back to float32 where the
    file is opened.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromPackedBuf(model, 0)
    for graph in whole.subgraphs:
        buffers = [tensor.buffer for tensor in graph.tensors]
        for number, tensor in enumerate(list(graph.tensors)):
            data = whole.buffers[tensor.buffer].data
            is_weight = tensor.type == schema.TensorType.FLOAT32 and data is not None and len(data) >= 4 * _SMALLEST
            if is_weight and buffers.count(tensor.buffer) == 1:
                found = _in_steps(np.asarray(data, np.uint8).view("<f4").reshape(tensor.shape))
                if found is not None:
                    _store(whole, graph, number, *found, schema)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _in_steps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Whole numbers (int8), the size of a step for each channel, and the axis of the channels; None
    if there are none.
    """
    for axis in range(values.ndim):
        if 1 < values.shape[axis] <= values.size // _TO_SHARE:
            steps = _steps(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))
            if steps is not None:
                shape = [-1 if i == axis else 1 for i in range(values.ndim)]
                return np.round(values / steps.reshape(shape)).astype(np.int8), steps, axis
    return None


def _steps(by_channel: np.ndarray) -> np.ndarray | None:
    """The step of each row: its largest number is some whole number of them, fewer than 127 where
    only a part is left.
    """
    largest = abs(by_channel).max(axis=1)
    few = by_channel[:, :: max(by_channel.shape[1] // _TRIED, 1)]
    steps = np.ones_like(largest)
    rest = np.flatnonzero(largest)
    for count in range(_MOST_STEPS, 0, -1):
        likely = rest[_are_whole(few[rest], largest[rest] / count)]
        found = likely[_are_whole(by_channel[likely], largest[likely] / count)]
        steps[found] = largest[found] / count
        rest = np.setdiff1d(rest, found)
    return None if len(rest) else steps


def _are_whole(rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Which rows are whole steps throughout."""
    counts = rows / steps[:, None]
    return abs(counts - np.round(counts)).max(axis=1, initial=0) < _TOLERANCE


def _store(
    whole: ModelT, graph: SubGraphT, number: int, counts: np.ndarray, steps: np.ndarray, axis: int, schema: ModuleType
) -> None:
    """Puts an int8 tensor in front of this one, which is computed from it when the file
    is opened.
    """
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
    tensor.buffer = 0  # the file's empty one
    back = schema.OperatorT(opcodeIndex=_dequantize(whole, schema), inputs=[len(graph.tensors) - 1], outputs=[number])
    graph.operators.insert(0, back)


def _dequantize(whole: ModelT, schema: ModuleType) -> int:
    """The number of the operation DEQUANTIZE in the file's table."""
    code = schema.BuiltinOperator.DEQUANTIZE
    codes = [max(row.builtinCode, row.deprecatedBuiltinCode) for row in whole.operatorCodes]
    if code not in codes:
        row = schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=_PER_CHANNEL_VERSION)
        whole.operatorCodes.append(row)
        codes.append(code)
    return codes.index(code)
