"""Models that Keras 2 saved (TensorFlow 2.0 to 2.15, and tf_keras), as .h5 or .keras.

Keras 3 opens few of them: it no longer has some arguments and layers, rejects "/" in names and functions such as `tf.nn.relu`,
which Keras 2 put into the graph as layers, and counts the calls of nested models differently. Here the config is translated
to that of Keras 3, and each layer gets its arrays by name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras

from tfviz import keras_internals
from tfviz.models.weights.keras_2_arrays import fill_from_archive, fill_from_h5
from tfviz.models.weights.keras_2_functions import TensorFlowFunction, require_known
from tfviz.models.weights.keras_2_graph import call, is_reference, references, split, tensors, with_inputs
from tfviz.models.weights.keras_2_layers import known_layer

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

    Raises UnsupportedModelError for a layer or a function that has no equivalent in Keras 3, WeightsError for arrays that do
    not fit, and whatever Keras raises.
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
    kind, config = layer["class_name"].split(">")[-1], dict(layer["config"])
    name = {"name": layer["name"]} if "name" in layer else {}
    if kind in _MODELS:
        new: Config = {**name, "class_name": kind, "config": _translated_model(config)}
    elif kind in _FUNCTIONS:
        return {**name, "class_name": kind, **_translated_function(layer)}
    else:
        config.update({key: _translated_inside(config[key]) for key in _INSIDE if config.get(key)})
        own, config = known_layer(kind, config)
        new = {**name, "class_name": own, "config": config}
    if "inbound_nodes" in layer:
        new["inbound_nodes"] = [call(kind, node, config) for node in layer["inbound_nodes"]]
    return new


def _translated_inside(layer: Config | list[Config]) -> Config | list[Config]:
    """The layer inside a wrapper such as TimeDistributed, which Keras 3 looks up by its module."""
    if isinstance(layer, list):
        return [_translated_inside(one) for one in layer]  # type: ignore[misc]
    new = _translated(layer)
    if new["class_name"] in _MODELS:
        is_sequential = new["class_name"] == "Sequential"
        return {**new, "module": "keras", "class_name": "Sequential" if is_sequential else "Model", "registered_name": None}
    return {**new, "module": "keras.layers", "registered_name": None}


def _translated_model(config: Config) -> Config:
    first_calls = _first_calls(config)
    numbered = [
        {**layer, "inbound_nodes": [_counted_from_0(node, first_calls) for node in layer["inbound_nodes"]]}
        if "inbound_nodes" in layer
        else layer
        for layer in config["layers"]
    ]
    inner = [_translated(layer) for layer in numbered]
    new: Config = {"name": config["name"].replace("/", "_"), "layers": inner}
    if "output_layers" in config:
        is_functional = {layer["name"] for layer in inner if layer["class_name"] in ("Functional", "Model")}
        new["input_layers"] = _alone(config["input_layers"])
        new["output_layers"] = _alone(_counted_from_0(config["output_layers"], first_calls, one_more=is_functional))
        new["trainable"] = config.get("trainable", True)
    return new


def _alone(ends: Any) -> Any:
    """One input or output by itself: Keras 3 would hand a list on."""
    return ends[0] if isinstance(ends, list) and len(ends) == 1 and isinstance(ends[0], list) else ends


def _first_calls(config: Config) -> dict[str, int]:
    """For each nested model the number of its first call: Keras 2 counts how the model was made as a call too."""
    nested = {layer["name"] for layer in config["layers"] if layer["class_name"] in _MODELS and "name" in layer}
    calls: dict[str, int] = {}
    for name, number, *_ in references([config.get("output_layers", []), [one.get("inbound_nodes") for one in config["layers"]]]):
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
    """A TFOpLambda as a TensorFlowFunction: its numbers go into the config, its tensors are the inputs of the call."""
    function, name = layer["config"]["function"], layer["config"]["name"]
    require_known(function, name)
    (node,) = layer["inbound_nodes"]
    first, others = split(node, is_function=True)
    inputs: list[Any] = []
    first = with_inputs(first, inputs)
    arguments = {key: with_inputs(value, inputs) for key, value in others.items()}
    config = {"name": name.replace("/", "_"), "function": function, "first": first, "arguments": arguments}
    return {"config": config, "inbound_nodes": [tensors(inputs)]}
