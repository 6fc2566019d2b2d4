"""Models that Keras 2 saved (TensorFlow 2.0 to 2.15, and tf_keras), as .h5 or .keras.

Keras 3 opens few of them: it no longer has some arguments and layers, rejects "/" in names and
functions such as `tf.nn.relu`, which Keras 2 put into the graph as layers, and counts the calls of
nested models differently. Here the config is translated to that of Keras 3, and each layer gets its
arrays by name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.models.weights.keras_2_arrays import fill_from_archive, fill_from_h5, inner_layers
from tfviz.models.weights.keras_2_functions import TensorFlowFunction, require_known
from tfviz.models.weights.keras_2_graph import call, is_reference, references, split, tensors, with_inputs
from tfviz.models.weights.keras_2_layers import known_layer, require_known_call

if TYPE_CHECKING:
    import h5py

Config = dict[str, Any]

_MODELS = ("Functional", "Model", "Sequential")
_FUNCTIONS = ("TFOpLambda", "SlicingOpLambda")
_INSIDE = ("layer", "backward_layer", "cell", "cells")  # the layers in a wrapper


def load(config: str, file: h5py.File) -> keras.Model:
    """The model of a Keras 2 file, not compiled.

    Args:
        config: the model's config, in JSON.
        file: the file with its arrays: the whole .h5 file, or the one inside a .keras file.

    Raises UnsupportedModelError for a layer or a function that has no equivalent in Keras 3,
    WeightsError for arrays that do not fit, and whatever Keras raises.
    """
    old = json.loads(config)
    translated = _translated(old)
    kind = keras.Sequential if translated["class_name"] == "Sequential" else keras.Model
    # Some versions of Keras run the code of a Lambda unless the safe mode is asked for.
    with keras_internals.safe_mode(), keras.utils.custom_object_scope(_known_layers()):
        model = kind.from_config(translated["config"])
    if "model_weights" in file:
        fill_from_h5(model, old, file["model_weights"])
    else:
        fill_from_archive(model, old, file)
    return model


def _known_layers() -> dict[str, Any]:
    """Layers that a config may name and Keras 3 does not find by that name."""
    return {**dict.fromkeys(_FUNCTIONS, TensorFlowFunction), **keras_internals.application_layers()}


def _translated(layer: Config) -> Config:
    """A layer as Keras 3 takes it, at any depth of nesting."""
    registered = layer.get("registered_name") or layer["class_name"]
    kind, config = registered.split(">")[-1], layer["config"]
    new: Config = {"name": layer["name"]} if "name" in layer else {}
    if kind in _FUNCTIONS:
        return {**new, "module": None, "class_name": kind, "registered_name": kind, **_translated_function(layer)}
    if kind in _MODELS:
        is_sequential = kind == "Sequential"
        new |= {"module": "keras", "class_name": "Sequential" if is_sequential else "Model", "registered_name": None}
        config = _translated_model(config)
    else:
        inside = {key: _translated_inside(config[key]) for key in _INSIDE if config.get(key)}
        kind, config = known_layer(kind, {**config, **inside})
        own = kind if kind in _known_layers() else registered if ">" in registered else None
        new |= {"module": None if own else "keras.layers", "class_name": kind, "registered_name": own}
    if "inbound_nodes" in layer:
        new["inbound_nodes"] = [call(kind, node, config) for node in layer["inbound_nodes"]]
        for node in new["inbound_nodes"]:
            require_known_call(kind, layer["name"], node["kwargs"])
    return {**new, "config": config}


def _translated_inside(layer: Config | list[Config]) -> Config | list[Config]:
    """The layer, or the layers, inside a wrapper such as TimeDistributed."""
    return [_translated(one) for one in layer] if isinstance(layer, list) else _translated(layer)


def _translated_model(config: Config | list[Config]) -> Config:
    first_calls = _first_calls(config)
    inner = [_translated(_with_calls_from_0(layer, first_calls)) for layer in inner_layers(config)]
    first = inner_layers(config)[0]["config"]
    if isinstance(config, list):  # a Sequential model, until TensorFlow 2.0
        config = {"name": "sequential"}
    new: Config = {"name": config["name"].replace("/", "_"), "layers": inner}
    if "output_layers" in config:
        new["input_layers"] = _alone(config["input_layers"])
        is_functional = {layer["name"] for layer in inner if layer["class_name"] == "Model"}
        new["output_layers"] = _alone(_counted_from_0(config["output_layers"], first_calls, one_more=is_functional))
        new["trainable"] = config.get("trainable", True)
    elif shape := config.get("build_input_shape") or first.get("batch_input_shape"):
        new["build_input_shape"] = shape
    return new


def _with_calls_from_0(layer: Config, first_calls: dict[str, int]) -> Config:
    if "inbound_nodes" not in layer:
        return layer
    return {**layer, "inbound_nodes": [_counted_from_0(node, first_calls) for node in layer["inbound_nodes"]]}


def _alone(ends: Any) -> Any:
    """One input or output by itself: Keras 3 would hand a list on."""
    return ends[0] if isinstance(ends, list) and len(ends) == 1 and isinstance(ends[0], list) else ends


def _first_calls(config: Config | list[Config]) -> dict[str, int]:
    """For each nested model the number of its first call: Keras 2 counts how the model was made as
    a call too.
    """
    layers = inner_layers(config)
    nested = {layer["name"] for layer in layers if layer["class_name"] in _MODELS and "name" in layer}
    ends = [] if isinstance(config, list) else config.get("output_layers", [])
    calls: dict[str, int] = {}
    for name, number, *_ in references([ends, [layer.get("inbound_nodes") for layer in layers]]):
        if name in nested:
            calls[name] = min(number, calls.get(name, number))
    return calls


def _counted_from_0(value: Any, first_calls: dict[str, int], one_more: Any = ()) -> Any:
    if is_reference(value):
        number = value[1] - first_calls.get(value[0], 0) + (value[0] in one_more)
        return [value[0], number, *value[2:3], *[_counted_from_0(part, first_calls) for part in value[3:]]]
    if isinstance(value, dict):
        return {key: _counted_from_0(part, first_calls, one_more) for key, part in value.items()}
    return [_counted_from_0(part, first_calls, one_more) for part in value] if isinstance(value, list) else value


def _translated_function(layer: Config) -> Config:
    """A TFOpLambda as a TensorFlowFunction: its numbers go into the config, its tensors are the
    inputs of the call.
    """
    function, name = layer["config"]["function"], layer["config"]["name"]
    require_known(function, name)
    (node,) = layer["inbound_nodes"]
    first, others = split(node, is_function=True)
    inputs: list[Any] = []
    first = with_inputs(first, inputs)
    arguments = {key: with_inputs(value, inputs) for key, value in others.items()}
    if not inputs:
        raise UnsupportedModelError(
            f"The file does not hold what the function {function} (layer '{name}') is called with: Keras 2 writes the first "
            "argument only. Rebuild the model in Keras 3, and load the weights: model.load_weights(file)."
        )
    config = {"name": name.replace("/", "_"), "function": function, "first": first, "arguments": arguments}
    return {"config": config, "inbound_nodes": [tensors(inputs)]}
