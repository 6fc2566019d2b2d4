"""Array names and layouts in torchvision's weights files for ResNet50, VGG16 and VGG19.

A convolution kernel's shape is (out, in, height, width), and a dense kernel's shape is (out, in).
Before a VGG's first dense layer, torchvision flattens the map as (channel, height, width), whereas
Keras flattens it as (height, width, channel).
"""

from __future__ import annotations

from collections.abc import Iterator

from tfviz.images.preprocessing import Preprocessing, Size, named
from tfviz.models.networks import resnet, vgg
from tfviz.models.weights.layouts import Layout, StoredArray

_VGG_SIZE = (224, 224)
_FINAL_MAP_SIZE = (7, 7)  # in a VGG at the default size
# Indices; ReLU and dropout have the indices in between.
_CLASSIFIER = {"fc1": 0, "fc2": 3, "predictions": 6}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def preprocessing(size: Size) -> Preprocessing:
    """Return torchvision's preprocessing with resize and crop sizes based on `size`."""
    torch = named("torch")
    short = round(max(size) * 256 / 224)
    resize = f"short side {short}, center crop {size[0]}x{size[1]}"
    return Preprocessing(formula=torch.formula, mean=torch.mean, std=torch.std, resize=resize)


def _convolution(name: str, layer: str, out: str, source: str | int, kernel: int) -> StoredArray:
    return StoredArray(f"{name}.weight", layer, "kernel", ((out,), (source,), (kernel,), (kernel,)), (2, 3, 1, 0))


def _dense(name: str, layer: str, source: str, out: str | None = None) -> Iterator[StoredArray]:
    width = out or layer
    yield StoredArray(f"{name}.weight", layer, "kernel", ((width,), (source,)), (1, 0))
    yield StoredArray(f"{name}.bias", layer, "bias", ((width,),), (0,))


def _flattened(name: str, layer: str, source: str) -> Iterator[StoredArray]:
    yield StoredArray(f"{name}.weight", layer, "kernel", ((layer,), (source, *_FINAL_MAP_SIZE)), (2, 3, 1, 0))
    yield StoredArray(f"{name}.bias", layer, "bias", ((layer,),), (0,))


def _norm(name: str, layer: str, width: str) -> Iterator[StoredArray]:
    for stored, weight in _NORM.items():
        yield StoredArray(f"{name}.{stored}", layer, weight, ((width,),), (0,))


def _vgg(name: str) -> Iterator[StoredArray]:
    index, source = 0, 3
    width: str | int = source
    for block in vgg.convolutions(name):
        for layer in block:
            yield _convolution(f"features.{index}", layer, layer, width, 3)
            yield StoredArray(f"features.{index}.bias", layer, "bias", ((layer,),), (0,))
            if vgg.has_batch_norm(name):
                yield from _norm(f"features.{index + 1}", vgg.norm_of(layer), layer)
            width = layer
            index += 3 if vgg.has_batch_norm(name) else 2  # the ReLU also has an index
        index += 1  # the pooling layer also has an index
    yield from _flattened("classifier.0", "fc1", str(width))
    for before, layer in (("fc1", "fc2"), ("fc2", "predictions")):
        yield from _dense(f"classifier.{_CLASSIFIER[layer]}", layer, before)


def _resnet() -> Iterator[StoredArray]:
    yield _convolution("conv1", "conv1_conv", "conv1", 3, 7)
    yield from _norm("bn1", "conv1_bn", "conv1")
    for block in resnet.blocks():
        name, here = f"layer{block.stage - 1}.{block.number - 1}", block.name
        widths = (block.source, f"{here}_1", f"{here}_2", block.output)
        for i, kernel in ((1, 1), (2, 3), (3, 1)):
            yield _convolution(f"{name}.conv{i}", f"{here}_{i}_conv", widths[i], widths[i - 1], kernel)
            yield from _norm(f"{name}.bn{i}", f"{here}_{i}_bn", widths[i])
        if block.is_first:
            yield _convolution(f"{name}.downsample.0", f"{here}_0_conv", block.output, block.source, 1)
            yield from _norm(f"{name}.downsample.1", f"{here}_0_bn", block.output)
    yield from _dense("fc", "predictions", "conv5")


LAYOUTS: dict[str, Layout] = {
    name: Layout(name, tuple(_vgg(name)), _VGG_SIZE, preprocessing) for name in ("VGG16", "VGG16_BN", "VGG19", "VGG19_BN")
} | {resnet.NAME: Layout(resnet.NAME, tuple(_resnet()), None, preprocessing)}
