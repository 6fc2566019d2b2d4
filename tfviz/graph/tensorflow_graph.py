"""What a layer's own code runs, as TensorFlow sees it: the Keras layers that it calls, and TensorFlow's operations between.

Code that goes through other functions than Keras' own (`tf.nn.relu`, `x * self.scale`) cannot be run on Keras' symbolic
tensors. It is traced by TensorFlow instead, as `tf.function` would, and the calls of the layers inside are noted while that
happens. What lies between them is cut out of the trace, an operation at a time. Weights are read when a piece is run, not
when it is cut out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfviz.errors import UnsupportedModelError
from tfviz.graph import keras_graph
from tfviz.graph.tensorflow_operations import name_of, operation_named, operation_of
from tfviz.graph.written_out import expression_of_operation, is_silu, relu_of
from tfviz.numerics import is_near

_patching = threading.RLock()
_Function: Any = type(tf.function(lambda: None))
_FUNCTIONS = ("PartitionedCall", "StatefulPartitionedCall")  # what calls of a tf.function leave in a trace


@dataclass(frozen=True)
class _Call:
    """One call of a layer inside: its outputs are tensors that nothing else has made."""

    operation: Any
    args: Any
    kwargs: Any
    structure: Any

    @property
    def outputs(self) -> list[Any]:
        return [x for x in tree.flatten(self.structure) if tf.is_tensor(x)]

    @property
    def reads(self) -> list[Any]:
        return [x for x in tree.flatten((self.args, self.kwargs)) if tf.is_tensor(x)]


@dataclass(frozen=True)
class _Piece:
    """One operation of TensorFlow between the layers' calls.

    reads: the tensors made of the images that it is given. inside: the operations that are computed along with it. function:
    what it computes, where it is written out in several operations; name: of what sort that is.
    """

    operation: Any
    reads: list[Any]
    inside: list[Any]
    name: str = ""
    function: Callable[[Any], Any] | None = None
    outputs: list[Any] = field(default_factory=list)


def traced(layer: Any, symbols: Any, call: Callable[[Any], Any]) -> keras_graph.Calls | None:
    """The graph of what a layer does, seen by TensorFlow.

    None where its code cannot be traced or draws at random, and where the pieces of the trace do not compute what the whole
    does.

    Args:
        symbols: symbolic tensors of Keras, nested as `call` takes tensors.
        call: calls the layer, as its users do.
    """
    specs = [tf.TensorSpec(symbol.shape, symbol.dtype) for symbol in tree.flatten(symbols)]
    try:
        with keras_graph.untouched(layer):
            trace = _Trace(symbols, specs, call, layer is not None)
            if any(operation.type in _FUNCTIONS for operation in trace.operations):
                with functions_opened():
                    trace = _Trace(symbols, specs, call, layer is not None)
            if any(map(trace.is_bound_to, trace.recorded)) or any(map(_is_only_whole, trace.operations)):
                return None
            calls = trace.calls()
            return calls if trace.computes_as(calls) else None
    except Exception:  # The user's own code: it may raise anything.
        return None


def _is_only_whole(operation: Any) -> bool:
    """Whether an operation cannot be cut out: it does what must be done once (draws, assigns, calls Python), or branches."""
    is_once = any(word in operation.type for word in ("Random", "Rng", "Multinomial", "Normal", "Assign", "PyFunc"))
    return is_once or operation.type in ("If", "StatelessIf", "Case", "StatelessCase")


class _Trace:
    """A trace of TensorFlow, read from its outputs back."""

    def __init__(self, symbols: Any, specs: Sequence[tf.TensorSpec], call: Callable[[Any], Any], by_layer: bool) -> None:
        self.inputs, self.outputs = symbols, None
        inputs: list[Any] = []

        def run(*tensors: Any) -> Any:
            inputs.extend(tensors)
            with recorded_calls(by_layer) as self.recorded:
                self.outputs = call(tree.pack_sequence_as(symbols, tensors))
            return self.outputs

        self.function = tf.compat.v1.wrap_function(run, list(specs))
        self.operations = self.function.graph.get_operations()
        self.made = {tensor.name: one for one in self.recorded for tensor in one.outputs}
        self.symbols = {tensor.name: symbol for tensor, symbol in zip(inputs, tree.flatten(symbols), strict=True)}
        self.dependent = self._dependent()

    def is_bound_to(self, call: _Call) -> bool:
        """Whether a call of a layer means nothing outside this trace.

        It was made in the branch of a condition or in the body of a loop, which are graphs of their own; or the layer was made
        for the call, of sizes that are tensors in the trace.
        """
        is_inside = any(tensor.graph is not self.function.graph for tensor in call.outputs)
        return is_inside or any(tf.is_tensor(x) and not hasattr(x, "numpy") for x in vars(call.operation).values())

    def _dependent(self) -> set[str]:
        """The names of all tensors that are made of the images."""
        found = set(self.symbols)
        for operation in self.operations:
            if any(tensor.name in found for tensor in operation.inputs):
                found.update(tensor.name for tensor in operation.outputs)
        return found

    def calls(self) -> keras_graph.Calls:
        """The trace as calls of operations on symbolic tensors, as Keras has them."""
        nodes = [self._node(part) for part in self._parts(tree.flatten(self.outputs))]
        return keras_graph.Calls(nodes, self.inputs, tree.map_structure(self._symbol, self.outputs))

    def computes_as(self, calls: keras_graph.Calls) -> bool:
        """Whether the calls, one after the other, give what the whole trace gives; where a size is free that is not tried."""
        shapes = [symbol.shape for symbol in tree.flatten(self.inputs)]
        if any(None in shape[1:] for shape in shapes):
            return True
        random = np.random.default_rng(0)
        given = [
            tf.cast(random.normal(size=(2, *symbol.shape[1:])), symbol.dtype)  # of whole numbers 0 and 1 above all
            for symbol in tree.flatten(self.inputs)
        ]
        values = {id(symbol): x for symbol, x in zip(tree.flatten(self.inputs), given, strict=True)}
        for node in calls.nodes:
            args, kwargs = node.arguments.fill_in(values)
            extra = {"training": False} if isinstance(node.operation, keras.Layer) else {}
            outputs = [x for x in tree.flatten(node.operation(*args, **{**extra, **kwargs})) if tf.is_tensor(x)]
            values.update({id(symbol): x for symbol, x in zip(node.outputs, outputs, strict=True)})
        got = [values[id(symbol)] for symbol in tree.flatten(calls.outputs)]
        return all(map(is_near, got, tree.flatten(self.function(*given))))

    def _parts(self, outputs: Sequence[Any]) -> list[_Call | _Piece]:
        """What must run for these tensors, in order."""
        number = {operation.name: i for i, operation in enumerate(self.operations)}
        found: dict[int, _Call | _Piece] = {}
        wanted, read = list(outputs), {tensor.name: tensor for tensor in outputs}
        while wanted:
            tensor = wanted.pop()
            call = self.made.get(tensor.name)
            at = number[(call.outputs[0] if call else tensor).op.name]
            if tensor.name not in self.symbols and at not in found:
                found[at] = call or self._piece(tensor.op)
                wanted += found[at].reads
                read.update({one.name: one for one in found[at].reads})
        for part in found.values():
            if isinstance(part, _Piece):
                part.outputs.extend(tensor for tensor in part.operation.outputs if tensor.name in read)
        return [found[at] for at in sorted(found)]

    def _piece(self, operation: Any) -> _Piece:
        """An operation, with what is computed along with it.

        That is what is no float (a shape, a condition), from the floats that it is made of.
        """
        if relu := relu_of(expression_of_operation(operation, name_of)):
            return _Piece(operation, [relu[0]], [], "Relu", relu[1])
        if "_gradient_op_type" in operation.node_def.attr:
            return self._with_own_gradient(operation)
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
        return _Piece(operation, reads, inside)

    def _with_own_gradient(self, operation: Any) -> _Piece:
        """What comes out of a tf.custom_gradient, whose way back is bound to the trace: only that of silu is known."""
        if not is_silu(operation):
            raise UnsupportedModelError("a gradient of the user's own cannot be cut out of a trace")
        return _Piece(operation, [operation.inputs[1]], [], "Silu", tf.nn.silu)

    def _is_given(self, tensor: Any) -> bool:
        is_known = tensor.dtype.is_floating or tensor.name in self.made or tensor.name in self.symbols
        return is_known and tensor.name in self.dependent

    def _node(self, part: _Call | _Piece) -> keras_graph.Call:
        outputs = [self._symbol(tensor) for tensor in part.outputs]
        if isinstance(part, _Call):
            args, kwargs = tree.map_structure(lambda x: self._symbol(x) if tf.is_tensor(x) else x, (part.args, part.kwargs))
            return keras_graph.called(part.operation, args, kwargs, outputs)
        if part.function:
            operation = operation_named(part.name, part.operation, part.function)
        else:
            operation = operation_of(self.function, part.operation, part.reads, part.outputs, part.inside)
        return keras_graph.called(operation, tuple(map(self._symbol, part.reads)), {}, outputs)

    def _symbol(self, tensor: Any) -> Any:
        if tensor.name not in self.symbols:
            self.symbols[tensor.name] = keras.KerasTensor(tuple(tensor.shape), dtype=tensor.dtype.name)
        return self.symbols[tensor.name]


def _of_its_own(y: Any) -> Any:
    return keras_graph.with_mask_of(y, tf.identity(y)) if tf.is_tensor(y) else y


@contextmanager
def recorded_calls(by_layer: bool) -> Iterator[list[_Call]]:
    """Notes the calls of layers in the block by this thread, but not what those layers call.

    by_layer: the block itself calls a layer, and the calls of that one are meant.
    """
    calls: list[_Call] = []
    thread, depth = threading.get_ident(), 0 - by_layer

    def noted(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if threading.get_ident() != thread:
            return original(layer, *args, **kwargs)
        depth += 1
        try:
            with keras_graph.untouched(layer):
                outputs = original(layer, *args, **kwargs)
        finally:
            depth -= 1
        if depth != 0:
            return outputs
        # A layer may return the very tensor it got.
        outputs = tree.map_structure(_of_its_own, outputs)
        calls.append(_Call(layer, args, kwargs, outputs))
        return outputs

    with _patching:
        original = keras.Layer.__call__
        keras.Layer.__call__ = noted
        try:
            yield calls
        finally:
            keras.Layer.__call__ = original


@contextmanager
def functions_opened() -> Iterator[None]:
    """Lets code that is decorated with tf.function, and is called by this thread, run as a part of what calls it."""
    thread = threading.get_ident()

    def opened(function: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return original(function, *args, **kwargs)
        return function.python_function(*args, **kwargs)

    with _patching:
        original = _Function.__call__
        _Function.__call__ = opened
        try:
            yield
        finally:
            _Function.__call__ = original
