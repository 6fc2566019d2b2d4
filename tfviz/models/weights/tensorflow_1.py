"""Array names and layouts in the vgg16.npy and vgg19.npy files for TensorFlow 1.

Each file contains a dictionary that maps Caffe's layer names ("conv1_1", "fc6") to [kernel, bias].
The arrays' axes are in TensorFlow's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tfviz.images.preprocessing import Preprocessing, Size, named
from tfviz.models.networks import vgg
from tfviz.models.weights.layouts import Layout, StoredArray

_SIZE = (224, 224)
_FINAL_MAP_SIZE = (7, 7)
_DENSE = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}


def preprocessing(size: Size) -> Preprocessing:
    """Return the preprocessing for these weights: center crop, BGR order, mean subtraction."""
    return replace(named("caffe"), resize=f"short side {max(size)}, center crop {size[0]}x{size[1]}")


def _layer(name: str, layer: str, axes: tuple[tuple[int | str, ...], ...]) -> Iterator[StoredArray]:
    terms = sum(map(len, axes))
    yield StoredArray(f"{name} kernel", layer, "kernel", axes, tuple(range(terms)))
    yield StoredArray(f"{name} bias", layer, "bias", axes[-1:], (0,))


def _vgg(name: str) -> Iterator[StoredArray]:
    source: str | int = 3
    for layer in (layer for block in vgg.convolutions(name) for layer in block):
        # In the file, block1_conv2 is called conv1_2.
        stored = "conv" + layer.removeprefix("block").replace("_conv", "_")
        yield from _layer(stored, layer, ((3,), (3,), (source,), (layer,)))
        source = layer
    inputs: tuple[int | str, ...] = (*_FINAL_MAP_SIZE, source)
    for stored, layer in _DENSE.items():
        yield from _layer(stored, layer, (inputs, (layer,)))
        inputs = (layer,)


LAYOUTS: dict[str, Layout] = {name: Layout(name, tuple(_vgg(name)), _SIZE, preprocessing) for name in ("VGG16", "VGG19")}
