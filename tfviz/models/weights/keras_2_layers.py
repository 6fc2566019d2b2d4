"""Translate Keras 2 layers and their arguments to Keras 3.

Keras 2 saves all of a layer's arguments, including those that Keras 3 renamed or dropped. If a
dropped argument affects inference, this module raises an error. Other dropped arguments are
ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfviz.errors import UnsupportedModelError
from tfviz.models.weights.keras_2_functions import keras_2_hard_sigmoid

Config = dict[str, Any]

# arguments that have no effect at inference
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
    "batch_input_shape",  # the model's InputLayer has the same shape
    "noise_shape",
    "input_length",
    "softmax_robust_masking",
    "robust_masking",
}
# Maps each argument to the only value that Keras 3 supports and to the reason.
_FIXED = {
    "time_major": (False, "Keras 3 supports sequences only as (batch, time, features)"),
    "renorm": (False, "Keras 3 has no batch renormalization"),
    "ragged": (False, "Keras 3 has no ragged inputs"),
}
_UNSUPPORTED_INTERPOLATIONS = ("gaussian", "mitchellcubic")
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
_KEPT = {"Dropout": {"noise_shape"}, "InputLayer": {"batch_input_shape"}}
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
    "TensorFlowOpLayer": "it contains a raw TensorFlow operation, which Keras 3 cannot rebuild",
    "ClassMethod": "it calls a method of a TensorFlow class, which Keras 3 cannot rebuild",
    "InstanceMethod": "it calls a method of a TensorFlow class, which Keras 3 cannot rebuild",
    "InstanceProperty": "it reads a property of a TensorFlow class, which Keras 3 cannot rebuild",
}


def _thresholded_relu(config: Config) -> tuple[str, Config]:
    return "ReLU", {**_common(config), "threshold": config["theta"]}


def _identity(config: Config) -> tuple[str, Config]:
    return "Identity", _common(config)


def _center_crop_of_largest(config: Config) -> tuple[str, Config]:
    """Return a layer that crops images as Keras 2's RandomCrop did at inference.

    Keras 3's RandomCrop is not used, because it does not crop larger images.
    """
    return "Resizing", {**_common(config), "height": config["height"], "width": config["width"], "crop_to_aspect_ratio": True}


def _batch_normalization(config: Config) -> tuple[str, Config]:
    return "BatchNormalization", config


def _common(config: Config) -> Config:
    return {key: config[key] for key in ("name", "trainable", "dtype") if key in config}


# In Keras 3, these layers are replaced with others. RandomHeight and RandomWidth change the size
# only in training.
_REPLACED: dict[str, Callable[[Config], tuple[str, Config]]] = {
    "ThresholdedReLU": _thresholded_relu,
    "RandomHeight": _identity,
    "RandomWidth": _identity,
    "RandomCrop": _center_crop_of_largest,
    "SyncBatchNormalization": _batch_normalization,
    "BatchNormalizationV1": _batch_normalization,
    "BatchNormalizationV2": _batch_normalization,
}


def keras_3_layer(kind: str, config: Config) -> tuple[str, Config]:
    """Return the Keras 3 class and config that match a Keras 2 layer at inference.

    Args:
        kind: the layer's class in Keras 2.
        config: the layer's config in Keras 2.

    Returns:
        The class and config in Keras 3.

    Raises:
        UnsupportedModelError: the layer or one of its arguments has no equivalent in Keras 3.
    """
    name = config.get("name", kind)
    if kind in _NO_EQUIVALENT:
        raise _unsupported(f"Layer '{name}' is a {kind}, and {_NO_EQUIVALENT[kind]}")
    kind, config = _REPLACED[kind](config) if kind in _REPLACED else (kind, config)
    for argument, (same, reason) in _FIXED.items():
        if config.get(argument, same) not in (same, None):
            raise _unsupported(f"Layer '{name}' ({kind}) has {argument}={config[argument]!r}, but {reason}")
    if config.get("interpolation") in _UNSUPPORTED_INTERPOLATIONS:
        raise _unsupported(
            f"Layer '{name}' ({kind}) uses {config['interpolation']!r} interpolation, which Keras 3 does not support"
        )
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list):
        if len(config["axis"]) > 1:
            raise _unsupported(
                f"Layer '{name}' ({kind}) normalizes along axis={config['axis']}, but Keras 3 accepts only one axis"
            )
        config = {**config, "axis": config["axis"][0]}
    dropped = (_DROPPED | _FIXED.keys() | _DROPPED_FROM.get(kind, set())) - _KEPT.get(kind, set())
    if kind.startswith(("Depthwise", "Separable")):
        dropped |= _DROPPED_FROM_DEPTHWISE
    renamed = _RENAMED.get(kind, {})
    new = {renamed.get(key, key): value for key, value in config.items() if key not in dropped}
    return kind, {key: _keras_3_value(key, value) for key, value in new.items()}


def require_supported_call(kind: str, name: str, arguments: Config) -> None:
    """Raise UnsupportedModelError if Keras 3 would ignore one of a call's arguments."""
    if kind.startswith("BatchNormalization") and arguments.get("training") is True:
        raise _unsupported(
            f"Layer '{name}' ({kind}) is called with training=True, so it normalizes with batch statistics even at inference. "
            "In Keras 3, the model's training=False overrides this argument"
        )


class SizedEinsumDense(keras.layers.EinsumDense):
    """An EinsumDense layer that infers missing sizes in `output_shape` from its input.

    Missing sizes are None. Keras 2 also inferred them, but Keras 3 leaves them unknown, and a later
    Dense layer then rejects them. Once built, the layer is an ordinary EinsumDense.
    """

    partial_output_shape: tuple[int | None, ...]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        given, made = self.equation.replace(" ", "").replace("...", ".").split("->")
        given = given.split(",")[0]
        # The dots stand for any number of axes. If they come first, align the letters with the last
        # axes, and otherwise with the first.
        order = 1 if given.endswith(".") else -1
        sizes = dict(zip(given[::order], input_shape[::order], strict=False)) if given[::order][0] != "." else {}
        shape = self.partial_output_shape
        if not made.endswith("."):
            letters = made.replace(".", "")[-len(shape) :]
            known = [sizes.get(letter) if size is None else size for letter, size in zip(letters, shape, strict=False)]
            self.partial_output_shape = (*shape[: len(shape) - len(known)], *known)
        super().build(input_shape)
        self.__class__ = keras.layers.EinsumDense


OWN_LAYERS = {"EinsumDense": SizedEinsumDense}  # replacements for Keras' layers with these names


def _unsupported(fault: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{fault}. Rebuild the model in Keras 3 without this feature, and save it as .keras.")


def _keras_3_value(key: str, value: Any) -> Any:
    if key == "name":
        return value.replace("/", "_")
    if key == "dtype" and isinstance(value, dict):  # a policy such as mixed_float16
        return value["config"]["name"]
    if key in ("activation", "recurrent_activation") and _function_name(value) == "hard_sigmoid":
        return keras.saving.serialize_keras_object(keras_2_hard_sigmoid)
    return value


def _function_name(value: Any) -> Any:
    """Return the name of a function. In .keras files, it may be wrapped in a dict."""
    return value.get("config") if isinstance(value, dict) and value.get("class_name") == "function" else value
