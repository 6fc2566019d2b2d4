"""Networks that keras.applications lacks or that common weights files define differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfviz.models.networks import resnet, vgg

if TYPE_CHECKING:
    import keras

Call = Callable[[Any, Any], Any]  # (layer, its input) -> its output


def call_layer(layer: Any, x: Any) -> Any:
    """Call a layer. This is the default for `build`."""
    return layer(x)


def standard_widths(name: str) -> dict[str, int]:
    """Return each layer's default width. The width of "predictions" is the number of classes."""
    return resnet.standard_widths() if name == resnet.NAME else vgg.standard_widths(name)


def build(name: str, widths: Mapping[str, int], size: tuple[int, int], call: Call = call_layer) -> keras.Model:
    """Build a network by name.

    Args:
        name: "VGG16", "VGG16_BN", "VGG19", "VGG19_BN" or torchvision's "ResNet50".
        widths: each layer's number of channels or units (see `standard_widths`).
        size: the image size (height, width) in pixels.
        call: a function that calls, and thereby builds, each layer. It may set the initial weights.

    Returns:
        The network.
    """
    return resnet.build(widths, size, call) if name == resnet.NAME else vgg.build(name, widths, size, call)
