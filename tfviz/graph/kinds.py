"""What kind of operation a place is: the word by which rules are chosen.

    linear        y = f(x; W), bias aside                      (Dense, every convolution)
    relu          zero below a threshold, otherwise the identity, perhaps capped
    activation    any other function of one element
    max_pool, average_pool
    add, multiply
    scale         an affine function of each element           (BatchNormalization, Rescaling, LayerNormalization …)
    negation      an affine function of each element with a factor below 0
                                                               (−x, c − x, Rescaling with a scale below 0 …)
    identity      returns what it got, at inference            (Dropout, random augmentation …)
    reshape       moves, copies, pads or drops elements        (Flatten, ZeroPadding, Concatenate …)
    other         all else

ReLU comes in six forms, and Add and Multiply in two: as layers, and as operations that `keras.ops` or `+` leave in the
graph. The classes of the latter are not public, so that they are known by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import layers

from tfviz.graph.linear import is_linear

_LAYERS = {
    "max_pool": """MaxPooling1D MaxPooling2D MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
        AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D""",
    "average_pool": """AveragePooling1D AveragePooling2D AveragePooling3D
        GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D""",
    "add": "Add",
    "multiply": "Multiply",
    "activation": "LeakyReLU PReLU ELU Softmax",
    "scale": """BatchNormalization LayerNormalization GroupNormalization UnitNormalization RMSNormalization
        Rescaling Normalization""",
    # Only what is idle at inference: Solarization and RandomCrop, for two, are not.
    "identity": """Identity Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout
        GaussianNoise ActivityRegularization Masking RandomBrightness RandomColorDegeneration RandomColorJitter
        RandomContrast RandomErasing RandomElasticTransform RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
        RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
        RandomTranslation RandomZoom AugMix CutMix MixUp RandAugment""",
    "reshape": """Flatten Reshape Permute RepeatVector Concatenate Resizing CenterCrop
        ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D""",
}
_BY_CLASS = {getattr(layers, name): kind for kind, names in _LAYERS.items() for name in names.split() if hasattr(layers, name)}

# Layers inside keras.applications, which Keras does not export.
_INNER_LAYERS = {"LayerScale": "scale", "StochasticDepth": "identity"}

_OPERATIONS = {
    "relu": "Relu Relu6",
    "activation": """Sigmoid Softplus Softsign Silu HardSilu HardSigmoid LeakyRelu Elu Selu Gelu Celu Tanh HardTanh Mish
        Softmax LogSoftmax LogSigmoid Absolute Square Sqrt Exp Expm1 Log Log1p Erf""",
    "max_pool": "MaxPool AdaptiveMaxPool Max Amax",
    "average_pool": "AveragePool AdaptiveAveragePool Mean Sum",
    "add": "Add",
    "multiply": "Multiply",
    "other": "Subtract Divide TrueDivide Power",
    "scale": "BatchNorm LayerNorm RMSNorm",
    "negation": "Negative",
    "identity": "Identity Copy Cast View EnsureShape CheckNumerics",
    "reshape": """Reshape Squeeze ExpandDims Ravel Transpose Swapaxes Moveaxis Pad Concatenate Stack GetItem Split Slice
        Unstack Repeat Tile Flip Roll BroadcastTo Take DepthToSpace SpaceToDepth Resize
        IdentityN Pack Unpack PadV2 MirrorPad StridedSlice SplitV GatherV2 ReverseV2 ResizeNearestNeighbor""",
}
_BY_NAME = {name: kind for kind, names in _OPERATIONS.items() for name in names.split()}

ARITHMETIC = ("Add", "Multiply", "Subtract", "Divide", "TrueDivide", "Power")
_RELU_NAMES = ("relu", "relu6")


def kind_of_operation(operation: Any) -> str:
    """The kind of a whole operation, that is, of one that is not split into linear stages and an activation."""
    if isinstance(operation, layers.Activation):
        return kind_of_function(operation.activation)
    is_relu = type(operation).__name__ == "ReLU" and not isinstance(operation, layers.Layer)
    if is_relu or (isinstance(operation, layers.ReLU) and type(operation).call is layers.ReLU.call):
        return "relu" if not operation.negative_slope else "activation"
    if isinstance(operation, layers.Layer):
        return next((kind for cls in type(operation).__mro__ if (kind := _own_kind(operation, cls))), "other")
    return _BY_NAME.get(type(operation).__name__, "other")


def kind_of_arithmetic(name: str, operands: Sequence[Any]) -> str:
    """The kind of an Add, Multiply … of one tensor with numbers: a function of each element, nothing is shared out.

    Args:
        operands: the numbers, with None for the tensor. Weights count as 1: as the factors of a normalization they may change.
    """
    is_first = operands[0] is None
    is_negative = any(np.any(np.asarray(number) < 0) for number in operands if number is not None)
    if name == "Add":
        return "scale"
    if name == "Subtract":
        return "scale" if is_first else "negation"
    if name == "Power":
        return "activation" if is_first and not is_negative else "other"
    if name in ("Divide", "TrueDivide") and not is_first:
        return "other"
    return "negation" if is_negative else "scale"


def _own_kind(operation: Any, cls: Any) -> str | None:
    """The kind of a Keras class, unless the layer's own class overrides what that class computes."""
    kind = _INNER_LAYERS.get(cls.__name__) if cls.__module__.startswith("keras.") else None
    kind = kind or _BY_CLASS.get(cls)
    if cls is layers.Rescaling and np.any(np.asarray(operation.scale) < 0):
        kind = "negation"
    return kind if kind and type(operation).call is cls.call else None


def is_scaled_sum(operation: Any) -> bool:
    """Whether this is the layer in which keras.applications' InceptionResNetV2 adds a scaled branch to its shortcut."""
    return type(operation).__name__ == "CustomScaleLayer" and type(operation).__module__.startswith("keras.")


def kind_of_function(function: Any) -> str:
    """The kind of an activation function, as the `activation` of a layer."""
    if is_linear(function):
        return "identity"
    if isinstance(function, layers.Layer):
        return "relu" if kind_of_operation(function) == "relu" else "activation"
    return "relu" if name_of_function(function) in _RELU_NAMES else "activation"


def is_known_function(function: Any) -> bool:
    """Whether an activation function is one of Keras' or TensorFlow's, so that its name says what it computes."""
    if isinstance(function, layers.Layer):
        return kind_of_operation(function) != "other"
    module = str(getattr(function, "__module__", ""))
    return module.startswith(("keras.", "tensorflow.")) and hasattr(function, "__name__")


def name_of_function(function: Any) -> str:
    """What an activation function is called: "relu", "softmax" …; of a layer used as one, its class's name."""
    if isinstance(function, layers.Layer):
        return type(function).__name__
    name = str(getattr(function, "__name__", None) or getattr(function, "name", "") or type(function).__name__)
    return name.removesuffix("_v2")  # tf.nn.softmax
