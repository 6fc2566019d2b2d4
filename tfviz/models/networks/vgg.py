"""VGG16 and VGG19, with and without batch normalization.

The plain networks have the same layers and layer names as in keras.applications. The networks with
batch normalization follow torchvision: each convolution has a bias and is followed by a
normalization and a ReLU.

Simonyan & Zisserman, 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# The number of convolutions in each block.
CONVOLUTIONS = {"VGG16": (2, 2, 3, 3, 3), "VGG19": (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)
DENSE = {"fc1": 4096, "fc2": 4096, "predictions": 1000}
_BATCH_NORM = "_BN"
_EPSILON = 1e-5


def has_batch_norm(name: str) -> bool:
    """Return whether a network's name, such as "VGG16_BN", indicates batch normalization."""
    return name.endswith(_BATCH_NORM)


def convolutions(name: str) -> list[list[str]]:
    """Return the names of the convolutions, grouped by block: [["block1_conv1", ...], ...]."""
    counts = CONVOLUTIONS[name.removesuffix(_BATCH_NORM)]
    return [[f"block{block}_conv{i}" for i in range(1, count + 1)] for block, count in enumerate(counts, 1)]


def norm_of(convolution: str) -> str:
    """Return the name of the normalization layer after a convolution."""
    return convolution.replace("conv", "bn")


def standard_widths(name: str) -> dict[str, int]:
    """Return the default width (number of channels or units) of each layer."""
    blocks = zip(convolutions(name), _CHANNELS, strict=True)
    return {layer: channels for block, channels in blocks for layer in block} | DENSE


def build(name: str, widths: Mapping[str, int], size: tuple[int, int], call: Callable[[Any, Any], Any]) -> keras.Model:
    """Build the network for images of this size (see `tfviz.models.networks.build`)."""
    import keras
    from keras import layers

    x = images = keras.Input((*size, 3))
    for number, block in enumerate(convolutions(name), 1):
        for convolution in block:
            x = _convolved(x, convolution, widths[convolution], has_batch_norm(name), call)
        x = call(layers.MaxPooling2D(2, 2, name=f"block{number}_pool"), x)
    x = call(layers.Flatten(name="flatten"), x)
    for layer, activation in zip(DENSE, ("relu", "relu", "softmax"), strict=True):
        x = call(layers.Dense(widths[layer], activation, name=layer), x)
    return keras.Model(images, x, name=name.lower())


def _convolved(x: Any, name: str, channels: int, is_normalized: bool, call: Callable[[Any, Any], Any]) -> Any:
    from keras import layers

    activation = None if is_normalized else "relu"
    x = call(layers.Conv2D(channels, 3, padding="same", activation=activation, name=name), x)
    if not is_normalized:
        return x
    x = call(layers.BatchNormalization(momentum=0.9, epsilon=_EPSILON, name=norm_of(name)), x)
    return call(layers.ReLU(name=name.replace("conv", "relu")), x)
