"""Networks that keras.applications lacks, or has in another form than the weights people bring
along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfviz.models.networks import resnet, vgg

if TYPE_CHECKING:
    import keras

Call = Callable[[Any, Any], Any]  # (layer, its input) -> its output


def plainly(layer: Any, x: Any) -> Any:
    """The ordinary call of a layer."""
    return layer(x)


def standard_widths(name: str) -> dict[str, int]:
    """How many channels or units each layer of a network has by default; "predictions" are its
    classes.
    """
    return resnet.standard_widths() if name == resnet.NAME else vgg.standard_widths(name)


def build(name: str, widths: Mapping[str, int], size: tuple[int, int], call: Call = plainly) -> keras.Model:
    """A network by name: "VGG16", "VGG16_BN", "VGG19", "VGG19_BN", or "ResNet50" as torchvision has
    it.

    `size` is (height, width) in pixels. Each layer is called, and so built, by `call`, which may
    choose what its weights start from.
    """
    return resnet.build(widths, size, call) if name == resnet.NAME else vgg.build(name, widths, size, call)
