"""Convert a trace to a flat graph.

Nested models are flattened, and each call to a shared layer and each fused activation becomes a
separate step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, count
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.graph.attention import with_attention
from tfviz.graph.exponentials import with_probabilities
from tfviz.graph.gates import with_carriers
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Identity, Linear, Move, Opaque, Operation, Relu
from tfviz.keras_internals import require_tensorflow
from tfviz.nesting import Nested
from tfviz.reading import keras_layers, keras_ops
from tfviz.reading.calls import calls_of, declares_wrong_tokens, step_of, symbolic_images, takes_training, with_free_tokens
from tfviz.reading.opaque_contents import TracedContents
from tfviz.reading.relu_patterns import Expression, ReluPattern, relu_of
from tfviz.reading.stages import Compute, Stage
from tfviz.reading.tensorflow_ops import Piece
from tfviz.reading.time_distributed import time_distributed, time_distributed_shape
from tfviz.reading.trace import Call, NotReadable, Trace, fitted, inputs_for, recorded_trace


def graph_of(model: keras.Model, *, by_tensorflow: bool = True) -> Graph:
    """Read a model of any nesting depth into a flat graph without changing the model.

    Functional and Sequential models already contain their graph. A subclassed model is traced with
    Keras' symbolic tensors if possible, otherwise with TensorFlow's.

    Args:
        model: a built keras.Model.
        by_tensorflow: whether to trace layers that only TensorFlow can trace. The values inside
            such layers are not Keras symbolic tensors, so a new Keras model cannot use them.

    Raises:
        UnsupportedModelError: the layers cannot be traced, the model is not built, or it uses
            channels_first.
    """
    require_tensorflow(model)
    trace = calls_of(model)
    if isinstance(trace, NotReadable):
        raise _not_readable(model, trace) from trace.cause
    return _read(model, trace, by_tensorflow)


def graph_of_anything(model: keras.Model | Callable[[tf.Tensor], tf.Tensor]) -> Graph:
    """Read a model. If its layers cannot be traced, the graph is a single opaque step.

    One opaque step is sufficient for methods that need only the gradient with respect to the input.
    """
    is_unbuilt = isinstance(model, keras.Sequential) and not model.built
    trace = NotReadable("has never been called") if is_unbuilt else calls_of(model)
    if isinstance(trace, Trace):
        return _read(model, trace, by_tensorflow=True)
    if not callable(model) or is_unbuilt:
        raise _not_readable(model, trace) from trace.cause
    extra = {"training": False} if isinstance(model, keras.Layer) or takes_training(model) else {}
    name = str(getattr(model, "name", type(model).__name__))
    image, output = Value(()), Value(())

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [model(tensors[0], **extra)]

    contents = TracedContents.of(model, compute, [image])
    operation = Opaque(name=type(model).__name__, reason=trace.reason, contents=contents, cause=trace.cause)
    step = Step(name, operation, (image,), (output,), compute, layer=model)
    return Graph(model, [step], {"image": image}, input_structure=image, output_structure=output)


def _not_readable(model: object, why: NotReadable) -> UnsupportedModelError:
    if not isinstance(model, keras.Model):
        return UnsupportedModelError(f"Expected a keras.Model. Received: {type(model).__name__} ({str(model)[:60]!r}).")
    kind = f"The {type(model).__name__} model '{model.name}'"
    if not model.built:
        return UnsupportedModelError(
            f"{kind} has never been called, so its input shape is unknown. Call it once on an image, or start a Sequential "
            "model with keras.Input(shape)."
        )
    if symbolic_images(model) is None:
        return UnsupportedModelError(
            f"{kind} has an unknown input shape. Set it with model.build((None, height, width, channels)). This does not "
            "change the weights."
        )
    cause = f" ({type(why.cause).__name__}: {_first_line(why.cause)})" if why.cause else ""
    return UnsupportedModelError(
        f"'{model.name}' is a subclassed model ({type(model).__name__}) whose layers cannot be traced: it "
        f"{why.reason}{cause}. 'saliency' supports it, because saliency needs only the input gradient. For the other methods, "
        "use keras.ops or TensorFlow functions in `call`, or wrap the same layers in a Functional model: keras.Model(inputs, "
        "outputs)."
    )


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:200]


def _read(model: keras.Model, trace: Trace, by_tensorflow: bool) -> Graph:
    graph = Graph(model, is_traced=not trace.is_recorded)
    reader = _Reader(graph, by_tensorflow)
    values: dict[int, Value] = {}
    for number, tensor in enumerate(tree.flatten(trace.inputs)):
        values[id(tensor)] = Value.of(tensor)
        graph.names[keras_internals.input_name(tensor, number)] = values[id(tensor)]
    reader.read(trace, values, prefix="")
    graph.input_structure = _structure(trace.inputs, values)
    graph.output_structure = _structure(trace.outputs, values)
    if isinstance(graph.output_structure, (list, tuple)) and len(graph.output_structure) == 1:
        graph.output_structure = graph.output_structure[0]  # Keras also unpacks a single output
    return with_attention(with_carriers(with_probabilities(graph)))


def _structure(tensors: Nested[keras.KerasTensor], values: Mapping[int, Value]) -> Nested[Value]:
    return tree.map_structure(lambda tensor: values[id(tensor)], tensors)


class _Reader:
    """Adds a model's calls to a graph one by one."""

    def __init__(self, graph: Graph, by_tensorflow: bool) -> None:
        self.graph, self.by_tensorflow = graph, by_tensorflow
        self.has_free_tokens = False  # whether a layer declared a wrong number of tokens
        self.is_in_code = False  # whether the calls being read come from tracing
        # maps each symbolic tensor's id to the call that created the tensor
        self.makers: dict[int, Call] = {}

    def read(self, trace: Trace, values: dict[int, Value], prefix: str) -> None:
        """Add a trace's calls to the graph. `values` maps ids of symbolic tensors to values."""
        around = self.is_in_code
        for call, path in zip(trace.calls, _paths(trace), strict=True):
            self.is_in_code = not trace.is_recorded
            self._read_call(call, values, f"{prefix}{path}")
        self.is_in_code = around

    def _read_call(self, call: Call, values: dict[int, Value], path: str) -> None:
        _require_channels_last(call.operation)
        nested = keras_internals.functional_of(call.operation)
        if nested is not None:
            self._open_model(nested, call, values, path)
        elif not self._open_time_distributed(call, values, path) and not self._open_layer(call, values, path):
            self._add(call, values, path)
        self.makers.update({id(tensor): call for tensor in call.outputs})
        for number, tensor in enumerate(call.outputs):
            self.graph.names[f"{path}[{number}]" if len(call.outputs) > 1 else path] = values[id(tensor)]
        self.graph.layers[path] = call.operation

    def _open(self, inner: Trace, inputs: Sequence[Value], call: Call, values: dict[int, Value], path: str) -> None:
        """Add the calls inside a call to the graph and connect them to the outer graph's values."""
        inside = {id(symbol): value for symbol, value in zip(tree.flatten(inner.inputs), inputs, strict=True)}
        self.read(inner, inside, prefix=path + "/")
        pairs = zip(inner.returned, call.outputs, strict=True)
        values.update({id(tensor): inside[id(symbol)] for symbol, tensor in pairs})

    def _open_model(self, model: keras.Model, call: Call, values: dict[int, Value], path: str) -> None:
        trace = recorded_trace(model)
        given = inputs_for(trace, call)
        pairs = zip(tree.flatten(trace.inputs), given, strict=True)
        inputs = [self._fitted(symbol, tensor, values[id(tensor)], path) for symbol, tensor in pairs]
        self._open(trace, inputs, call, values, path)

    def _fitted(self, symbol: keras.KerasTensor, tensor: keras.KerasTensor, value: Value, path: str) -> Value:
        """Convert a nested model's input to the dtype and rank that the model expects."""
        is_of_rank = len(symbol.shape) == len(tensor.shape)
        if symbol.dtype == tensor.dtype and is_of_rank:
            return value
        new = Value.of(keras.KerasTensor((*tensor.shape[:1], *symbol.shape[1:]), symbol.dtype))
        operation = Identity(name="cast") if is_of_rank else Move(name="reshape")
        self.graph.steps.append(Step(path, operation, (value,), (new,), _on_one(partial(fitted, symbol))))
        return new

    def _open_layer(self, call: Call, values: dict[int, Value], path: str) -> bool:
        """Add the steps inside a layer that runs other layers or user code.

        For any other layer, return False without adding anything.
        """
        layer = call.operation
        if keras_ops.is_attention(layer):
            return self._open_code(call, values, path)
        if not isinstance(layer, keras.Layer) or keras_layers.stages_of(layer) is not None or _is_activation(layer):
            return False
        if keras_layers.is_keras_layer(layer) and not _holds_layers(layer) and not keras_layers.is_attention(layer):
            return False
        if keras_layers.is_attention(layer) and keras_layers.may_be_masked(self.graph.model):
            self._add_opaque(call, values, path, NotReadable("may read a mask"))
            return True
        return self._open_code(call, values, path)

    def _open_code(self, call: Call, values: dict[int, Value], path: str) -> bool:
        """Trace a call's code and add its steps, or add one opaque step if tracing fails."""
        if not self.has_free_tokens and not keras_layers.is_from_keras(type(call.operation)):
            self.has_free_tokens = declares_wrong_tokens(call)
        inner = calls_of(call, by_tensorflow=self.by_tensorflow, free_tokens=self.has_free_tokens)
        if isinstance(inner, NotReadable):
            self._add_opaque(call, values, path, inner)
            return True
        self.graph.is_traced = True
        self._open(inner, [values[id(tensor)] for tensor in call.distinct_inputs], call, values, path)
        return True

    def _open_time_distributed(self, call: Call, values: dict[int, Value], path: str) -> bool:
        """Add the steps of a TimeDistributed layer's inner layer, with a time axis.

        Return False without adding anything if the layer cannot be traced or is of another type.
        """
        if keras_layers.time_distributed_layer(call.operation) is None or len(call.inputs) != 1:
            return False
        (series,) = call.inputs
        inner = step_of(call.operation, series)
        if isinstance(inner, NotReadable):
            return False
        first = len(self.graph.steps)
        self._open(inner, [values[id(series)]], call, values, path)
        for number, step in enumerate(self.graph.steps[first:], first):
            for value in step.outputs:
                value.shape = time_distributed_shape(value.shape, series.shape[1])
            self.graph.steps[number] = time_distributed(step)
        return True

    def _add(self, call: Call, values: dict[int, Value], path: str) -> None:
        operation = call.operation
        if isinstance(operation, Piece):
            self._add_stages(call, [Stage(operation.description)], values, path)
        elif not isinstance(operation, keras.Layer):
            relu = relu_of(self._expression(call))
            self._add_relu(call, relu, values, path) if relu else self._add_stages(
                call, [Stage(keras_ops.operation_of(call))], values, path
            )
        elif _is_activation(operation):
            self._add_function(call, [values[id(tensor)] for tensor in call.inputs], values, path)
        elif (stages := keras_layers.stages_of(operation)) is not None:
            outputs = self._add_stages(call, stages, values, path)
            if isinstance(stages[-1].operation, Linear):
                self._add_function(call, outputs, values, path)
        else:
            self._add_opaque(call, values, path, NotReadable("is a built-in layer that tfviz does not support"))

    def _add_opaque(self, call: Call, values: dict[int, Value], path: str, why: NotReadable) -> None:
        operation = keras_layers.opaque_operation(call.operation, why)
        self._add_stages(call, [Stage(operation)], values, path)

    def _add_stages(self, call: Call, stages: Sequence[Stage], values: dict[int, Value], path: str) -> list[Value]:
        """Add the stages of a call and return its output values."""
        made = [values[id(tensor)] for tensor in call.inputs]
        outputs = made
        for number, stage in enumerate(stages):
            reads = made if number == 0 else outputs
            inputs = reads if stage.reads is None else [made[i] for i in stage.reads]
            symbols = call.outputs if number == len(stages) - 1 else call.outputs[:1]
            outputs = [self._value(tensor) for tensor in symbols]
            made = [*made, *outputs]
            self._append(call, stage.operation, inputs, outputs, path, stage.compute)
        values.update({id(tensor): value for tensor, value in zip(call.outputs, outputs, strict=True)})
        return outputs

    def _append(
        self,
        call: Call,
        operation: Operation,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        path: str,
        compute: Compute | None,
    ) -> None:
        layer = call.operation
        run = _caller(call, self.is_in_code, outputs) if compute is None else _masked(layer, compute)
        if isinstance(operation, Opaque):
            operation = _with_contents(operation, layer, run, inputs)
        if isinstance(operation, Identity) and len(outputs) > 1:
            # Each output corresponds to a different input, so no single input carries the signal.
            operation = Move(name=operation.name)
        self.graph.steps.append(Step(path, operation, tuple(inputs), tuple(outputs), run, layer=layer))

    def _value(self, tensor: keras.KerasTensor) -> Value:
        value = Value.of(tensor)
        if self.has_free_tokens:
            value.shape = with_free_tokens(value.shape)
        return value

    def _add_function(self, call: Call, inputs: Sequence[Value], values: dict[int, Value], path: str) -> None:
        """Add a layer's activation function as a step.

        A user's function is traced if possible. Otherwise, it becomes an opaque step.
        """
        layer, function = call.operation, call.operation.activation
        is_fused = not _is_activation(layer)
        if is_fused and keras_ops.is_linear(function):
            return
        operation = keras_ops.operation_of_function(function, type(layer).__name__)
        (tensor,) = call.outputs
        if operation is None:
            inner = calls_of(function, like=inputs[0].symbol, by_tensorflow=self.by_tensorflow)
            if isinstance(inner, Trace):
                inside = {id(inner.inputs): inputs[0]}
                self.read(inner, inside, prefix=path + "/")
                values[id(tensor)] = inside[id(inner.outputs)]
                return
            contents = TracedContents.of(None, _on_one(function), inputs, is_pointwise=True)
            name = type(layer).__name__
            operation = Opaque(name=name, reason=inner.reason, contents=contents, cause=inner.cause)
        values[id(tensor)] = self._value(tensor)
        compute = _masked(layer, _on_one(function))
        self.graph.steps.append(Step(path, operation, tuple(inputs), (values[id(tensor)],), compute, layer))

    def _expression(self, call: Call) -> Expression:
        primitive, operands = keras_ops.primitive_of(call)

        def made_by(symbol: Any) -> Expression | None:
            maker = self.makers.get(id(symbol))
            return None if maker is None or isinstance(maker.operation, Piece) else self._expression(maker)

        return Expression(primitive, operands, made_by)

    def _add_relu(self, call: Call, relu: ReluPattern, values: dict[int, Value], path: str) -> None:
        """Add a handwritten ReLU as a `Relu` step."""
        (tensor,) = call.outputs
        values[id(tensor)] = self._value(tensor)
        operation = Relu(name=type(call.operation).__name__, max_value=relu.max_value)
        compute = _on_one(relu.function)
        self.graph.steps.append(Step(path, operation, (values[id(relu.x)],), (values[id(tensor)],), compute, call.operation))


def _paths(trace: Trace) -> list[str]:
    """Return each call's path, which consists of the operation's name and, if needed, a number.

    Calls to a shared layer, or to several layers with the same name, are numbered in call order.
    """
    names = _names(trace)
    order: dict[str, list[int]] = defaultdict(list)
    for position, call in enumerate(trace.calls):
        order[names[id(call.operation)]].append(position)
    paths = [""] * len(trace.calls)
    for name, positions in order.items():
        first: dict[int, int] = {}
        for position in positions:
            first.setdefault(id(trace.calls[position].operation), position)
        positions.sort(key=lambda i: (first[id(trace.calls[i].operation)], trace.calls[i].number, i))
        for number, position in enumerate(positions):
            paths[position] = f"{name}:{number}" if len(positions) > 1 else name
    return paths


def _names(trace: Trace) -> dict[int, str]:
    """Return each operation's name, keyed by the operation's id.

    Each trace creates new operations, which Keras numbers per process. This function numbers them
    within the graph instead ("relu", "relu_1"), so paths are reproducible.
    """
    names = {id(call.operation): call.operation.name for call in trace.calls}
    if trace.is_recorded:
        return names
    taken = {call.operation.name for call in trace.calls if isinstance(call.operation, keras.Layer)}
    for operation in dict.fromkeys(call.operation for call in trace.calls if not isinstance(call.operation, keras.Layer)):
        kind = getattr(operation, "type_name", type(operation).__name__).lower()
        free = (name for name in chain([kind], (f"{kind}_{i}" for i in count(1))) if name not in taken)
        names[id(operation)] = next(free)
        taken.add(names[id(operation)])
    return names


def _caller(call: Call, is_traced: bool, made: Sequence[Value]) -> Compute:
    """Return a function that runs a recorded call on new tensors in inference mode."""
    operation = call.operation
    # Without training=False, random augmentation would be active. Nested layers also receive this
    # argument.
    extra = {"training": False} if isinstance(operation, keras.Layer) else {}

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        args, kwargs = call.on(tensors)
        # In a recorded model, training=False overrides the recorded value. In traced code, the
        # value that the user's code passes takes precedence.
        outputs = tree.flatten(operation(*args, **({**extra, **kwargs} if is_traced else {**kwargs, **extra})))
        outputs = [x for x in outputs if tf.is_tensor(x)]
        if not isinstance(operation, keras.Layer):
            _restore_sizes(outputs, made)
        return outputs

    return compute


def _restore_sizes(outputs: Sequence[tf.Tensor], recorded: Sequence[Value]) -> None:
    """Set the sizes of traced tensors, except the batch size, to those that Keras recorded.

    Some operations lose sizes, as `ops.tile` does before Keras 3.14. The recorded batch size may be
    wrong, because a layer built on a single image records a batch size of 1.
    """
    for output, value in zip(outputs, recorded, strict=False):
        shape = tf.TensorShape([None, *value.shape[1:]] if value.shape else value.shape)
        if not tf.executing_eagerly() and output.shape.is_compatible_with(shape):
            output.set_shape(shape)


def _on_one(function: Callable[[tf.Tensor], tf.Tensor]) -> Compute:
    return lambda tensors: [function(tensors[0])]


def _masked(layer: object, compute: Compute) -> Compute:
    """Wrap `compute` so that it propagates the Keras mask if the layer supports masking."""
    if not getattr(layer, "supports_masking", False):
        return compute
    return lambda tensors: [keras_internals.with_mask_of(tensors[0], y) for y in compute(tensors)]


def _with_contents(operation: Opaque, layer: object, compute: Compute, inputs: Sequence[Value]) -> Opaque:
    """Add the traced contents to an opaque operation that runs a layer or user functions."""
    is_layer = isinstance(layer, keras.Layer)
    if not is_layer and not operation.runs_functions:
        return operation
    contents = TracedContents.of(layer if is_layer else None, compute, inputs)
    if not is_layer or keras_layers.mixes_all_pixels(layer):
        contents = replace(contents, always_mixes_pixels=True)
    return replace(operation, contents=contents)


def _is_activation(layer: object) -> bool:
    return keras_layers.is_activation(layer)


def _holds_layers(layer: keras.Layer) -> bool:
    """Return whether a layer has sublayers that its `call` may run."""
    return any(isinstance(part, keras.Layer) for part in tree.flatten(list(vars(layer).values())))


def _require_channels_last(operation: keras.Operation) -> None:
    if getattr(operation, "data_format", None) == "channels_first":
        raise UnsupportedModelError(
            f"Layer '{operation.name}' uses data_format='channels_first', but tfviz needs images as (height, width, channels). "
            "Build the model with data_format='channels_last' and load the same weights. Kernels have the same shape in both "
            "formats."
        )
