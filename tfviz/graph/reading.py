"""Reading a model into a flat graph: nested models opened, shared layers told apart, fused activations split off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, count
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from tfviz.errors import UnsupportedModelError
from tfviz.graph import keras_graph, opening, over_time
from tfviz.graph.kinds import (
    ARITHMETIC,
    is_known_function,
    is_scaled_sum,
    kind_of_arithmetic,
    kind_of_function,
    kind_of_operation,
)
from tfviz.graph.linear import LinearMap, is_linear, stages_of
from tfviz.graph.places import Graph, Place, Value
from tfviz.graph.tensorflow_operations import TensorFlowOperation
from tfviz.graph.written_out import expression_of_node, numbers_of, relu_of


def graph_of(model: Any, *, by_tensorflow: bool = True) -> Graph:
    """Reads a model, nested to any depth, into a flat graph. The model is not changed.

    Functional and Sequential models carry their graph; a subclassed model's is seen by calling it on symbolic tensors of
    Keras, or of TensorFlow where its code takes those only.

    Args:
        by_tensorflow: whether layers that only TensorFlow can trace are opened; a value inside them is no symbolic tensor of
            Keras, from which a model could branch off.

    Raises:
        UnsupportedModelError: for a model whose layers cannot be seen, an unbuilt one, and one with channels first.
    """
    return _read(model, _require_functional(model), by_tensorflow)


def _read(model: Any, functional: Any, by_tensorflow: bool) -> Graph:
    graph = Graph(model, is_traced=keras_graph.functional_of(model) is None)
    reader = _Reader(graph, by_tensorflow)
    values = {}
    for number, tensor in enumerate(tree.flatten(keras_graph.input_structure(functional))):
        values[id(tensor)] = reader.new_value(tensor)
        graph.names[keras_graph.input_name(tensor, number)] = values[id(tensor)]
    reader.read(functional, values, prefix="")
    graph.input_structure = _structure(keras_graph.input_structure(functional), values)
    graph.output_structure = _structure(keras_graph.output_structure(functional), values)
    if isinstance(graph.output_structure, (list, tuple)) and len(graph.output_structure) == 1:
        graph.output_structure = graph.output_structure[0]  # as Keras itself unpacks it
    return graph


def graph_of_anything(model: Any) -> Graph:
    """The graph of a model; where its layers cannot be seen, a graph of one place, which calls it.

    For methods that need the gradient of the outputs with respect to the images and nothing else.
    """
    is_unbuilt = isinstance(model, keras.Sequential) and not model.built
    functional = None if is_unbuilt else opening.inside_model(model)
    if functional is not None:
        return _read(model, functional, by_tensorflow=True)
    if not callable(model) or is_unbuilt:
        return graph_of(model)  # says what is wrong
    extra = {"training": False} if isinstance(model, keras.Layer) or opening.takes_training(model) else {}
    name = str(getattr(model, "name", type(model).__name__))
    place = Place(name, model, "other", (0,), (1,), lambda tensors: [model(tensors[0], **extra)])
    return Graph(model, [place], [(), ()], [None, None], {"image": 0}, input_structure=0, output_structure=1)


def _require_functional(model: Any) -> Any:
    if not isinstance(model, keras.Model):
        raise UnsupportedModelError(f"expected a keras.Model, got {type(model).__name__} ({str(model)[:60]!r})")
    functional = opening.inside_model(model)
    if functional is not None:
        return functional
    if not model.built:
        raise UnsupportedModelError(
            f"the {type(model).__name__} model '{model.name}' has never been called, so that its input shape is not known; "
            "call it once on an image (a Sequential model also takes a keras.Input(shape) first)"
        )
    if not opening.says_its_inputs(model):
        raise UnsupportedModelError(
            f"the {type(model).__name__} model '{model.name}' does not say what images it takes; tell it by "
            "model.build((None, height, width, channels)), which leaves its weights as they are"
        )
    raise UnsupportedModelError(
        f"'{model.name}' is a subclassed model ({type(model).__name__}) whose layers cannot be seen: its `call` cannot be "
        "traced on symbolic tensors (it reads values, as `.numpy()` does, or brings a gradient of its own?). 'saliency' works "
        "on it, for it needs nothing but the input gradient; for the other methods use keras.ops or TensorFlow's functions in "
        "`call`, or wrap the same layers in a Functional model: keras.Model(inputs, outputs)"
    )


def _structure(tensors: Any, values: Mapping[int, Value]) -> Any:
    return tree.map_structure(lambda tensor: values[id(tensor)], tensors)


class _Reader:
    """Adds a model's calls to a graph, one after the other."""

    def __init__(self, graph: Graph, by_tensorflow: bool) -> None:
        self.graph, self.by_tensorflow = graph, by_tensorflow
        self.is_in_code = False  # whether what is being read was seen by tracing
        self.makers: dict[int, Any] = {}  # by the id of a symbolic tensor the call that made it

    def new_value(self, tensor: Any) -> Value:
        self.graph.shapes.append(tuple(tensor.shape))
        self.graph.tensors.append(tensor)
        return len(self.graph.shapes) - 1

    def read(self, functional: Any, values: dict[int, Value], prefix: str) -> None:
        """Reads one level of nesting. `values` leads from a symbolic tensor's id to its value."""
        nodes = keras_graph.nodes(functional)
        names = _names(functional, nodes)
        calls = Counter(names[id(node.operation)] for node in nodes)
        seen: Counter[str] = Counter()
        around, is_in_code = self.is_in_code, not isinstance(functional, keras.Model)
        for node in nodes:
            name = names[id(node.operation)]
            # Each use of a shared layer is a place of its own, and so is each of several layers of one name.
            number = f":{seen[name]}" if calls[name] > 1 else ""
            seen[name] += 1
            self.is_in_code = is_in_code
            self._read_call(node, values, f"{prefix}{name}{number}")
        self.is_in_code = around

    def _read_call(self, node: Any, values: dict[int, Value], path: str) -> None:
        _require_channels_last(node.operation)
        model, step = keras_graph.functional_of(node.operation), over_time.inside(node)
        if step is not None:
            self._open_over_time(step, node, values, path)
        elif model is not None:
            self._open(model, self._fitted_inputs(model, node, values, path), node, values, path)
        elif (inner := opening.inside_layer(node, self.by_tensorflow)) is not None:
            self.graph.is_traced = True
            self._open(inner, [values[id(tensor)] for tensor in node.input_tensors], node, values, path)
        else:
            self._add(node, values, path)
        self.makers.update({id(tensor): node for tensor in node.outputs})
        for number, tensor in enumerate(node.outputs):
            self.graph.names[f"{path}[{number}]" if len(node.outputs) > 1 else path] = values[id(tensor)]
        self.graph.layers[path] = node.operation

    def _open(self, inner: Any, inputs: Sequence[Value], node: Any, values: dict[int, Value], path: str) -> None:
        """Reads a nested model: its inputs and outputs are the values around it, under other names."""
        symbols = tree.flatten(keras_graph.input_structure(inner))
        inside = {id(symbol): value for symbol, value in zip(symbols, inputs, strict=True)}
        self.read(inner, inside, prefix=path + "/")
        symbols = tree.flatten(keras_graph.output_structure(inner))
        values.update({id(tensor): inside[id(symbol)] for symbol, tensor in zip(symbols, node.outputs, strict=True)})

    def _fitted_inputs(self, model: Any, node: Any, values: dict[int, Value], path: str) -> list[Value]:
        """What a nested model is called on, brought to the type and rank of its inputs, as Keras does."""
        symbols, tensors = tree.flatten(keras_graph.input_structure(model)), keras_graph.inputs_for(model, node)
        return [self._fitted(symbol, tensor, values[id(tensor)], path) for symbol, tensor in zip(symbols, tensors, strict=True)]

    def _fitted(self, symbol: Any, tensor: Any, value: Value, path: str) -> Value:
        is_of_rank = len(symbol.shape) == len(tensor.shape)
        if symbol.dtype == tensor.dtype and is_of_rank:
            return value
        new = self.new_value(keras.KerasTensor((*tensor.shape[:1], *symbol.shape[1:]), symbol.dtype))
        function, kind = partial(keras_graph.fitted, symbol), "identity" if is_of_rank else "reshape"
        self.graph.places.append(Place(path, keras_graph.fitted, kind, (value,), (new,), _on_one(function)))
        return new

    def _open_over_time(self, step: Any, node: Any, values: dict[int, Value], path: str) -> None:
        """Reads the layer inside a TimeDistributed, whose values get an axis of time."""
        first_place, first_value = len(self.graph.places), len(self.graph.shapes)
        self._open(step, [values[id(tensor)] for tensor in node.input_tensors], node, values, path)
        steps = node.input_tensors[0].shape[1]
        shapes, places = self.graph.shapes, self.graph.places
        shapes[first_value:] = [over_time.shape_over_time(shape, steps) for shape in shapes[first_value:]]
        places[first_place:] = map(over_time.over_time, places[first_place:])

    def _add(self, node: Any, values: dict[int, Value], path: str) -> None:
        operation, inputs = node.operation, tuple(values[id(tensor)] for tensor in node.input_tensors)
        stages = operation.linear_maps if isinstance(operation, TensorFlowOperation) else stages_of(operation)
        if is_scaled_sum(operation):
            outputs = self._add_scaled_sum(node, inputs, path)
        elif not isinstance(operation, TensorFlowOperation) and (relu := self._written_out(node)):
            outputs = self._add_relu(node, relu, values, path)
        elif isinstance(operation, keras.layers.Activation) and not is_known_function(operation.activation):
            outputs = self._add_function(node, inputs, path)
        elif not stages:
            outputs = tuple(self.new_value(tensor) for tensor in node.outputs)
            self.graph.places.append(Place(path, operation, _kind(node), inputs, outputs, _caller(node, self.is_in_code)))
        for stage in stages:
            outputs = (self.new_value(node.outputs[0]),)
            compute = _forward(stage, operation)
            self.graph.places.append(Place(path, operation, "linear", inputs, outputs, compute, linear_map=stage))
            inputs = outputs
        if stages and not is_linear(operation.activation):
            outputs = self._add_function(node, inputs, path)
        values.update({id(tensor): value for tensor, value in zip(node.outputs, outputs, strict=True)})

    def _add_function(self, node: Any, inputs: tuple[Value, ...], path: str) -> tuple[Value, ...]:
        """A layer's activation; a function of the user's is opened, or taken as a whole where it cannot be."""
        layer, function = node.operation, node.operation.activation
        is_known = is_known_function(function)
        inner = None if is_known else opening.inside_function(function, self.graph.tensors[inputs[0]], self.by_tensorflow)
        if inner is not None:
            inside = {id(keras_graph.input_structure(inner)): inputs[0]}
            self.read(inner, inside, prefix=path + "/")
            return (inside[id(keras_graph.output_structure(inner))],)
        outputs = (self.new_value(node.outputs[0]),)
        kind = kind_of_function(function) if is_known else "other"
        self.graph.places.append(Place(path, layer, kind, inputs, outputs, _on_one(function, layer), function=function))
        return outputs

    def _written_out(self, node: Any) -> tuple[Any, Any] | None:
        return relu_of(expression_of_node(node, lambda symbol: self.makers.get(id(symbol))))

    def _add_relu(self, node: Any, relu: tuple[Any, Any], values: dict[int, Value], path: str) -> tuple[Value, ...]:
        """A ReLU that is written out, as the ReLU that it is."""
        x, function = relu
        outputs = (self.new_value(node.outputs[0]),)
        self.graph.places.append(Place(path, node.operation, "relu", (values[id(x)],), outputs, _on_one(function)))
        return outputs

    def _add_scaled_sum(self, node: Any, inputs: tuple[Value, ...], path: str) -> tuple[Value, ...]:
        """x + scale · y, InceptionResNet's own layer, as a product and a sum."""
        layer, (shortcut, branch) = node.operation, inputs
        scaled, total = self.new_value(node.outputs[0]), self.new_value(node.outputs[0])
        multiply, add = _on_one(lambda x: x * layer.scale), lambda tensors: [tensors[0] + tensors[1]]
        self.graph.places.append(Place(path, layer, "scale", (branch,), (scaled,), multiply))
        self.graph.places.append(Place(path, layer, "add", (shortcut, scaled), (total,), add))
        return (total,)


def _kind(node: Any) -> str:
    operation = node.operation
    kind, name = kind_of_operation(operation), type(operation).__name__
    if name in ARITHMETIC and len(node.input_tensors) == 1 and not isinstance(operation, keras.Layer):
        is_piece = isinstance(operation, TensorFlowOperation)
        kind = kind_of_arithmetic(name, operation.numbers if is_piece else numbers_of(node))
    # Of several tensors each output is one of the inputs: what is shared out to "the" input would go to the first.
    return "reshape" if kind == "identity" and len(node.outputs) > 1 else kind


def _names(functional: Any, nodes: Sequence[Any]) -> dict[int, str]:
    """What each operation is called, by its id.

    In a graph that was traced the operations are new each time, and Keras numbers them through the whole process: here
    they are numbered within the graph ("relu", "relu_1"), so that a path means the same tomorrow.
    """
    names = {id(node.operation): node.operation.name for node in nodes}
    if isinstance(functional, keras.Model):
        return names
    taken = {node.operation.name for node in nodes if isinstance(node.operation, keras.Layer)}
    for operation in dict.fromkeys(node.operation for node in nodes if not isinstance(node.operation, keras.Layer)):
        kind = type(operation).__name__.lower()
        free = (name for name in chain([kind], (f"{kind}_{i}" for i in count(1))) if name not in taken)
        names[id(operation)] = next(free)
        taken.add(names[id(operation)])
    return names


def _caller(node: Any, is_traced: bool) -> Callable[[Sequence[Any]], list[Any]]:
    """Runs a recorded call on new tensors, as at inference."""
    operation, arguments, symbols = node.operation, node.arguments, node.input_tensors
    # Random augmentation augments unless told that nobody is training; a layer around it hands that on.
    extra = {"training": False} if isinstance(operation, keras.Layer) else {}

    def compute(tensors: Sequence[Any]) -> list[Any]:
        args, kwargs = arguments.fill_in({id(symbol): x for symbol, x in zip(symbols, tensors, strict=True)})
        # A model hands its own `training` to what it records; in code that was traced the user's word is the last.
        outputs = tree.flatten(operation(*args, **({**extra, **kwargs} if is_traced else {**kwargs, **extra})))
        return [x for x in outputs if tf.is_tensor(x)]

    return compute


def _forward(stage: LinearMap, layer: Any) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda tensors: [_masked_as(layer, tensors[0], stage.forward(layer, tensors[0]))]


def _on_one(function: Callable[[Any], Any], layer: Any = None) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda tensors: [_masked_as(layer, tensors[0], function(tensors[0]))]


def _masked_as(layer: Any, x: Any, y: Any) -> Any:
    """y, with the mask over time that Keras carries along x where the layer hands it on."""
    return keras_graph.with_mask_of(x, y) if getattr(layer, "supports_masking", False) else y


def _require_channels_last(operation: Any) -> None:
    if getattr(operation, "data_format", None) == "channels_first":
        raise UnsupportedModelError(
            f"layer '{operation.name}' has data_format='channels_first'; tfviz reads images as (height, width, channels). "
            "Build the model with data_format='channels_last' and load the same weights: kernels have the same shape in both"
        )
