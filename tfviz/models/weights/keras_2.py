"""Open .h5 and .keras models saved by Keras 2 (TensorFlow 2.0 to 2.15, and tf_keras).

Keras 3 can open only a few of these files. It dropped some layers and arguments, numbers the calls
to nested models differently, and rejects "/" in names. It also rejects functions such as
`tf.nn.relu`, which Keras 2 recorded as layers. This module translates the config to Keras 3's
format and assigns the arrays by layer name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import keras

from tfviz import keras_internals
from tfviz.errors import UnsupportedModelError
from tfviz.models.weights.keras_2_arrays import fill_from_archive, fill_from_h5, inner_layers
from tfviz.models.weights.keras_2_functions import TensorFlowFunction, require_supported
from tfviz.models.weights.keras_2_graph import call, is_reference, references, split, tensors, with_inputs
from tfviz.models.weights.keras_2_layers import OWN_LAYERS, keras_3_layer, require_supported_call

if TYPE_CHECKING:
    import h5py

Config = dict[str, Any]

_MODELS = ("Functional", "Model", "Sequential")
_FUNCTIONS = ("TFOpLambda", "SlicingOpLambda")
_WRAPPED = ("layer", "backward_layer", "cell", "cells")  # arguments whose values are layers


def load(config: str, file: h5py.File) -> keras.Model:
    """Load the model in a Keras 2 file without compiling it.

    Args:
        config: the model's config as JSON.
        file: the file with the arrays: the .h5 file, or the HDF5 file inside a .keras file.

    Returns:
        The model.

    Raises:
        UnsupportedModelError: a layer or function has no equivalent in Keras 3.
        WeightsError: the arrays do not fit the model.
        Exception: Keras rejects the config. The exception's type depends on the cause.
    """
    old = json.loads(config)
    translated = _translated(old)
    kind = keras.Sequential if translated["class_name"] == "Sequential" else keras.Model
    # Some Keras versions run code in Lambda layers unless safe mode is on.
    with keras_internals.safe_mode(), keras.utils.custom_object_scope(_known_layers()):
        model = kind.from_config(translated["config"])
    if "model_weights" in file:
        fill_from_h5(model, old, file["model_weights"])
    else:
        fill_from_archive(model, old, file)
    return model


def _known_layers() -> dict[str, Any]:
    """Return the layers to register while Keras reads a config, keyed by the names it uses."""
    functions = dict.fromkeys(_FUNCTIONS, TensorFlowFunction)
    return {**functions, **OWN_LAYERS, **keras_internals.application_layers()}


def _translated(layer: Config) -> Config:
    """Translate the config of a layer, including any layers inside it, to Keras 3's format."""
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
        wrapped = {key: _translated_wrapped(config[key]) for key in _WRAPPED if config.get(key)}
        kind, config = keras_3_layer(kind, {**config, **wrapped})
        own = kind if kind in _known_layers() else registered if ">" in registered else None
        new |= {"module": None if own else "keras.layers", "class_name": kind, "registered_name": own}
    if "inbound_nodes" in layer:
        new["inbound_nodes"] = [call(kind, node, config) for node in layer["inbound_nodes"]]
        for node in new["inbound_nodes"]:
            require_supported_call(kind, layer["name"], node["kwargs"])
    return {**new, "config": config}


def _translated_wrapped(layer: Config | list[Config]) -> Config | list[Config]:
    """Translate the config of the layer or layers inside a wrapper such as TimeDistributed."""
    return [_translated(one) for one in layer] if isinstance(layer, list) else _translated(layer)


def _translated_model(config: Config | list[Config]) -> Config:
    first_calls = _first_calls(config)
    inner = [_translated(_with_calls_renumbered(layer, first_calls)) for layer in inner_layers(config)]
    first = inner_layers(config)[0]["config"]
    if isinstance(config, list):  # a Sequential model saved before TensorFlow 2.0
        config = {"name": "sequential"}
    new: Config = {"name": config["name"].replace("/", "_"), "layers": inner}
    if "output_layers" in config:
        new["input_layers"] = _unwrapped(config["input_layers"])
        is_functional = {layer["name"] for layer in inner if layer["class_name"] == "Model"}
        new["output_layers"] = _unwrapped(_renumbered(config["output_layers"], first_calls, one_more=is_functional))
        new["trainable"] = config.get("trainable", True)
    elif shape := config.get("build_input_shape") or first.get("batch_input_shape"):
        new["build_input_shape"] = shape
    return new


def _with_calls_renumbered(layer: Config, first_calls: dict[str, int]) -> Config:
    if "inbound_nodes" not in layer:
        return layer
    return {**layer, "inbound_nodes": [_renumbered(node, first_calls) for node in layer["inbound_nodes"]]}


def _unwrapped(endpoints: Any) -> Any:
    """Unpack a list that contains a single input or output.

    If it stayed a list, the model's input or output would also be a list in Keras 3.
    """
    return endpoints[0] if isinstance(endpoints, list) and len(endpoints) == 1 and isinstance(endpoints[0], list) else endpoints


def _first_calls(config: Config | list[Config]) -> dict[str, int]:
    """Return the index of each nested model's first call, keyed by the model's name.

    This index may be greater than 0, because Keras 2 also counts a model's creation as a call.
    """
    layers = inner_layers(config)
    nested = {layer["name"] for layer in layers if layer["class_name"] in _MODELS and "name" in layer}
    endpoints = [] if isinstance(config, list) else config.get("output_layers", [])
    calls: dict[str, int] = {}
    for name, number, *_ in references([endpoints, [layer.get("inbound_nodes") for layer in layers]]):
        if name in nested:
            calls[name] = min(number, calls.get(name, number))
    return calls


def _renumbered(value: Any, first_calls: dict[str, int], one_more: Any = ()) -> Any:
    if is_reference(value):
        number = value[1] - first_calls.get(value[0], 0) + (value[0] in one_more)
        return [value[0], number, *value[2:3], *[_renumbered(part, first_calls) for part in value[3:]]]
    if isinstance(value, dict):
        return {key: _renumbered(part, first_calls, one_more) for key, part in value.items()}
    return [_renumbered(part, first_calls, one_more) for part in value] if isinstance(value, list) else value


def _translated_function(layer: Config) -> Config:
    """Translate a function recorded as a layer by Keras 2 to a TensorFlowFunction.

    Constant arguments are stored in the config, and tensors become the inputs of the call.
    """
    function, name = layer["config"]["function"], layer["config"]["name"]
    require_supported(function, name)
    (node,) = layer["inbound_nodes"]
    first, others = split(node, is_function=True)
    inputs: list[Any] = []
    first = with_inputs(first, inputs)
    arguments = {key: with_inputs(value, inputs) for key, value in others.items()}
    if not inputs:
        raise UnsupportedModelError(
            f"The file does not contain all arguments of {function} (layer '{name}'), because Keras 2 saves only the first "
            "argument. Rebuild the model in Keras 3, and load the weights: model.load_weights(file)."
        )
    config = {"name": name.replace("/", "_"), "function": function, "first": first, "arguments": arguments}
    return {"config": config, "inbound_nodes": [tensors(inputs)]}
