"""The arguments of Keras 2's layers, as Keras 3 takes them.

Keras 2 writes every argument of a layer into the file, also those that Keras 3 has renamed or dropped. A dropped argument is
left out where it does not change what the layer computes at inference, and refused where it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfviz.errors import UnsupportedModelError
from tfviz.models.weights.keras_2_functions import keras_2_hard_sigmoid

Config = dict[str, Any]

# They change nothing at inference.
_DROPPED = {
    "module",
    "rng_type",
    "force_generator",
    "virtual_batch_size",
    "fused",
    "dynamic",
    "query_shape",
    "key_shape",
    "value_shape",
    "batch_input_shape",  # The model's own InputLayer holds the same.
    "noise_shape",
    "input_length",
    "softmax_robust_masking",
    "robust_masking",
}
# The value with which Keras 3 computes the same, and what any other one means.
_FIXED = {
    "time_major": (False, "Keras 3 takes sequences as (batch, time, features) only"),
    "renorm": (False, "Keras 3 has no batch renormalization"),
    "ragged": (False, "Keras 3 has no ragged inputs"),
}
_NO_INTERPOLATION = ("gaussian", "mitchellcubic")
_DROPPED_FROM_DEPTHWISE = {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"}
_DROPPED_FROM = {
    "Conv1DTranspose": {"groups"},
    "Conv2DTranspose": {"groups"},
    "Conv3DTranspose": {"groups"},
    "SpatialDropout1D": {"trainable"},
    "SpatialDropout2D": {"trainable"},
    "SpatialDropout3D": {"trainable"},
    "Embedding": {"activity_regularizer", "sparse"},
    "EinsumDense": {"activity_regularizer"},
    "Discretization": {"trainable"},
}
_KEEPS = {"Dropout": {"noise_shape"}, "InputLayer": {"batch_input_shape"}}
_RENAMED = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
}
_NO_EQUIVALENT = {
    "LocallyConnected1D": "Keras 3 has no convolution with separate kernels for each position",
    "LocallyConnected2D": "Keras 3 has no convolution with separate kernels for each position",
    "DenseFeatures": "Keras 3 has no feature columns",
    "CuDNNLSTM": "Keras 3 has no layer with its weight layout",
    "CuDNNGRU": "Keras 3 has no layer with its weight layout",
    "TensorFlowOpLayer": "it holds a raw TensorFlow operation, which Keras 3 cannot rebuild",
    "ClassMethod": "it calls a method of a TensorFlow class, which Keras 3 cannot rebuild",
    "InstanceMethod": "it calls a method of a TensorFlow class, which Keras 3 cannot rebuild",
    "InstanceProperty": "it reads a property of a TensorFlow class, which Keras 3 cannot rebuild",
}


def _thresholded_relu(config: Config) -> tuple[str, Config]:
    return "ReLU", {**_common(config), "threshold": config["theta"]}


def _identity(config: Config) -> tuple[str, Config]:
    return "Identity", _common(config)


def _center_crop_of_largest(config: Config) -> tuple[str, Config]:
    """RandomCrop at inference. Keras 3 returns images larger than the crop as they are."""
    return "Resizing", {**_common(config), "height": config["height"], "width": config["width"], "crop_to_aspect_ratio": True}


def _batch_normalization(config: Config) -> tuple[str, Config]:
    return "BatchNormalization", config


def _common(config: Config) -> Config:
    return {key: config[key] for key in ("name", "trainable", "dtype") if key in config}


# Layers that Keras 3 has by another name. Random sizes apply to training only.
_REPLACED: dict[str, Callable[[Config], tuple[str, Config]]] = {
    "ThresholdedReLU": _thresholded_relu,
    "RandomHeight": _identity,
    "RandomWidth": _identity,
    "RandomCrop": _center_crop_of_largest,
    "SyncBatchNormalization": _batch_normalization,
    "BatchNormalizationV1": _batch_normalization,
    "BatchNormalizationV2": _batch_normalization,
}


def known_layer(kind: str, config: Config) -> tuple[str, Config]:
    """The class and the arguments with which Keras 3 computes what this layer of Keras 2 computed at inference.

    Raises UnsupportedModelError for a layer or an argument that has no equivalent.
    """
    name = config.get("name", kind)
    if kind in _NO_EQUIVALENT:
        raise _refusal(f"the layer '{name}' is a {kind}, and {_NO_EQUIVALENT[kind]}")
    kind, config = _REPLACED[kind](config) if kind in _REPLACED else (kind, config)
    for argument, (same, reason) in _FIXED.items():
        if config.get(argument, same) not in (same, None):
            raise _refusal(f"the layer '{name}' ({kind}) has {argument}={config[argument]!r}, and {reason}")
    if config.get("interpolation") in _NO_INTERPOLATION:
        raise _refusal(f"the layer '{name}' ({kind}) interpolates by {config['interpolation']!r}, which Keras 3 does not have")
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list):
        if len(config["axis"]) > 1:
            raise _refusal(f"the layer '{name}' ({kind}) normalizes along axis={config['axis']}, and Keras 3 takes one axis")
        config = {**config, "axis": config["axis"][0]}
    dropped = (_DROPPED | _FIXED.keys() | _DROPPED_FROM.get(kind, set())) - _KEEPS.get(kind, set())
    if kind.startswith(("Depthwise", "Separable")):
        dropped |= _DROPPED_FROM_DEPTHWISE
    renamed = _RENAMED.get(kind, {})
    new = {renamed.get(key, key): value for key, value in config.items() if key not in dropped}
    return kind, {key: _known_value(key, value) for key, value in new.items()}


def require_known_call(kind: str, name: str, arguments: Config) -> None:
    """Raises UnsupportedModelError for arguments of a call that Keras 3 does not heed."""
    if kind.startswith("BatchNormalization") and arguments.get("training") is True:
        raise _refusal(
            f"the layer '{name}' ({kind}) is called with training=True and normalizes by each batch also at inference, and "
            "Keras 3 lets the model's own training=False override that"
        )


def _refusal(fault: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{fault}. Rebuild the model in Keras 3 without it, and save it as .keras.")


def _known_value(key: str, value: Any) -> Any:
    if key == "name":
        return value.replace("/", "_")
    if key == "dtype" and isinstance(value, dict):  # A policy such as mixed_float16.
        return value["config"]["name"]
    if key in ("activation", "recurrent_activation") and _function_name(value) == "hard_sigmoid":
        return keras.saving.serialize_keras_object(keras_2_hard_sigmoid)
    return value


def _function_name(value: Any) -> Any:
    """The name of a function, which .keras files may hold in an object of its own."""
    return value.get("config") if isinstance(value, dict) and value.get("class_name") == "function" else value
