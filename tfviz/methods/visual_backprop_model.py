"""Add VisualBackProp to a model as an additional branch.

The branch consists of Keras operations on the model's tensors, so the result is an ordinary Keras
model. It can be trained, saved, exported, and loaded without tfviz. Each forward pass returns the
mask along with the outputs.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Graph
from tfviz.methods.visual_backprop import feature_maps, masks_of_images, warn_of_attention, warn_of_hidden_maps
from tfviz.reading.calls import calls_of
from tfviz.reading.reader import graph_of
from tfviz.reading.trace import Trace, fitted, inputs_for

NAME = "visual_backprop"


def with_visual_backprop(model: Any, *, activations: str | None = None) -> Any:
    """Add the VisualBackProp mask to a model as an additional output, "visual_backprop".

    The mask has shape (N, H, W) and values in [0, 1]. The method is from Bojarski et al.,
    2016/2018, "VisualBackProp: efficient visualization of CNNs", and is extended to networks
    without ReLUs (see `VisualBackProp`). The new model shares all layers with `model`, so training
    either one trains both. Compile the new model without a loss for the mask:
    `loss=["sparse_categorical_crossentropy", None]`.

    `model` itself is not changed. A nested model is flattened first: each of its layers is called
    once more, and Keras records this call on the layer.

    Args:
        model: a Functional or Sequential keras.Model with a fixed image size and activations after
            its convolutions.
        activations: "all" selects the maps after all activations. None selects only the maps after
            ReLUs, or all maps if there are no ReLUs.

    Returns:
        A keras.Model. For a model with one output, it returns a list [output, mask]. A list of
        outputs gets an additional element, and a dict gets an additional key.

    Raises:
        UnsupportedModelError: no activation has height and width, the image size is not fixed, the
            model has several inputs, or the mask cannot be scaled back through an operation.
        OptionError: `activations` has an invalid value.

    Example:

        >>> model = tfviz.with_visual_backprop(tfviz.load_model("shapes"))
        >>> outputs, mask = model.predict(np.zeros((2, 96, 96, 3), "float32"), verbose=0)
        >>> mask.shape
        (2, 96, 96)
    """
    graph = graph_of(model, by_tensorflow=False)
    _require_fixed_size(graph)
    if _is_nested(graph, activations):
        graph = graph_of(flattened(model), by_tensorflow=False)
    if _is_nested(graph, activations):
        raise UnsupportedModelError(
            f"with_visual_backprop cannot add a branch inside the nested layers of '{model.name}'. Build a Functional model, "
            "or use the explainer tfviz.VisualBackProp(model), which needs no new model."
        )
    graph, maps = feature_maps(graph, activations)
    warn_of_hidden_maps(graph)
    warn_of_attention(graph, maps)
    symbols = {value: value.symbol for value in graph.values}
    with keras_internals.unrecorded(keras_internals.operations(graph.model)):
        (mask,) = masks_of_images(graph, symbols, maps)
        mask = keras.layers.Identity(name=NAME, dtype="float32")(mask)
        outputs = _one_more(tree.map_structure(lambda value: symbols[value], graph.output_structure), mask)
        inputs = tree.map_structure(lambda value: symbols[value], graph.input_structure)
        return keras.Model(inputs, outputs, name=model.name)


def _is_nested(graph: Graph, activations: str | None) -> bool:
    """Return whether any step up to the last feature map is inside a nested layer."""
    if keras_internals.functional_of(graph.model) is None:
        return True
    graph, maps = feature_maps(graph, activations)
    return any("/" in step.path for step in graph.before([step.outputs[0] for step in maps]))


def _require_fixed_size(graph: Graph) -> None:
    shapes = [value.shape for value in graph.inputs]
    if len(shapes) != 1:
        raise UnsupportedModelError(
            f"with_visual_backprop supports only models with one input, but this model has {len(shapes)} inputs. Use the "
            "explainer tfviz.VisualBackProp(model) instead."
        )
    if None in shapes[0][1:]:
        raise UnsupportedModelError(
            f"with_visual_backprop needs a fixed image size, but this model's input shape is {shapes[0]}. Call the model on a "
            "keras.Input with the training size: keras.Model(x := keras.Input((224, 224, 3)), model(x)). The explainer "
            "tfviz.VisualBackProp(model) accepts any size."
        )


def _one_more(outputs: Any, mask: Any) -> Any:
    if isinstance(outputs, dict):
        return {**outputs, NAME: mask}
    return [*outputs, mask] if isinstance(outputs, (list, tuple)) else [outputs, mask]


def flattened(model: keras.Model) -> keras.Model:
    """Rebuild a model from the same layers without nesting.

    Args:
        model: a Functional or Sequential model.

    Returns:
        An equivalent Functional model.

    Raises:
        UnsupportedModelError: the model is subclassed, or two layers at different depths share a
            name, which Keras does not allow within one model.
    """
    trace = calls_of(model)
    if not isinstance(trace, Trace) or not trace.is_recorded:
        raise UnsupportedModelError(
            f"with_visual_backprop supports Functional and Sequential models, but '{model.name}' is subclassed "
            f"({type(model).__name__}). Use the explainer tfviz.VisualBackProp(model), which needs no new model."
        )
    symbols = {
        id(tensor): keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=keras_internals.input_name(tensor, number))
        for number, tensor in enumerate(tree.flatten(trace.inputs))
    }
    inputs = tree.map_structure(lambda tensor: symbols[id(tensor)], trace.inputs)
    with keras_internals.untouched(model):
        _call_again(trace, symbols)
    outputs = tree.map_structure(lambda tensor: symbols[id(tensor)], trace.outputs)
    try:
        return keras.Model(inputs, outputs, name=model.name)
    except ValueError as error:
        raise UnsupportedModelError(
            f"The nested model '{model.name}' cannot be flattened ({error}). Give all its layers unique names, or use the "
            "explainer tfviz.VisualBackProp(model), which needs no new model."
        ) from error


def _call_again(trace: Trace, symbols: dict[int, keras.KerasTensor]) -> None:
    """Call a trace's layers on new symbolic tensors.

    `symbols` maps the IDs of the old tensors to the new tensors.
    """
    for call in trace.calls:
        inner = calls_of(call.operation) if keras_internals.functional_of(call.operation) is not None else None
        if isinstance(inner, Trace):
            given = [symbols[id(outer)] for outer in inputs_for(inner, call)]
            pairs = zip(tree.flatten(inner.inputs), given, strict=True)
            known = {id(old): fitted(old, x) if old.dtype != x.dtype else x for old, x in pairs}
            _call_again(inner, known)
            new = [known[id(tensor)] for tensor in tree.flatten(inner.outputs)]
        else:
            args, kwargs = call.arguments.fill_in(symbols)
            new = tree.flatten(call.operation(*args, **kwargs))
        symbols.update({id(old): tensor for old, tensor in zip(call.outputs, new, strict=True)})
