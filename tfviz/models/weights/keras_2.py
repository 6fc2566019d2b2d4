"""Model files of Keras 2 (`model.save("model.h5")` before TensorFlow 2.16), whose layers are written down otherwise.

Keras 3 opens the simplest of them. The rest it refuses for small things: an argument that a layer no longer has, a "/" in
a name, a function such as `tf.nn.relu` that Keras 2 put into the graph as a layer of its own, a nested model's count of its
calls. Here the file's config is brought to what Keras 3 writes; the arrays are read by Keras.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras

from tfviz import keras_internals
from tfviz.models.weights.keras_2_functions import TensorFlowFunction, keras_2_hard_sigmoid, parameters_of

Config = dict[str, Any]

_DROPPED = ("module", "rng_type", "time_major", "renorm", "virtual_batch_size", "fused")
# Arguments of these kinds that Keras 2 writes down and Keras 3 does not take; none of them changes what is computed.
_DROPPED_FROM = {
    "Conv1DTranspose": ("groups",),
    "Conv2DTranspose": ("groups",),
    "Conv3DTranspose": ("groups",),
    "SpatialDropout1D": ("noise_shape", "trainable"),
    "SpatialDropout2D": ("noise_shape", "trainable"),
    "SpatialDropout3D": ("noise_shape", "trainable"),
    "Softmax": ("robust_masking",),
    "Embedding": ("activity_regularizer", "input_length", "sparse"),
    "EinsumDense": ("activity_regularizer",),
}
_DROPPED_FROM_DEPTHWISE = ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint")
_MODELS = ("Functional", "Model", "Sequential")


def config_of(file: Any) -> str | None:
    """The config of the model in an open HDF5 file, where Keras 2 or 1 has saved it; None for any other file."""
    version = str(file.attrs.get("keras_version", "1"))
    return str(file.attrs["model_config"]) if "model_config" in file.attrs and version[0] in "12" else None


def load(path: Path, config: str) -> keras.Model:
    """The model in a file of Keras 2, not compiled.

    Raises UnsupportedModelError for a function in its graph that is not known here, and whatever Keras raises.
    """
    translated = _translated(json.loads(config))
    kind = keras.Sequential if translated["class_name"] == "Sequential" else keras.Model
    # Some versions of Keras run the code of a Lambda unless the safe mode is asked for.
    with keras_internals.safe_mode(), keras.utils.custom_object_scope(_known_layers()):
        model = kind.from_config(translated["config"])
    model.load_weights(str(path))
    return model


def _known_layers() -> dict[str, Any]:
    """Layers that a config may name and Keras 3 does not find by that name."""
    functions = {"TFOpLambda": TensorFlowFunction, "SlicingOpLambda": TensorFlowFunction}
    return {**functions, **keras_internals.application_layers()}


# --- the config -----------------------------------------------------------------------------------------------------


def _translated(layer: Config) -> Config:
    """A layer as Keras 3 takes it, at any depth of nesting."""
    kind, config = layer["class_name"].split(">")[-1], dict(layer["config"])
    new: Config = {"class_name": kind, **{key: layer[key] for key in ("name", "inbound_nodes") if key in layer}}
    if kind in _MODELS:
        return {**new, "config": _translated_model(config)}
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        return {**new, **_translated_function(layer)}
    config.update({key: _translated_inside(config[key]) for key in ("layer", "backward_layer") if config.get(key)})
    return {**new, "config": _known_arguments(kind, config)}


def _translated_inside(layer: Config) -> Config:
    """The layer inside a wrapper such as TimeDistributed, which Keras 3 looks up by its module."""
    new = _translated(layer)
    if new["class_name"] in _MODELS:
        is_sequential = new["class_name"] == "Sequential"
        return {**new, "module": "keras", "class_name": "Sequential" if is_sequential else "Model", "registered_name": None}
    return {**new, "module": "keras.layers", "registered_name": None}


def _known_arguments(kind: str, config: Config) -> Config:
    """Without the arguments that Keras 3 has dropped, and with a name that it takes."""
    dropped = {*_DROPPED, *(_DROPPED_FROM_DEPTHWISE if kind.startswith(("Depthwise", "Separable")) else ())}
    dropped.update(_DROPPED_FROM.get(kind, ()))
    if kind != "InputLayer":
        dropped.add("batch_input_shape")  # The model's own InputLayer says the same.
    new = {key: value for key, value in config.items() if key not in dropped}
    if "name" in new:
        new["name"] = new["name"].replace("/", "_")
    if isinstance(new.get("dtype"), dict):  # A policy such as mixed_float16.
        new["dtype"] = new["dtype"]["config"]["name"]
    if kind == "LeakyReLU" and "alpha" in new:
        new["negative_slope"] = new.pop("alpha")
    for key in ("activation", "recurrent_activation"):
        if new.get(key) == "hard_sigmoid":
            new[key] = keras.saving.serialize_keras_object(keras_2_hard_sigmoid)
    return new


def _translated_model(config: Config) -> Config:
    first_calls = _first_calls(config)
    inner = [_translated(layer) for layer in config["layers"]]
    for layer in inner:
        layer["inbound_nodes"] = [_counted_from_0(node, first_calls) for node in layer.get("inbound_nodes", [])]
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
    for name, number in _references([config.get("output_layers", []), [one.get("inbound_nodes") for one in config["layers"]]]):
        if name in nested:
            calls[name] = min(number, calls.get(name, number))
    return calls


def _is_reference(value: Any) -> bool:
    """["name of a layer", number of its call, number of its output, …]"""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int)


def _references(value: Any) -> list[tuple[str, int]]:
    if _is_reference(value):
        return [(value[0], value[1]), *_references(value[3:])]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [found for part in inside for found in _references(part)]


def _counted_from_0(value: Any, first_calls: dict[str, int], one_more: Any = ()) -> Any:
    if _is_reference(value):
        number = value[1] - first_calls.get(value[0], 0) + (value[0] in one_more)
        return [value[0], number, *value[2:3], *[_counted_from_0(part, first_calls) for part in value[3:]]]
    if isinstance(value, dict):
        return {key: _counted_from_0(part, first_calls, one_more) for key, part in value.items()}
    return [_counted_from_0(part, first_calls, one_more) for part in value] if isinstance(value, list) else value


def _translated_function(layer: Config) -> Config:
    """A TFOpLambda as a TensorFlowFunction: its numbers go into the config, its tensors are the inputs of the call."""
    function, name = layer["config"]["function"], layer["config"]["name"]
    first_name, *others = parameters_of(function, name)
    (node,) = layer["inbound_nodes"]
    is_list = not isinstance(node[0], str)
    first, given = (list(node) if is_list else node), (node[0] if is_list else node)[3]
    own = [None] * len(first) if is_list else node[2] if node[0] == "_CONSTANT_VALUE" else None
    given = {key: value for key, value in given.items() if key in others}
    arguments = {first_name: own, **{key: None if _is_reference(value) else value for key, value in given.items()}}
    constants = [key for key, value in given.items() if value is None]
    inputs = [[*part[:3]] for part in (first if is_list else [node])] + [v for v in given.values() if _is_reference(v)]
    inputs = [[*part, {}] for part in inputs if part[0] != "_CONSTANT_VALUE"]
    config = {"name": name.replace("/", "_"), "function": function, "arguments": arguments, "constants": constants}
    return {"config": config, "inbound_nodes": [inputs]}
