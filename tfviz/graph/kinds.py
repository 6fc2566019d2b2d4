"""What kind of operation a place is: the word by which rules are chosen.

    linear        y = f(x; W), bias aside                      (Dense, every convolution)
    relu          zero below a threshold, otherwise the identity, perhaps capped
    activation    any other function of one element
    max_pool, average_pool
    add, multiply
    scale         an affine function of each element           (BatchNormalization, Rescaling, LayerNormalization …)
    identity      returns what it got, at inference            (Dropout, random augmentation …)
    reshape       moves, copies, pads or drops elements        (Flatten, ZeroPadding, Concatenate …)
    other         all else

ReLU comes in six forms, and Add and Multiply in two: as layers, and as operations that `keras.ops` or `+` leave in the
graph. The classes of the latter are not public, so that they are known by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import KerasTensor, layers, tree

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
        Softmax LogSoftmax LogSigmoid Absolute Square Sqrt""",
    "max_pool": "MaxPool AdaptiveMaxPool Max Amax",
    "average_pool": "AveragePool AdaptiveAveragePool Mean",
    "add": "Add",
    "multiply": "Multiply",
    "other": "Subtract Divide TrueDivide",
    "scale": "BatchNorm LayerNorm RMSNorm",
    "identity": "Identity Copy Cast View",
    "reshape": """Reshape Squeeze ExpandDims Ravel Transpose Swapaxes Moveaxis Pad Concatenate Stack GetItem Split Slice
        Unstack Repeat Tile Flip Roll BroadcastTo Take DepthToSpace SpaceToDepth Resize""",
}
_BY_NAME = {name: kind for kind, names in _OPERATIONS.items() for name in names.split()}

_OF_TWO = ("Add", "Multiply", "Subtract", "Divide", "TrueDivide")
_RELU_NAMES = ("relu", "relu6")


def kind_of_operation(operation: Any, number_of_inputs: int = 1) -> str:
    """The kind of a whole operation, that is, of one that is not split into linear stages and an activation."""
    if isinstance(operation, layers.Activation):
        return kind_of_function(operation.activation)
    is_relu = type(operation).__name__ == "ReLU" and not isinstance(operation, layers.Layer)
    if is_relu or (isinstance(operation, layers.ReLU) and type(operation).call is layers.ReLU.call):
        return "relu" if not operation.negative_slope else "activation"
    if isinstance(operation, layers.Layer):
        return next((kind for cls in type(operation).__mro__ if (kind := _own_kind(operation, cls))), "other")
    kind = _BY_NAME.get(type(operation).__name__, "other")
    # `x * 2 + 1` is an affine function of one tensor: nothing is shared out between inputs.
    return "scale" if type(operation).__name__ in _OF_TWO and number_of_inputs == 1 else kind


def _own_kind(operation: Any, cls: Any) -> str | None:
    """The kind of a Keras class, unless the layer's own class overrides what that class computes."""
    kind = _INNER_LAYERS.get(cls.__name__) if cls.__module__.startswith("keras.") else None
    kind = kind or _BY_CLASS.get(cls)
    return kind if kind and type(operation).call is cls.call else None


def is_relu_written_out(operation: Any, arguments: Any) -> bool:
    """Whether a call with these arguments is `ops.maximum(x, 0)`, or `ops.clip(x, 0, 6)`, which is relu6.

    Any other clip is no activation: most keep pixels in their range.
    """
    if type(operation).__name__ == "Clip" and not isinstance(operation, layers.Layer):
        return _is_number(operation.x_min, 0) and _is_number(operation.x_max, 6)
    if type(operation).__name__ == "Maximum" and not isinstance(operation, layers.Layer):
        return any(_is_number(value, 0) for value in tree.flatten((arguments.args, arguments.kwargs)))
    return False


def _is_number(value: Any, number: float) -> bool:
    """Whether a constant is this number throughout."""
    return not isinstance(value, KerasTensor) and value is not None and bool(np.all(np.asarray(value) == number))


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
