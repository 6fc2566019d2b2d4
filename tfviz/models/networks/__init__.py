"""Networks for weights from other tools.

keras.applications lacks some of these networks and defines others differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfviz.models.networks import resnet, vgg

if TYPE_CHECKING:
    import keras

Call = Callable[[Any, Any], Any]  # takes a layer and the layer's input, returns the layer's output


def call_layer(layer: Any, x: Any) -> Any:
    """Call a layer on its input. This is the default for `build`."""
    return layer(x)


def standard_widths(name: str) -> dict[str, int]:
    """Return a network's default widths. The width of "predictions" is the number of classes."""
    return resnet.standard_widths() if name == resnet.NAME else vgg.standard_widths(name)


def build(name: str, widths: Mapping[str, int], size: tuple[int, int], call: Call = call_layer) -> keras.Model:
    """Build a network by name.

    Args:
        name: "VGG16", "VGG16_BN", "VGG19", "VGG19_BN" or torchvision's "ResNet50".
        widths: the number of channels or units of each layer, with the keys of `standard_widths`.
        size: the image size (height, width) in pixels.
        call: a function that calls each layer and thereby builds it. It may set initial weights.

    Returns:
        The network.
    """
    return resnet.build(widths, size, call) if name == resnet.NAME else vgg.build(name, widths, size, call)
