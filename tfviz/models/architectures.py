"""The networks available by name, with their input sizes and preprocessing.

They are defined in a table, so their names can be listed and checked without importing TensorFlow.
The tests compare every row with Keras.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfviz.errors import OptionError
from tfviz.models import networks

if TYPE_CHECKING:
    import keras

# Each row contains the name of a keras.applications module, the name of the preprocessing, and a
# dict that maps each constructor to the side length of its square input in pixels. "none" means
# that the network itself scales its images.
_FAMILIES: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("vgg16", "caffe", {"VGG16": 224}),
    ("vgg19", "caffe", {"VGG19": 224}),
    ("resnet", "caffe", {"ResNet50": 224, "ResNet101": 224, "ResNet152": 224}),
    ("resnet_v2", "tf", {"ResNet50V2": 224, "ResNet101V2": 224, "ResNet152V2": 224}),
    ("inception_v3", "tf", {"InceptionV3": 299}),
    ("inception_resnet_v2", "tf", {"InceptionResNetV2": 299}),
    ("xception", "tf", {"Xception": 299}),
    ("mobilenet", "tf", {"MobileNet": 224}),
    ("mobilenet_v2", "tf", {"MobileNetV2": 224}),
    ("mobilenet_v3", "none", {"MobileNetV3Small": 224, "MobileNetV3Large": 224}),
    ("densenet", "torch", {"DenseNet121": 224, "DenseNet169": 224, "DenseNet201": 224}),
    ("nasnet", "tf", {"NASNetMobile": 224, "NASNetLarge": 331}),
    ("efficientnet", "none", {"EfficientNetB0": 224, "EfficientNetB1": 240, "EfficientNetB2": 260}),
    ("efficientnet", "none", {"EfficientNetB3": 300, "EfficientNetB4": 380, "EfficientNetB5": 456}),
    ("efficientnet", "none", {"EfficientNetB6": 528, "EfficientNetB7": 600}),
    ("efficientnet_v2", "none", {"EfficientNetV2B0": 224, "EfficientNetV2B1": 240, "EfficientNetV2B2": 260}),
    ("efficientnet_v2", "none", {"EfficientNetV2B3": 300, "EfficientNetV2S": 384}),
    ("efficientnet_v2", "none", {"EfficientNetV2M": 480, "EfficientNetV2L": 480}),
    ("convnext", "none", {"ConvNeXtTiny": 224, "ConvNeXtSmall": 224, "ConvNeXtBase": 224}),
    ("convnext", "none", {"ConvNeXtLarge": 224, "ConvNeXtXLarge": 224}),
)


@dataclass(frozen=True)
class Architecture:
    """A network that is available by name.

    Attributes:
        name: the network's name, such as "ResNet50".
        module: the network's module in keras.applications, or "" if Keras does not include it.
        mode: the name of the preprocessing.
        size: the default input size, (height, width) in pixels.
    """

    name: str
    module: str
    mode: str
    size: tuple[int, int]

    @property
    def is_in_keras(self) -> bool:
        return bool(self.module)

    def build(self, weights: str | None = None, *, classes: int = 1000, size: tuple[int, int] | None = None) -> keras.Model:
        """Build the network with its classifier.

        Args:
            weights: "imagenet", or None for random weights.
            classes: the number of classes. It is used only with random weights.
            size: the image size (height, width) in pixels. None means the default size.

        Returns:
            The network.

        Raises:
            OptionError: the network does not support this image size.
            Exception: Keras could not download the weights. The exception's type depends on the
                cause.
        """
        size = size or self.size
        if weights is not None:
            return self._construct(weights=weights, input_shape=(*size, 3))
        try:
            if not self.is_in_keras:
                widths = networks.standard_widths(self.name) | {"predictions": classes}
                return networks.build(self.name, widths, size)
            return self._construct(weights=None, classes=classes, input_shape=(*size, 3))
        except ValueError as error:  # the feature maps would shrink to nothing
            raise OptionError(
                f"{self.name} does not support images of {size[0]}x{size[1]} pixels. Keras reports: {error}"
            ) from error

    def _construct(self, **options: Any) -> keras.Model:
        applications: Any = importlib.import_module("keras.applications")
        return getattr(applications, self.name)(**options)


ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(name, module, mode, (side, side)) for module, mode, sides in _FAMILIES for name, side in sides.items()
}
OWN_ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(name, "", "torch", (224, 224)) for name in ("VGG16_BN", "VGG19_BN")
}
_BY_KEY = {one.name.lower().replace("_", ""): one for one in (*ARCHITECTURES.values(), *OWN_ARCHITECTURES.values())}


@contextmanager
def channels_last() -> Iterator[None]:
    """Make Keras build channels-last networks within the block, regardless of keras.json."""
    import keras

    given = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(given)


def find_architecture(name: str) -> Architecture | None:
    """Return the network with this name, or None if there is none.

    Case, "-" and "_" are ignored.
    """
    return _BY_KEY.get(name.lower().replace("-", "").replace("_", "").strip())
