"""A .tflite file with its weights as whole numbers of eight bits: a quarter of the size.

Each weight is stored as int8 with one scale for each output channel, and brought back to float32 where the file is opened;
all computing stays in float32. LiteRT's converter would have activations rounded to eight bits too, on the way back as on
the way there, and of what excitation backprop divides by small numbers next to nothing would be left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_SMALLEST = 1024  # numbers; what is smaller stays as it is, as in LiteRT's converter
_KEPT_SHARE = 0.05  # of all weights
_PER_CHANNEL_VERSION = 5  # of the operation DEQUANTIZE


def with_int8_weights(model: bytes) -> bytes:
    """The file with the weights of its convolutions and Dense layers as int8.

    The first layer that reads the image keeps its weights, if they are a small part: what it rounds away, all others miss.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    whole = schema.ModelT.InitFromPackedBuf(model, 0)
    for graph in whole.subgraphs:
        weights = _Weights(whole, graph, schema)
        chosen = weights.chosen()
        for number, axis in chosen.items():
            weights.store_as_int8(number, axis)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Weights:
    """The weights of one graph of the file, by the numbers of their tensors."""

    def __init__(self, whole: Any, graph: Any, schema: Any) -> None:
        self.whole, self.graph, self.schema = whole, graph, schema
        operator = schema.BuiltinOperator
        self.channel_axis = {  # of the second input
            operator.CONV_2D: 0,
            operator.TRANSPOSE_CONV: 0,
            operator.FULLY_CONNECTED: 0,
            operator.DEPTHWISE_CONV_2D: 3,
            operator.CONV_3D: 4,
            operator.CONV_3D_TRANSPOSE: 3,
        }
        self.codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in whole.operatorCodes]

    def chosen(self) -> dict[int, int]:
        """The weights to store as int8, each with the axis of its output channels."""
        used = [tensor.buffer for tensor in self.graph.tensors]
        axes: dict[int, set[int | None]] = {}
        for operation in self.graph.operators:
            for place, number in enumerate(operation.inputs):
                axis = self.channel_axis.get(self.codes[operation.opcodeIndex]) if place == 1 else None
                axes.setdefault(int(number), set()).add(axis)
        found = {number: axis for number, (axis, *others) in axes.items() if axis is not None and not others}
        found = {number: axis for number, axis in found.items() if self._is_large(number)}
        found = {number: axis for number, axis in found.items() if used.count(self.graph.tensors[number].buffer) == 1}
        total = sum(self._size(number) for number in found)
        first = [number for number in self._first() if number in found]
        if sum(self._size(number) for number in first) <= _KEPT_SHARE * total:
            found = {number: axis for number, axis in found.items() if number not in first}
        return found

    def _first(self) -> Iterator[int]:
        """The weights of the layers that read the image, or what was made of it without weights."""
        float32 = self.schema.TensorType.FLOAT32
        images = {int(number) for number in self.graph.inputs if self.graph.tensors[number].type == float32}
        for operation in self.graph.operators:
            read = [int(number) for number in operation.inputs if number >= 0 and not self._has_values(number)]
            if not read or not images.issuperset(read):
                continue
            if self.codes[operation.opcodeIndex] in self.channel_axis:
                yield int(operation.inputs[1])
            else:
                images.update(map(int, operation.outputs))

    def _has_values(self, number: int) -> bool:
        return self.whole.buffers[self.graph.tensors[number].buffer].data is not None

    def _is_large(self, number: int) -> bool:
        tensor = self.graph.tensors[number]
        is_weight = self._has_values(number) and tensor.type == self.schema.TensorType.FLOAT32
        return is_weight and self._size(number) >= _SMALLEST

    def _size(self, number: int) -> int:
        return int(np.prod(self.graph.tensors[number].shape))

    def store_as_int8(self, number: int, axis: int) -> None:
        """Puts an int8 tensor in front of this one, which is computed from it."""
        tensor, schema = self.graph.tensors[number], self.schema
        values = self.whole.buffers[tensor.buffer].data.view("<f4").reshape(tensor.shape)
        scales = abs(values).max(axis=tuple(i for i in range(values.ndim) if i != axis), keepdims=True) / 127
        scales[scales == 0] = 1
        self.whole.buffers[tensor.buffer].data = np.round(values / scales).astype(np.int8).reshape(-1).view(np.uint8)
        self.graph.tensors.append(
            schema.TensorT(
                shape=tensor.shape,
                type=schema.TensorType.INT8,
                buffer=tensor.buffer,
                name=b"int8/%d" % number,
                quantization=schema.QuantizationParametersT(
                    scale=scales.reshape(-1), zeroPoint=np.zeros(scales.size, np.int64), quantizedDimension=axis
                ),
            )
        )
        tensor.buffer = 0  # the file's empty one
        back = schema.OperatorT(opcodeIndex=self._dequantize(), inputs=[len(self.graph.tensors) - 1], outputs=[number])
        self.graph.operators.insert(0, back)

    def _dequantize(self) -> int:
        """The number of the operation DEQUANTIZE in the file's table."""
        code = self.schema.BuiltinOperator.DEQUANTIZE
        if code not in self.codes:
            row = self.schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=_PER_CHANNEL_VERSION)
            self.whole.operatorCodes.append(row)
            self.codes.append(code)
        return self.codes.index(code)
