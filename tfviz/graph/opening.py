"""What is inside a model or a layer that Keras kept no graph of: seen by calling it on symbolic tensors.

Keras' own symbolic tensors come first, for the operations of `keras.ops` say what they do. Code that goes through other
functions takes TensorFlow's only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import tree

from tfviz.graph import keras_graph, tensorflow_graph
from tfviz.graph.inner_layers import holds_layers, is_of_keras, is_run_as_a_whole
from tfviz.graph.kinds import kind_of_operation
from tfviz.graph.linear import stages_of


def inside_model(model: Any) -> Any | None:
    """The graph that Keras keeps of a model, or the one that shows when it is called; None where there is none to see."""
    functional = keras_graph.functional_of(model)
    if functional is not None or not isinstance(model, keras.Model) or not model.built:
        return functional
    images = _symbolic_images(model)
    if images is None:
        return None
    return _traced(model, images, lambda run, images, **options: run(images, **options))


def says_its_inputs(model: Any) -> bool:
    """Whether it is known what images a built model takes."""
    return _symbolic_images(model) is not None


def _symbolic_images(model: Any) -> Any | None:
    """Symbolic tensors such as a model takes; None where it does not say."""
    recorded = keras_graph.recorded_inputs(model)  # of a Functional or Sequential model whose class has a `call` of its own
    if recorded is not None:
        return tree.map_structure(lambda x: keras.KerasTensor((None, *x.shape[1:]), x.dtype), recorded)
    shape = (model.get_build_config() or {}).get("input_shape")
    return shape and tree.map_shape_structure(lambda size: keras.KerasTensor((None, *size[1:])), shape)


def inside_layer(node: Any, by_tensorflow: bool) -> Any | None:
    """The graph inside a layer that runs other layers or a function of the user's; None for one to be taken as a whole."""
    layer = node.operation
    is_known = not isinstance(layer, keras.Layer) or stages_of(layer) or kind_of_operation(layer) != "other"
    if is_known or (is_of_keras(layer) and not holds_layers(layer)):
        return None
    symbols = [keras.KerasTensor(tensor.shape, dtype=tensor.dtype) for tensor in node.input_tensors]

    def call(run: Callable[..., Any], tensors: Sequence[Any], **options: Any) -> Any:
        known = {id(symbol): x for symbol, x in zip(node.input_tensors, tensors, strict=True)}
        args, kwargs = node.arguments.fill_in(known)
        return run(*args, **{**kwargs, **options})

    inner = _traced(layer, symbols, call, by_tensorflow)
    fits = inner is not None and len(tree.flatten(keras_graph.output_structure(inner))) == len(node.outputs)
    return inner if fits else None


def inside_function(function: Callable[[Any], Any], like: Any, by_tensorflow: bool) -> Any | None:
    """The graph of an activation function of the user's; None where it cannot be seen."""
    symbol = keras.KerasTensor(like.shape, dtype=like.dtype)
    found = keras_graph.traced(None, symbol, lambda: function(symbol))
    return tensorflow_graph.traced(None, symbol, function) if found is None and by_tensorflow else found


def _traced(layer: Any, symbols: Any, call: Callable[..., Any], by_tensorflow: bool = True) -> Any | None:
    """The graph of what a layer does: `call(run, tensors, **options)` runs it, or its `call`, on tensors nested as symbols."""
    options = {"training": False} if takes_training(layer) else {}
    found = keras_graph.traced(layer, symbols, lambda: call(layer.call, symbols, **options))
    if found is not None or not by_tensorflow or is_run_as_a_whole(layer):
        return found
    # Called as its users do: random augmentation inside augments unless told that nobody is training.
    return tensorflow_graph.traced(layer, symbols, lambda tensors: call(layer, tensors, training=False))


def takes_training(operation: Any) -> bool:
    """Whether an operation behaves differently in training."""
    return isinstance(operation, keras.Layer) and "training" in inspect.signature(operation.call).parameters
