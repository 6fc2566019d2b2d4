"""The second of two tracers. It traces a layer's code with TensorFlow.

Code that uses functions from outside Keras, as in `tf.nn.relu(x)`, or weights of its own, as in
`self.scale * x`, cannot be traced with Keras' symbolic tensors. This module traces such code with
TensorFlow, as `tf.function` does, and records the calls to inner layers. The operations between
these calls are cut out of the trace one by one. Each piece reads its weights when it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz import keras_internals, tensorflow_internals
from tfviz.graph.operations import Relu
from tfviz.nesting import Nested
from tfviz.reading import tensorflow_ops
from tfviz.reading.fidelity import computes_as
from tfviz.reading.relu_patterns import ReluPattern, relu_of
from tfviz.reading.replay import function_between
from tfviz.reading.trace import Call, Code, NotReadable, Trace, called

_patching = threading.RLock()


class _OwnGradientError(Exception):
    """Raised for an operation with a custom gradient, which cannot be cut out of its trace."""


@dataclass(frozen=True)
class _LayerCall:
    """One call to an inner layer. Its outputs are always new tensors."""

    operation: keras.Layer
    args: Any
    kwargs: Any
    structure: Any

    @property
    def outputs(self) -> list[tf.Tensor]:
        return [x for x in tree.flatten(self.structure) if tf.is_tensor(x)]

    @property
    def reads(self) -> list[tf.Tensor]:
        return [x for x in tree.flatten((self.args, self.kwargs)) if tf.is_tensor(x)]


@dataclass(frozen=True)
class _OperationCall:
    """One TensorFlow operation between layer calls.

    Attributes:
        operation: the operation in the trace.
        reads: the inputs that depend on the images.
        inside: further operations that the same call runs.
        relu: the handwritten ReLU that this operation completes, if any.
        is_silu: whether the operation completes `tf.nn.silu`.
        outputs: the operation's outputs that other calls or the caller read.
    """

    operation: tf.Operation
    reads: list[tf.Tensor]
    inside: list[tf.Operation]
    relu: ReluPattern | None = None
    is_silu: bool = False
    outputs: list[tf.Tensor] = field(default_factory=list)


def traced(layer: keras.Layer | None, symbols: Nested[keras.KerasTensor], call: Code) -> Trace | NotReadable:
    """Trace the operations in a layer or function with TensorFlow.

    Code cannot be traced if, for example, it draws random numbers or its result changes when its
    operations are replayed one by one.

    Args:
        layer: the layer, or None for a function.
        symbols: Keras symbolic tensors, nested like the arguments of `call`.
        call: a function that calls the layer or function as users do.

    Returns:
        The trace, or the reason why there is none.
    """
    specs = [tf.TensorSpec(symbol.shape, symbol.dtype) for symbol in tree.flatten(symbols)]
    try:
        with keras_internals.untouched(layer):
            trace = _FunctionTrace(symbols, specs, call, layer is not None)
            if any(map(tensorflow_ops.calls_function, trace.operations)):
                with tensorflow_internals.inlined_functions():
                    trace = _FunctionTrace(symbols, specs, call, layer is not None)
            if any(map(trace.is_bound_to, trace.recorded)):
                return NotReadable(
                    "calls layers inside a condition or a loop, or creates layers with sizes that are only known at run time"
                )
            if any(map(tensorflow_ops.only_runs_whole, trace.operations)):
                return NotReadable("draws random numbers, assigns variables, calls Python or branches")
            found = trace.calls()
            if not computes_as(found, trace.function):
                return NotReadable("returns a different result when its operations are replayed one by one")
            return found
    except _OwnGradientError:
        return NotReadable("has a custom gradient (tf.custom_gradient)")
    except Exception as error:  # User code may raise any exception.
        return NotReadable("cannot be traced by TensorFlow", error)


class _FunctionTrace:
    """A TensorFlow trace that is converted to calls, starting from its outputs."""

    def __init__(self, symbols: Nested[keras.KerasTensor], specs: Sequence[tf.TensorSpec], call: Code, by_layer: bool) -> None:
        self.inputs, self.outputs = symbols, None
        inputs: list[tf.Tensor] = []

        def run(*tensors: tf.Tensor) -> Any:
            inputs.extend(tensors)
            with recorded_calls(by_layer) as self.recorded:
                self.outputs = call(tree.pack_sequence_as(symbols, tensors))
            return self.outputs

        self.function = tensorflow_internals.wrapped(run, list(specs))
        self.operations = self.function.graph.get_operations()
        self.made = {tensor.name: one for one in self.recorded for tensor in one.outputs}
        self.symbols = {tensor.name: symbol for tensor, symbol in zip(inputs, tree.flatten(symbols), strict=True)}
        self.dependent = self._dependent()

    def is_bound_to(self, call: _LayerCall) -> bool:
        """Return whether a layer's call cannot run outside this trace.

        This applies to a call inside a branch or a loop body, which has a separate graph, and to a
        layer that the code created with tensors from the trace as sizes.
        """
        is_inside = any(tensor.graph is not self.function.graph for tensor in call.outputs)
        return is_inside or any(tf.is_tensor(x) and not hasattr(x, "numpy") for x in vars(call.operation).values())

    def _dependent(self) -> set[str]:
        """Return the names of all tensors that depend on the images."""
        found = set(self.symbols)
        for operation in self.operations:
            if any(tensor.name in found for tensor in operation.inputs):
                found.update(tensor.name for tensor in operation.outputs)
        return found

    def calls(self) -> Trace:
        """Convert the trace to calls on symbolic tensors, in the form that Keras records."""
        parts = self._parts([x for x in tree.flatten(self.outputs) if tf.is_tensor(x)])
        number: dict[int, int] = {}
        calls = []
        for part in parts:
            key = id(part.operation)
            calls.append(self._call(part, number.get(key, 0)))
            number[key] = number.get(key, 0) + 1
        outputs = tree.map_structure(lambda x: self._symbol(x) if tf.is_tensor(x) else x, self.outputs)
        return Trace(calls, self.inputs, outputs)

    def _parts(self, outputs: Sequence[tf.Tensor]) -> list[_LayerCall | _OperationCall]:
        """Return the calls needed to compute these tensors, in execution order."""
        position = {operation.name: i for i, operation in enumerate(self.operations)}
        found: dict[int, _LayerCall | _OperationCall] = {}
        wanted, read = list(outputs), {tensor.name: tensor for tensor in outputs}
        while wanted:
            tensor = wanted.pop()
            call = self.made.get(tensor.name)
            at = position[(call.outputs[0] if call else tensor).op.name]
            if tensor.name not in self.symbols and at not in found:
                found[at] = call or self._operation_call(tensor.op)
                wanted += found[at].reads
                read.update({one.name: one for one in found[at].reads})
        for part in found.values():
            if isinstance(part, _OperationCall):
                part.outputs.extend(tensor for tensor in part.operation.outputs if tensor.name in read)
        return [found[at] for at in sorted(found)]

    def _operation_call(self, operation: tf.Operation) -> _OperationCall:
        """Cut out an operation together with the operations that compute its non-float inputs.

        These inputs, such as a shape or a condition, are computed from float tensors.
        """
        if relu := relu_of(tensorflow_ops.expression_of(operation)):
            return _OperationCall(operation, [relu.x], [], relu=relu)
        if tensorflow_internals.has_own_gradient(operation):
            x = tensorflow_ops.silu_argument(operation)
            if x is None:
                raise _OwnGradientError
            return _OperationCall(operation, [x], [], is_silu=True)
        reads, inside, wanted = list(filter(self._is_given, operation.inputs)), [], list(operation.inputs)
        known = {tensor.name for tensor in reads}
        while wanted:
            tensor = wanted.pop(0)
            if tensor.name not in self.dependent or tensor.name in known:
                continue
            known.add(tensor.name)
            if self._is_given(tensor):
                reads.append(tensor)
            else:
                inside.append(tensor.op)
                wanted += tensor.op.inputs
        return _OperationCall(operation, reads, inside)

    def _is_given(self, tensor: tf.Tensor) -> bool:
        is_known = tensor.dtype.is_floating or tensor.name in self.made or tensor.name in self.symbols
        return is_known and tensor.name in self.dependent

    def _call(self, part: _LayerCall | _OperationCall, number: int) -> Call:
        outputs = [self._symbol(tensor) for tensor in part.outputs]
        if isinstance(part, _LayerCall):
            args, kwargs = tree.map_structure(lambda x: self._symbol(x) if tf.is_tensor(x) else x, (part.args, part.kwargs))
            call = called(part.operation, args, kwargs, outputs)
            return Call(call.operation, call.arguments, call.outputs, number)
        return called(self._piece(part), tuple(map(self._symbol, part.reads)), {}, outputs)

    def _piece(self, part: _OperationCall) -> tensorflow_ops.Piece:
        if part.relu:
            relu = Relu(name="Relu", max_value=part.relu.max_value)
            return tensorflow_ops.piece_of_function(part.operation, part.relu.function, relu)
        if part.is_silu:
            return tensorflow_ops.piece_of_function(part.operation, tf.nn.silu, tensorflow_ops.SILU)
        replay = partial(function_between, self.function)
        return tensorflow_ops.piece_of(tensorflow_ops.Cut(part.operation, part.reads, part.outputs, part.inside, replay))

    def _symbol(self, tensor: tf.Tensor) -> keras.KerasTensor:
        if tensor.name not in self.symbols:
            self.symbols[tensor.name] = keras.KerasTensor(tuple(tensor.shape), dtype=tensor.dtype.name)
        return self.symbols[tensor.name]


def _copied(y: Any) -> Any:
    return keras_internals.with_mask_of(y, tf.identity(y)) if tf.is_tensor(y) else y


@contextmanager
def recorded_calls(by_layer: bool) -> Iterator[list[_LayerCall]]:
    """Record the layer calls that this thread makes in the block, excluding nested calls.

    Args:
        by_layer: whether the block calls a layer. If so, the calls inside that layer are recorded.
    """
    calls: list[_LayerCall] = []
    thread, depth = threading.get_ident(), 0 - by_layer

    def noted(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if threading.get_ident() != thread:
            return original(layer, *args, **kwargs)
        depth += 1
        try:
            with keras_internals.untouched(layer):
                outputs = original(layer, *args, **kwargs)
        finally:
            depth -= 1
        if depth != 0:
            return outputs
        # A layer may return its input tensor, but each call needs new output tensors.
        outputs = tree.map_structure(_copied, outputs)
        calls.append(_LayerCall(layer, args, kwargs, outputs))
        return outputs

    with _patching:
        original = keras.Layer.__call__
        keras.Layer.__call__ = noted
        try:
            yield calls
        finally:
            keras.Layer.__call__ = original
