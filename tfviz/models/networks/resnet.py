"""torchvision's ResNet50, with layer names from keras.applications.

This network differs from ResNet50 in keras.applications in three ways: a block applies its stride
in the 3x3 convolution instead of the first 1x1 convolution, convolutions have no bias, and
normalization uses an epsilon of 1e-5. Weights for one network therefore produce wrong outputs in
the other network.

He et al., 2016, "Deep Residual Learning for Image Recognition".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

NAME = "ResNet50"
_BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}  # stage -> number of blocks
# Stage -> number of channels inside its blocks. A block's output has four times as many.
_CHANNELS = {2: 64, 3: 128, 4: 256, 5: 512}
_EPSILON = 1e-5


@dataclass(frozen=True)
class Block:
    """One bottleneck block: 1x1, 3x3 and 1x1 convolutions, and a shortcut.

    Widths (numbers of channels) are identified by name. Those of the first two convolutions are
    named "<name>_1" and "<name>_2". `output` is the name of the third convolution's width, which
    is the same for all blocks in a stage. `source` is the name of the input's width.
    """

    stage: int
    number: int

    @property
    def name(self) -> str:
        return f"conv{self.stage}_block{self.number}"

    @property
    def is_first(self) -> bool:
        """Whether this is the first block in its stage.

        Only first blocks have a convolution in the shortcut.
        """
        return self.number == 1

    @property
    def stride(self) -> int:
        return 2 if self.is_first and self.stage > 2 else 1

    @property
    def output(self) -> str:
        return f"conv{self.stage}"

    @property
    def source(self) -> str:
        return f"conv{self.stage - 1}" if self.is_first else self.output


def blocks() -> Iterator[Block]:
    """Yield the blocks in execution order."""
    for stage, count in _BLOCKS.items():
        for number in range(1, count + 1):
            yield Block(stage, number)


def standard_widths() -> dict[str, int]:
    """Return the default widths, keyed by "conv1", "predictions" and the names in `Block`."""
    widths = {"conv1": 64, "predictions": 1000}
    for block in blocks():
        channels = _CHANNELS[block.stage]
        widths |= {f"{block.name}_1": channels, f"{block.name}_2": channels, block.output: 4 * channels}
    return widths


def build(widths: Mapping[str, int], size: tuple[int, int], call: Callable[[Any, Any], Any]) -> keras.Model:
    """Build the network for images of this size (see `tfviz.models.networks.build`)."""
    import keras
    from keras import layers

    images = keras.Input((*size, 3))
    x = call(layers.ZeroPadding2D(3, name="conv1_pad"), images)
    x = _convolved(x, "conv1", widths["conv1"], 7, 2, call)
    x = call(layers.ReLU(name="conv1_relu"), x)
    # PyTorch pads with -inf, but zeros are equivalent after a ReLU.
    x = call(layers.ZeroPadding2D(1, name="pool1_pad"), x)
    x = call(layers.MaxPooling2D(3, 2, name="pool1_pool"), x)
    for block in blocks():
        x = _block(x, block, widths, call)
    x = call(layers.GlobalAveragePooling2D(name="avg_pool"), x)
    x = call(layers.Dense(widths["predictions"], "softmax", name="predictions"), x)
    return keras.Model(images, x, name=NAME.lower())


def _block(x: Any, block: Block, widths: Mapping[str, int], call: Callable[[Any, Any], Any]) -> Any:
    from keras import layers

    name, shortcut = block.name, x
    if block.is_first:
        shortcut = _convolved(x, f"{name}_0", widths[block.output], 1, block.stride, call)
    x = _convolved(x, f"{name}_1", widths[f"{name}_1"], 1, 1, call)
    x = call(layers.ReLU(name=f"{name}_1_relu"), x)
    x = call(layers.ZeroPadding2D(1, name=f"{name}_2_pad"), x)
    x = _convolved(x, f"{name}_2", widths[f"{name}_2"], 3, block.stride, call)
    x = call(layers.ReLU(name=f"{name}_2_relu"), x)
    x = _convolved(x, f"{name}_3", widths[block.output], 1, 1, call)
    x = call(layers.Add(name=f"{name}_add"), [shortcut, x])
    return call(layers.ReLU(name=f"{name}_out"), x)


def _convolved(x: Any, name: str, channels: int, kernel: int, stride: int, call: Callable[[Any, Any], Any]) -> Any:
    from keras import layers

    x = call(layers.Conv2D(channels, kernel, stride, use_bias=False, name=f"{name}_conv"), x)
    return call(layers.BatchNormalization(momentum=0.9, epsilon=_EPSILON, name=f"{name}_bn"), x)
